//! Events that wait for their delivery, as state entries.
//!
//! An event contains everything that its message needs: the bucket may be gone, or be configured differently, when the
//! event is delivered.

use bytes::Bytes;
use ingest::codec::{DecodeError, Decoder, Encoder};
use ingest::entry::{ETag, OWNER_BYTES_MAX};
use ingest::ids::Offset;
use ingest::name::{BUCKET_NAME_BYTES_MAX, BucketName, OBJECT_KEY_BYTES_MAX, ObjectKey};
use ingest::record::{
    EventName, EventPosition, REGION_BYTES_MAX, REQUEST_BYTES_MAX, RULE_ID_BYTES_MAX,
};
use ingest::tail::TaggedTail;
use ingest::time::WallTime;

use super::StateKey;

/// An event about an object, for one rule of its bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectEvent {
    /// The name of the event; never a group.
    pub name: EventName,
    /// The time of the record, kept from going backwards.
    pub time: WallTime,
    /// The id of the rule that reports the event.
    pub rule: String,
    /// The bucket's name.
    pub bucket: BucketName,
    /// The bucket's region.
    pub region: String,
    /// The canonical id of the bucket's owner.
    pub owner: String,
    /// The canonical id of the user whose request it was.
    pub principal: String,
    /// The id of the request.
    pub request: String,
    /// The object's key.
    pub key: ObjectKey,
    /// The version, in a bucket that keeps versions; `None` for version `null`.
    pub version: Option<Offset>,
    /// The size in bytes and the entity tag; `None` for a removal.
    pub object: Option<(u64, ETag)>,
    /// Fields that this version does not know.
    pub tail: TaggedTail,
}

impl ObjectEvent {
    /// Encodes the value of an event's key. Panics for a text beyond its limit; records never have one.
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::new();
        self.name.encode(&mut out);
        out.i64(self.time.micros());
        out.bounded(self.rule.as_bytes(), RULE_ID_BYTES_MAX, "id of a rule");
        out.bytes(self.bucket.as_bytes());
        out.bounded(self.region.as_bytes(), REGION_BYTES_MAX, "region");
        out.bounded(self.owner.as_bytes(), OWNER_BYTES_MAX, "owner");
        out.bounded(self.principal.as_bytes(), OWNER_BYTES_MAX, "principal");
        out.bounded(self.request.as_bytes(), REQUEST_BYTES_MAX, "request id");
        out.bytes(self.key.as_bytes());
        out.bool(self.version.is_some());
        if let Some(version) = self.version {
            out.u64(version.get());
        }
        out.bool(self.object.is_some());
        if let Some((size, etag)) = &self.object {
            out.varint(*size);
            etag.encode(&mut out);
        }
        self.tail.encode(&mut out);
        out.finish()
    }

    /// Decodes the value of an event's key. Fails for bytes that [`ObjectEvent::encode`] never writes.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let name = EventName::decode(&mut from)?;
        let time = WallTime::from_micros(from.i64("time")?);
        let rule = from.text(RULE_ID_BYTES_MAX, "id of a rule")?;
        let error = from.error("bucket name");
        let bucket = BucketName::new(from.bytes(BUCKET_NAME_BYTES_MAX, "bucket name")?);
        let bucket = bucket.map_err(|_| error)?;
        let region = from.text(REGION_BYTES_MAX, "region")?;
        let owner = from.text(OWNER_BYTES_MAX, "owner")?;
        let principal = from.text(OWNER_BYTES_MAX, "principal")?;
        let request = from.text(REQUEST_BYTES_MAX, "request id")?;
        let error = from.error("object key");
        let key = ObjectKey::new(from.bytes(OBJECT_KEY_BYTES_MAX, "object key")?);
        let key = key.map_err(|_| error)?;
        let version = match from.bool("version of an event")? {
            true => Some(Offset::new(from.u64("version of an event")?)),
            false => None,
        };
        let object = match from.bool("object of an event")? {
            true => Some((from.varint("size")?, ETag::decode(&mut from)?)),
            false => None,
        };
        let tail = TaggedTail::decode(&mut from)?;
        from.end("end of event")?;
        let texts = (rule, region, owner, principal, request);
        let (rule, region, owner, principal, request) = texts;
        Ok(Self {
            name,
            time,
            rule,
            bucket,
            region,
            owner,
            principal,
            request,
            key,
            version,
            object,
            tail,
        })
    }
}

/// An event as readers get it.
#[derive(Clone, Debug)]
pub struct DueEvent {
    /// The place in the queue.
    pub position: EventPosition,
    /// The event.
    pub event: ObjectEvent,
    /// The bytes in the state, key included.
    pub bytes: u64,
}

/// An event that a record adds to a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewEvent {
    /// The queue.
    pub queue: String,
    /// The place in the queue, above all places before.
    pub position: EventPosition,
    /// The encoded event.
    pub value: Bytes,
}

impl NewEvent {
    /// The key in the state; two events never share one.
    pub fn key(&self) -> StateKey {
        StateKey::event(&self.queue, self.position)
    }

    /// The bytes of key and value, by which queues are bounded; the same before and after a restart.
    pub fn bytes(&self) -> u64 {
        event_bytes(&self.queue, &self.value)
    }
}

