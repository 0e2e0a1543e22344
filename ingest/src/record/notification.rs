//! The events of a bucket that are reported to somebody: the configuration document, and the names of events.
//!
//! The gateway makes the document of S3's `NotificationConfiguration` after it has checked it, and S3's document of this
//! one. The fold reads it for each record about the bucket, so the decision which events are reported is the same on
//! every replica.

use std::fmt;

use bytes::Bytes;

use crate::codec::{DecodeError, Decoder, EncodeError, Encoder};
use crate::name::OBJECT_KEY_BYTES_MAX;

/// The most rules of a bucket.
pub const NOTIFICATION_RULES_MAX: usize = 100;
/// Longest id of a rule, in bytes.
pub const RULE_ID_BYTES_MAX: usize = 255;
/// Longest name of a queue of events, in bytes.
pub const QUEUE_BYTES_MAX: usize = 64;
/// Longest name of a destination as a client gave it, in bytes.
pub const ARN_BYTES_MAX: usize = 512;

/// The name of an event of S3, or of a group of events. The number in the encoding is never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName(u8);

/// The names, at the place of their number; numbers begin at 1. A name that ends with a star is the group of all names
/// that begin with what stands before the star.
const NAMES: &[&str] = &[
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
    "s3:ObjectTagging:*",
    "s3:ObjectTagging:Put",
    "s3:ObjectTagging:Delete",
    "s3:ObjectAcl:Put",
    "s3:ObjectRestore:*",
    "s3:ObjectRestore:Post",
    "s3:ObjectRestore:Completed",
    "s3:ObjectRestore:Delete",
    "s3:Replication:*",
    "s3:Replication:OperationFailedReplication",
    "s3:Replication:OperationNotTracked",
    "s3:Replication:OperationMissedThreshold",
    "s3:Replication:OperationReplicatedAfterThreshold",
    "s3:LifecycleExpiration:*",
    "s3:LifecycleExpiration:Delete",
    "s3:LifecycleExpiration:DeleteMarkerCreated",
    "s3:LifecycleTransition",
    "s3:IntelligentTiering",
    "s3:ReducedRedundancyLostObject",
    "s3:ObjectAnnotation:*",
    "s3:ObjectAnnotation:Put",
    "s3:ObjectAnnotation:Delete",
];

impl EventName {
    /// An object was written by PutObject.
    pub const CREATED_PUT: Self = Self(2);
    /// An object was written by a form of a browser.
    pub const CREATED_POST: Self = Self(3);
    /// An object was written by CopyObject.
    pub const CREATED_COPY: Self = Self(4);
    /// An upload became an object.
    pub const CREATED_COMPLETE: Self = Self(5);
    /// An object without versions, or one version, was removed.
    pub const REMOVED_DELETE: Self = Self(7);
    /// A delete marker became the current version.
    pub const REMOVED_MARKER: Self = Self(8);
    /// The tags of a version were set.
    pub const TAGGING_PUT: Self = Self(10);
    /// The tags of a version were removed.
    pub const TAGGING_DELETE: Self = Self(11);

    /// The event or group with a name of S3; `None` unless the name is spelt as S3 spells it.
    pub fn named(name: &str) -> Option<Self> {
        let place = NAMES.iter().position(|known| *known == name)?;
        u8::try_from(place + 1).ok().map(Self)
    }

    /// The name in S3's configuration, with `s3:` at its beginning.
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0) - 1]
    }

    /// True only when every event of `other` is one of this name. A name covers itself, and a group its events.
    pub fn covers(self, other: Self) -> bool {
        let group = self.name().strip_suffix('*');
        self == other || group.is_some_and(|group| other.name().starts_with(group))
    }

    /// Appends the number.
    pub fn encode(self, out: &mut Encoder) {
        out.u8(self.0);
    }

    /// Takes a number off. Fails for one that no name has.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("name of an event");
        let number = from.u8("name of an event")?;
        let is_known = (1..=NAMES.len()).contains(&usize::from(number));
        if is_known { Ok(Self(number)) } else { Err(error) }
    }
}

impl fmt::Debug for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The element of S3's document in which a rule stands. All mean the same; a read answers the one that was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleElement {
    /// `TopicConfiguration`.
    Topic,
    /// `QueueConfiguration`.
    Queue,
    /// `CloudFunctionConfiguration`.
    Function,
}

