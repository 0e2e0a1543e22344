//! The message of an event: AWS's JSON, version 2.3.

use compactor::delivery::DueEvent;
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
    /// The address of the client is not in the log, so `sourceIPAddress` is empty. The sequencer is the offset of the
    /// record in 16 hexadecimal digits: of two events of a key the later one has the greater text.
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

/// The place of an event in the order of its partition's log, in fixed width.
pub fn sequencer(due: &DueEvent) -> String {
    format!("{:016X}", due.position.offset.get())
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
}