/// The bytes of an event in the state, key included.
pub fn event_bytes(queue: &str, value: &Bytes) -> u64 {
    (StateKey::EVENTS.len() + queue.len() + 1 + POSITION_BYTES + value.len()) as u64
}

/// The bytes of a position at the end of an event's key.
const POSITION_BYTES: usize = 10;

impl StateKey {
    /// The first byte of the keys of all queues of events, and of no other key.
    pub const EVENT_QUEUES: &[u8] = b"m";
    /// The first byte of the keys of all events, and of no other key.
    pub const EVENTS: &[u8] = b"n";

    /// The key of a queue of events. Queues are in the byte order of their names.
    pub fn event_queue(queue: &str) -> Self {
        Self([Self::EVENT_QUEUES, queue.as_bytes()].concat().into())
    }

    /// The key of an event. The events of one queue are in the order of their positions.
    pub fn event(queue: &str, position: EventPosition) -> Self {
        let offset = position.offset.get().to_be_bytes();
        let rule = position.rule.to_be_bytes();
        // A queue's name has no zero byte, so no queue's keys stand among those of another.
        Self([Self::EVENTS, queue.as_bytes(), b"\0", &offset, &rule].concat().into())
    }

    /// The bound after all events of a queue.
    pub fn events_end(queue: &str) -> Bytes {
        [Self::EVENTS, queue.as_bytes(), b"\x01"].concat().into()
    }

    /// Parses the key of an event into queue and position. `None` for a key of another kind, and for bytes that
    /// [`Self::event`] never makes.
    pub fn parse_event(&self) -> Option<(&str, EventPosition)> {
        let body = self.0.strip_prefix(Self::EVENTS)?;
        let (queue, position) = body.split_last_chunk::<POSITION_BYTES>()?;
        let queue = std::str::from_utf8(queue.strip_suffix(b"\0")?).ok()?;
        let (offset, rule) = position.split_at(8);
        let offset = u64::from_be_bytes(offset.try_into().ok()?);
        let rule = u16::from_be_bytes(rule.try_into().ok()?);
        Some((queue, EventPosition { offset: Offset::new(offset), rule }))
    }
}

#[cfg(test)]
mod tests {
    use crate::fuzz::{Mutator, rounds};

    use super::*;

    fn event(version: Option<Offset>, object: Option<(u64, ETag)>) -> ObjectEvent {
        ObjectEvent {
            name: EventName::CREATED_PUT,
            time: WallTime::from_micros(1_700_000_000_000_000),
            rule: "rule".into(),
            bucket: BucketName::new("a-bucket").unwrap(),
            region: "eu-central-1".into(),
            owner: "owner".into(),
            principal: "principal".into(),
            request: "request".into(),
            key: ObjectKey::new("a/ä").unwrap(),
            version,
            object,
            tail: TaggedTail::default(),
        }
    }

    fn events() -> [ObjectEvent; 2] {
        let object = (7, ETag { md5: [0x11; 16], parts: 2 });
        [event(None, None), event(Some(Offset::new(41)), Some(object))]
    }

    #[test]
    fn an_event_comes_back() {
        for event in events() {
            let bytes = event.encode();
            assert_eq!(ObjectEvent::decode(bytes.clone()), Ok(event));
            for len in 0..bytes.len() {
                assert!(ObjectEvent::decode(bytes.slice(..len)).is_err(), "{len} bytes");
            }
            assert!(ObjectEvent::decode([&bytes[..], b"\0"].concat().into()).is_err());
        }
    }

    #[test]
    fn mutated_events_are_refused_or_have_one_encoding() {
        let seeds = events().map(|event| event.encode());
        let mut mutator = Mutator::new(72);
        let mut accepted = 0;
        for _ in 0..rounds(20_000) {
            let bytes = Bytes::from(mutator.mutated(&seeds));
            if let Ok(event) = ObjectEvent::decode(bytes.clone()) {
                assert_eq!(event.encode(), bytes);
                accepted += 1;
            }
        }
        assert!(accepted > 200, "the mutations are too coarse: {accepted} passed");
    }

    #[test]
    fn keys_are_in_the_order_of_queues_and_positions() {
        let position = |offset, rule| EventPosition { offset: Offset::new(offset), rule };
        let places = [position(0, 0), position(1, 0), position(1, 9), position(256, 1)];
        let mut keys = Vec::new();
        for queue in ["a", "a-b", "a1", "b"] {
            for place in places {
                let key = StateKey::event(queue, place);
                assert_eq!(key.parse_event(), Some((queue, place)));
                assert!(*key.0 < *StateKey::events_end(queue));
                assert!(*key.0 >= *StateKey::event(queue, EventPosition::default()).0);
                keys.push(key);
            }
        }
        assert!(keys.is_sorted_by(|a, b| a < b));
        for wrong in [&b""[..], b"n", b"na\x00123456789", b"na01234567890", b"m\x000123456789"] {
            assert_eq!(StateKey(Bytes::copy_from_slice(wrong)).parse_event(), None, "{wrong:?}");
        }
        assert_eq!(position(1, u16::MAX).next(), position(2, 0));
    }
}