/// The events of a bucket that are reported to one queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotificationRule {
    /// The element of S3's document.
    pub element: RuleElement,
    /// The id, unique in the bucket.
    pub id: String,
    /// The destination as the client named it.
    pub arn: String,
    /// The queue of that destination.
    pub queue: String,
    /// The names of events.
    pub events: Vec<EventName>,
    /// The text with which keys begin; `None` without such a filter.
    pub prefix: Option<String>,
    /// The text with which keys end; `None` without such a filter.
    pub suffix: Option<String>,
}

impl NotificationRule {
    /// True only when an event about a key is reported: name, prefix and suffix must all fit.
    pub fn takes(&self, event: EventName, key: &[u8]) -> bool {
        self.events.iter().any(|name| name.covers(event))
            && self.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix.as_bytes()))
            && self.suffix.as_ref().is_none_or(|suffix| key.ends_with(suffix.as_bytes()))
    }

    fn encode(&self, out: &mut Encoder) {
        out.u8(match self.element {
            RuleElement::Topic => 0,
            RuleElement::Queue => 1,
            RuleElement::Function => 2,
        });
        out.bounded(self.id.as_bytes(), RULE_ID_BYTES_MAX, "id of a rule");
        out.bounded(self.arn.as_bytes(), ARN_BYTES_MAX, "destination of a rule");
        out.bounded(self.queue.as_bytes(), QUEUE_BYTES_MAX, "queue of events");
        out.count(self.events.len(), NAMES.len(), "events of a rule");
        self.events.iter().for_each(|name| name.encode(out));
        for filter in [&self.prefix, &self.suffix] {
            out.bool(filter.is_some());
            if let Some(text) = filter {
                out.bounded(text.as_bytes(), OBJECT_KEY_BYTES_MAX, "filter of a rule");
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("element of a rule");
        let element = match from.u8("element of a rule")? {
            0 => RuleElement::Topic,
            1 => RuleElement::Queue,
            2 => RuleElement::Function,
            _ => return Err(error),
        };
        let id = from.text(RULE_ID_BYTES_MAX, "id of a rule")?;
        let arn = from.text(ARN_BYTES_MAX, "destination of a rule")?;
        let queue = from.text(QUEUE_BYTES_MAX, "queue of events")?;
        let count = from.count(NAMES.len(), "events of a rule")?;
        let events = (0..count).map(|_| EventName::decode(from)).collect::<Result<_, _>>()?;
        let mut filter = || match from.bool("filter of a rule")? {
            true => from.text(OBJECT_KEY_BYTES_MAX, "filter of a rule").map(Some),
            false => Ok(None),
        };
        let (prefix, suffix) = (filter()?, filter()?);
        Ok(Self { element, id, arn, queue, events, prefix, suffix })
    }
}

/// The configuration document of kind [`super::ConfigKind::NOTIFICATION`]: the rules of a bucket, in the order in which
/// they were given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NotificationRules {
    /// The rules. A bucket without rules has no document.
    pub rules: Vec<NotificationRule>,
}

impl NotificationRules {
    /// Encodes the document. Fails for a text or a list beyond its limit.
    pub fn document(&self) -> Result<Bytes, EncodeError> {
        let mut out = Encoder::new();
        out.count(self.rules.len(), NOTIFICATION_RULES_MAX, "rules of a bucket");
        self.rules.iter().for_each(|rule| rule.encode(&mut out));
        out.try_finish()
    }

