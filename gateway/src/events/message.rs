//! The message of an event: AWS's JSON, version 2.3.

use compactor::delivery::DueEvent;
use ingest::ids::Offset;
use ingest::record::EventPosition;
use s3::checksum::etag;
use s3::names;
use serde_json::{Map, Value, json};

/// The version of the form of messages. Versions of one first number only add fields.
const EVENT_VERSION: &str = "2.3";

/// Makes messages.
#[derive(Clone, Debug)]
pub struct EventMessages {
    /// The region of buckets that were created without one.
    pub region: String,
}

impl EventMessages {
    /// The message of events, as AWS sends it: an object with the list `Records`, in the order of the events.
    pub fn body(&self, events: &[DueEvent]) -> Value {
        json!({ "Records": events.iter().map(|due| self.record(due)).collect::<Vec<_>>() })
    }

    /// One event.
    ///
    /// The address of the client is not in the log, so `sourceIPAddress` is empty. Of two events of a key the later one
    /// has the greater sequencer.
    pub fn record(&self, due: &DueEvent) -> Value {
        let event = &due.event;
        let region = if event.region.is_empty() { &self.region } else { &event.region };
        let mut object = Map::new();
        object.insert("key".into(), encoded(event.key.as_str()).into());
        if let Some((size, tag)) = &event.object {
            object.insert("size".into(), (*size).into());
            object.insert("eTag".into(), etag(&tag.md5, tag.parts).trim_matches('"').into());
        }
        if let Some(version) = event.version {
            object.insert("versionId".into(), format!("{:032x}", version.get()).into());
        }
        object.insert("sequencer".into(), sequencer(due).into());
        let bucket = event.bucket.as_str();
        json!({
            "eventVersion": EVENT_VERSION,
            "eventSource": "aws:s3",
            "awsRegion": region,
            "eventTime": s3::time::xml(event.time.micros()),
            "eventName": event.name.name().trim_start_matches("s3:"),
            "userIdentity": { "principalId": event.principal },
            "requestParameters": { "sourceIPAddress": "" },
            "responseElements": { "x-amz-request-id": event.request, "x-amz-id-2": event.request },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": event.rule,
                "bucket": {
                    "name": bucket,
                    "ownerIdentity": { "principalId": event.owner },
                    "arn": format!("arn:aws:s3:::{bucket}"),
                },
                "object": object,
            },
        })
    }
}

/// The place of an event in the order of its partition's log: the offset of the record in 16 hexadecimal digits, and, for
/// an event that is not the record's first, its place among the record's events in digits behind them. The texts have the
/// order of the events.
pub fn sequencer(due: &DueEvent) -> String {
    let EventPosition { offset, rule } = due.position;
    match rule {
        0 => format!("{:016X}", offset.get()),
        place => format!("{:016X}{place:04X}", offset.get()),
    }
}

/// The position of the event with a sequencer; `None` for a text that no event has.
pub fn position_of(sequencer: &str) -> Option<EventPosition> {
    let (offset, place) = sequencer.split_at_checked(16)?;
    if !sequencer.bytes().all(|byte| byte.is_ascii_hexdigit()) || !matches!(place.len(), 0 | 4) {
        return None;
    }
    let rule = if place.is_empty() { 0 } else { u16::from_str_radix(place, 16).ok()? };
    Some(EventPosition { offset: Offset::new(u64::from_str_radix(offset, 16).ok()?), rule })
}

/// A key as AWS writes it into events: as in a form, with slashes as they are.
fn encoded(key: &str) -> String {
    names::encode_path(key).replace("%20", "+")
}

#[cfg(test)]
mod tests {
    use compactor::state::ObjectEvent;
    use ingest::entry::ETag;
    use ingest::ids::Offset;
    use ingest::name::{BucketName, ObjectKey};
    use ingest::record::{EventName, EventPosition};
    use ingest::tail::TaggedTail;
    use ingest::time::WallTime;

    use super::*;

    fn due(name: EventName, version: Option<Offset>, object: Option<(u64, ETag)>) -> DueEvent {
        let event = ObjectEvent {
            name,
            time: WallTime::from_micros(1_700_000_000_123_456),
            rule: "rule".into(),
            bucket: BucketName::new("a-bucket").unwrap(),
            region: String::new(),
            owner: "owner".into(),
            principal: "principal".into(),
            request: "request".into(),
            key: ObjectKey::new("a b/ä+c.txt").unwrap(),
            version,
            object,
            tail: TaggedTail::default(),
        };
        let position = EventPosition { offset: Offset::new(0x1f), rule: 0 };
        DueEvent { position, event, bytes: 0 }
    }

    #[test]
    fn a_message_has_the_form_of_aws() {
        let messages = EventMessages { region: "eu-central-1".into() };
        let tag = ETag { md5: [0x11; 16], parts: 2 };
        let put = due(EventName::CREATED_PUT, Some(Offset::new(0x1f)), Some((7, tag)));
        let wanted = json!({ "Records": [{
            "eventVersion": "2.3",
            "eventSource": "aws:s3",
            "awsRegion": "eu-central-1",
            "eventTime": "2023-11-14T22:13:20.123Z",
            "eventName": "ObjectCreated:Put",
            "userIdentity": { "principalId": "principal" },
            "requestParameters": { "sourceIPAddress": "" },
            "responseElements": { "x-amz-request-id": "request", "x-amz-id-2": "request" },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "rule",
                "bucket": {
                    "name": "a-bucket",
                    "ownerIdentity": { "principalId": "owner" },
                    "arn": "arn:aws:s3:::a-bucket",
                },
                "object": {
                    "key": "a+b/%C3%A4%2Bc.txt",
                    "size": 7,
                    "eTag": "11111111111111111111111111111111-2",
                    "versionId": "0000000000000000000000000000001f",
                    "sequencer": "000000000000001F",
                },
            },
        }] });
        assert_eq!(messages.body(&[put]), wanted);
        let removed = messages.record(&due(EventName::REMOVED_DELETE, None, None));
        let object = json!({ "key": "a+b/%C3%A4%2Bc.txt", "sequencer": "000000000000001F" });
        assert_eq!(removed["s3"]["object"], object);
        assert_eq!(removed["eventName"], "ObjectRemoved:Delete");
    }

    #[test]
    fn sequencers_have_the_order_of_the_events_and_name_them() {
        let at = |offset, rule| EventPosition { offset: Offset::new(offset), rule };
        let positions = [at(0, 0), at(7, 0), at(7, 1), at(7, 199), at(8, 0), at(u64::MAX, 0xffff)];
        let texts = positions.map(|position| {
            sequencer(&DueEvent { position, ..due(EventName::CREATED_PUT, None, None) })
        });
        assert!(texts.is_sorted(), "{texts:?}");
        assert_eq!(texts.each_ref().map(|text| position_of(text)), positions.map(Some));
    }
}
