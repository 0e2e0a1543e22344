//! The events that a record makes: what the rules of its bucket report of it.
//!
//! Derived from the record and its effects, after these are decided. A record without effect makes no event. A DELETE
//! without a version id in a bucket without versions makes one also where there is no object: the fold does not look
//! for the object, so that damaged ones can be removed.

use ingest::entry::{EntryValue, WriteOrigin};
use ingest::ids::{BucketId, Offset};
use ingest::log::CommittedRecord;
use ingest::name::ObjectKey;
use ingest::record::{EventCursor, EventName, EventPosition, RecordBody};
use ingest::tail::TaggedTail;

use super::effects::{LogPosition, RecordEffects};
use crate::outcome::{RecordOutcome, VersionName};
use crate::state::{BucketState, Buckets, EventQueue, NewEvent, ObjectEvent};

/// Returns the events that a record makes, in the order of the bucket's rules. Costs only one look at the bucket where
/// no rule reports anything. Must be called with the effects that were decided for the record.
pub fn events_of(
    buckets: &Buckets,
    at: LogPosition,
    committed: &CommittedRecord,
    effects: &RecordEffects,
) -> Vec<NewEvent> {
    let Some((bucket, key)) = changed(buckets, committed, effects) else { return Vec::new() };
    let Some(rules) = bucket.notifications.as_ref() else { return Vec::new() };
    let Some((name, version)) = named(&committed.record.body, effects) else { return Vec::new() };
    let taken = rules.rules.iter().enumerate();
    let taken = taken.filter(|(_, rule)| rule.takes(name, key.as_bytes()));
    taken
        .map(|(place, rule)| NewEvent {
            queue: rule.queue.clone(),
            position: EventPosition { offset: at.offset, rule: place as u16 },
            value: event(bucket, key, (name, version), at, committed, effects, &rule.id).encode(),
        })
        .collect()
}

/// Returns the event that a record makes, whatever the rules of its bucket report; `None` for a record that changed no
/// object. Must not decide anything: only readers that listen now get the event.
pub fn observed(
    buckets: &Buckets,
    at: LogPosition,
    committed: &CommittedRecord,
    effects: &RecordEffects,
) -> Option<ObjectEvent> {
    let (bucket, key) = changed(buckets, committed, effects)?;
    let named = named(&committed.record.body, effects)?;
    Some(event(bucket, key, named, at, committed, effects, ""))
}

fn event(
    bucket: &BucketState,
    key: &ObjectKey,
    (name, version): (EventName, Option<Offset>),
    at: LogPosition,
    committed: &CommittedRecord,
    effects: &RecordEffects,
    rule: &str,
) -> ObjectEvent {
    ObjectEvent {
        name,
        time: at.time,
        rule: rule.to_owned(),
        bucket: bucket.name.clone(),
        region: bucket.region.clone(),
        owner: bucket.owner.clone(),
        principal: committed.record.principal.clone(),
        request: committed.record.request.clone(),
        key: key.clone(),
        version,
        object: object_of(effects),
        tail: TaggedTail::default(),
    }
}

/// Returns the bucket and the key, for a record that changed an object.
fn changed<'a>(
    buckets: &'a Buckets,
    committed: &'a CommittedRecord,
    effects: &RecordEffects,
) -> Option<(&'a BucketState, &'a ObjectKey)> {
    if effects.entries.is_empty() {
        return None;
    }
    let (bucket, key): (BucketId, _) = committed.record.body.target()?;
    Some((buckets.get(bucket)?, key))
}

/// Returns the name of the event and the version that it is about; no version for `null`.
fn named(body: &RecordBody, effects: &RecordEffects) -> Option<(EventName, Option<Offset>)> {
    let of = |version: Option<VersionName>| match version {
        Some(VersionName::At(offset)) => Some(offset),
        Some(VersionName::Null) | None => None,
    };
    Some(match (body, &effects.outcome) {
        (RecordBody::PutObject(put), RecordOutcome::Written(written)) => {
            let name = match put.attributes.origin() {
                WriteOrigin::Put => EventName::CREATED_PUT,
                WriteOrigin::Post => EventName::CREATED_POST,
                WriteOrigin::Copy => EventName::CREATED_COPY,
            };
            (name, (!written.is_null).then_some(written.version))
        }
        (RecordBody::CompleteUpload(_), RecordOutcome::Written(written)) => {
            (EventName::CREATED_COMPLETE, (!written.is_null).then_some(written.version))
        }
        (RecordBody::DeleteObject(_), RecordOutcome::Deleted(deleted)) => {
            let makes_marker = effects
                .entries
                .iter()
                .any(|entry| matches!(entry.statement, EntryValue::Marker { .. }));
            let name =
                if makes_marker { EventName::REMOVED_MARKER } else { EventName::REMOVED_DELETE };
            (name, of(deleted.version))
        }
        (RecordBody::SetTags(set), RecordOutcome::Changed(version)) => {
            let name = match set.tags.is_empty() {
                true => EventName::TAGGING_DELETE,
                false => EventName::TAGGING_PUT,
            };
            (name, of(Some(*version)))
        }
        _ => return None,
    })
}

/// Returns size and entity tag of the object that the record states; `None` for a removal.
fn object_of(effects: &RecordEffects) -> Option<(u64, ingest::entry::ETag)> {
    effects.entries.iter().find_map(|entry| match &entry.statement {
        EntryValue::Object(object) => Some((object.attributes.size, object.attributes.etag)),
        _ => None,
    })
}

/// Moves the cursor of a queue; never back. Rejects the record of a lease that has been replaced.
pub fn move_cursor(queue: Option<EventQueue>, cursor: &EventCursor) -> RecordEffects {
    match queue.unwrap_or_default().moved(cursor) {
        Ok(moved) => RecordEffects {
            queue: Some((cursor.queue.clone(), moved)),
            ..RecordEffects::only(RecordOutcome::Done)
        },
        Err(rejection) => RecordEffects::rejected(rejection),
    }
}