    /// Decodes a document. Fails for bytes that [`NotificationRules::document`] never writes.
    pub fn of_document(document: &Bytes) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(document.clone());
        let count = from.count(NOTIFICATION_RULES_MAX, "rules of a bucket")?;
        let rules =
            (0..count).map(|_| NotificationRule::decode(&mut from)).collect::<Result<_, _>>()?;
        from.end("end of notification rules")?;
        Ok(Self { rules })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Mutator, rounds};

    fn rule(events: &[&str], prefix: Option<&str>, suffix: Option<&str>) -> NotificationRule {
        NotificationRule {
            element: RuleElement::Queue,
            id: "rule".into(),
            arn: "arn:siltstone:sqs::hook:webhook".into(),
            queue: "hook".into(),
            events: events.iter().map(|name| EventName::named(name).unwrap()).collect(),
            prefix: prefix.map(str::to_owned),
            suffix: suffix.map(str::to_owned),
        }
    }

    #[test]
    fn names_are_found_and_groups_cover_their_events() {
        for name in NAMES {
            let event = EventName::named(name).unwrap();
            assert_eq!(event.name(), *name);
            for other in NAMES {
                let other = EventName::named(other).unwrap();
                let group = name.strip_suffix('*');
                let wanted = *name == other.name()
                    || group.is_some_and(|group| other.name().starts_with(group));
                assert_eq!(event.covers(other), wanted, "{name} {other:?}");
            }
        }
        for wrong in ["", "s3:ObjectCreated", "s3:*", "ObjectCreated:*", "s3:objectcreated:*"] {
            assert_eq!(EventName::named(wrong), None, "{wrong}");
        }
        let constants = [
            (EventName::CREATED_PUT, "s3:ObjectCreated:Put"),
            (EventName::CREATED_POST, "s3:ObjectCreated:Post"),
            (EventName::CREATED_COPY, "s3:ObjectCreated:Copy"),
            (EventName::CREATED_COMPLETE, "s3:ObjectCreated:CompleteMultipartUpload"),
            (EventName::REMOVED_DELETE, "s3:ObjectRemoved:Delete"),
            (EventName::REMOVED_MARKER, "s3:ObjectRemoved:DeleteMarkerCreated"),
            (EventName::TAGGING_PUT, "s3:ObjectTagging:Put"),
            (EventName::TAGGING_DELETE, "s3:ObjectTagging:Delete"),
        ];
        for (event, name) in constants {
            assert_eq!(event.name(), name);
        }
    }

    #[test]
    fn a_rule_takes_events_of_its_names_about_its_keys() {
        let put = EventName::CREATED_PUT;
        for (events, prefix, suffix, key, is_taken) in [
            (&["s3:ObjectCreated:*"][..], None, None, "a", true),
            (&["s3:ObjectCreated:Put"], None, None, "a", true),
            (&["s3:ObjectCreated:Copy"], None, None, "a", false),
            (&["s3:ObjectRemoved:*", "s3:ObjectCreated:Put"], None, None, "a", true),
            (&["s3:ObjectCreated:*"], Some("a/"), None, "a/b", true),
            (&["s3:ObjectCreated:*"], Some("a/"), None, "b/a/", false),
            (&["s3:ObjectCreated:*"], None, Some(".jpg"), "a.jpg", true),
            (&["s3:ObjectCreated:*"], None, Some(".jpg"), "a.jpg.txt", false),
            (&["s3:ObjectCreated:*"], Some("ab"), Some("bc"), "abc", true),
            (&["s3:ObjectCreated:*"], Some(""), Some(""), "abc", true),
            (&["s3:ObjectCreated:*"], Some("abcd"), None, "abc", false),
            (&[], None, None, "a", false),
        ] {
            let rule = rule(events, prefix, suffix);
            assert_eq!(rule.takes(put, key.as_bytes()), is_taken, "{rule:?} {key}");
        }
    }

    fn rules() -> NotificationRules {
        let first = rule(&["s3:ObjectCreated:*"], Some("ä/"), None);
        let second = NotificationRule { element: RuleElement::Topic, ..rule(&[], None, Some("")) };
        let third = NotificationRule { element: RuleElement::Function, ..first.clone() };
        NotificationRules { rules: vec![first, second, third] }
    }

    #[test]
    fn rules_come_back_from_their_document() {
        for rules in [NotificationRules::default(), rules()] {
            let document = rules.document().unwrap();
            assert_eq!(NotificationRules::of_document(&document), Ok(rules));
        }
        let many = NotificationRules { rules: vec![rule(&[], None, None); 101] };
        assert!(many.document().is_err());
        let long = "x".repeat(QUEUE_BYTES_MAX + 1);
        let long = NotificationRule { queue: long, ..rule(&[], None, None) };
        assert!(NotificationRules { rules: vec![long] }.document().is_err());
    }

    #[test]
    fn mutated_documents_are_refused_or_have_one_encoding() {
        let (mut mutator, seeds) = (Mutator::new(71), [rules().document().unwrap()]);
        let mut accepted = 0;
        for _ in 0..rounds(20_000) {
            let bytes = Bytes::from(mutator.mutated(&seeds));
            if let Ok(rules) = NotificationRules::of_document(&bytes) {
                assert_eq!(rules.document().unwrap(), bytes);
                accepted += 1;
            }
        }
        assert!(accepted > 200, "the mutations are too coarse: {accepted} passed");
    }
}
