//! Decoders of `ingest`: records of the log, values of entries, and rules for notifications. Bytes that are accepted have one encoding.
//!
//! Test code, included by path by the fuzz targets and by the test that repeats their corpora.
#![allow(dead_code, reason = "each fuzz target uses one function")]

use bytes::Bytes;
use ingest::codec::{Decoder, Encoder};
use ingest::entry::EntryValue;
use ingest::record::{EventName, NotificationRule, NotificationRules, Record};

/// Decodes a record. Its encoding is the input again, and its estimated length is long enough.
pub fn record(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(record) = Record::decode(bytes.clone()) {
        assert_eq!(record.encode(), bytes, "{record:?}");
        assert!(bytes.len() <= record.bytes_estimate(), "{record:?}");
    }
}

/// Decodes the value of an entry. Its encoding is that part of the input which was read.
pub fn entry(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let mut from = Decoder::new(bytes.clone());
    if let Ok(value) = EntryValue::decode(&mut from) {
        let mut out = Encoder::new();
        value.encode(&mut out);
        assert_eq!(out.finish(), bytes.slice(..from.position()), "{value:?}");
    }
}

/// Returns true if a rule reports an event about a key, decided by the names of events.
fn reports(rule: &NotificationRule, event: EventName, key: &[u8]) -> bool {
    let is_named = |name: &EventName| match name.name().split_once('*') {
        Some((group, _)) => event.name().starts_with(group),
        None => name.name() == event.name(),
    };
    let begins =
        rule.prefix.as_ref().is_none_or(|text| key.iter().take(text.len()).eq(text.as_bytes()));
    let ends = rule
        .suffix
        .as_ref()
        .is_none_or(|text| key.iter().rev().take(text.len()).eq(text.as_bytes().iter().rev()));
    begins && ends && rule.events.iter().any(is_named)
}

/// Decodes the notification rules of a bucket, and asks each about events of a key: the first byte of the input is the
/// length of the key, which follows. Rules that are accepted have one encoding.
pub fn notification(data: &[u8]) {
    let Some((len, rest)) = data.split_first() else { return };
    let (key, document) = rest.split_at(rest.len().min(usize::from(*len)));
    let document = Bytes::copy_from_slice(document);
    let Ok(rules) = NotificationRules::of_document(&document) else { return };
    assert_eq!(rules.document().as_ref(), Ok(&document), "{rules:?}");
    for rule in &rules.rules {
        for event in [EventName::CREATED_PUT, EventName::REMOVED_MARKER, EventName::TAGGING_DELETE]
        {
            assert_eq!(
                rule.takes(event, key),
                reports(rule, event, key),
                "{rule:?} {event:?} {key:?}"
            );
        }
    }
}
