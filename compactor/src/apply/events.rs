//! The events that a record makes: what the rules of its bucket report of it.
//!
//! Derived from the record and its effects, after these are decided. A record without effect makes no event. A DELETE
//! without a version id in a bucket without versions makes one also where there is no object: the fold does not look
//! for the object, so that damaged ones can be removed.

use ingest::entry::{ETag, EntryValue, WriteOrigin};
use ingest::ids::Offset;
use ingest::log::CommittedRecord;
use ingest::name::ObjectKey;
use ingest::record::{EventCursor, EventName, EventPosition, RecordBody};
use ingest::tail::TaggedTail;

use super::effects::{LogPosition, RecordEffects};
use crate::outcome::{RecordOutcome, VersionName};
use crate::state::{BucketState, Buckets, EventQueue, NewEvent, ObjectEvent};

/// A change of one object, as an event reports it.
struct ReportedChange<'a> {
    key: &'a ObjectKey,
    name: EventName,
    /// The version; `None` for version `null`.
    version: Option<Offset>,
    /// The size in bytes and the entity tag; `None` for a removal.
    object: Option<(u64, ETag)>,
}

/// Returns the events that a record makes: of its changes in their order, and of a change in the order of the bucket's
/// rules. Costs only one look at the bucket where no rule reports anything. Must be called with the effects that were
/// decided for the record.
pub fn events_of(
    buckets: &Buckets,
    at: LogPosition,
    committed: &CommittedRecord,
    effects: &RecordEffects,
) -> Vec<NewEvent> {
    let Some(bucket) = changed_bucket(buckets, committed, effects) else { return Vec::new() };
    let Some(rules) = bucket.notifications.as_ref().map(|found| &found.rules) else {
        return Vec::new();
    };
    let mut events = Vec::new();
    for (index, change) in changes(&committed.record.body, effects).iter().enumerate() {
        let taken = rules.iter().enumerate();
        let taken = taken.filter(|(_, rule)| rule.takes(change.name, change.key.as_bytes()));
        events.extend(taken.map(|(place, rule)| {
            // Two changes of a record, and two rules that report one change, have places of their own.
            let place = index * rules.len() + place;
            NewEvent {
                queue: rule.queue.clone(),
                position: EventPosition { offset: at.offset, rule: place as u16 },
                value: event(bucket, change, at, committed, &rule.id).encode(),
            }
        }));
    }
    events
}

/// Returns the events that a record makes, whatever the rules of its bucket report; none for a record that changed no
/// object. Must not decide anything: only readers that listen now get the events.
pub fn observed(
    buckets: &Buckets,
    at: LogPosition,
    committed: &CommittedRecord,
    effects: &RecordEffects,
) -> Vec<ObjectEvent> {
    let Some(bucket) = changed_bucket(buckets, committed, effects) else { return Vec::new() };
    let changes = changes(&committed.record.body, effects);
    changes.iter().map(|change| event(bucket, change, at, committed, "")).collect()
}

fn event(
    bucket: &BucketState,
    change: &ReportedChange<'_>,
    at: LogPosition,
    committed: &CommittedRecord,
    rule: &str,
) -> ObjectEvent {
    ObjectEvent {
        name: change.name,
        time: at.time,
        rule: rule.to_owned(),
        bucket: bucket.name.clone(),
        region: bucket.region.clone(),
        owner: bucket.owner.clone(),
        principal: committed.record.principal.clone(),
        request: committed.record.request.clone(),
        key: change.key.clone(),
        version: change.version,
        object: change.object,
        tail: TaggedTail::default(),
    }
}

/// Returns the bucket, for a record that changed an object.
fn changed_bucket<'a>(
    buckets: &'a Buckets,
    committed: &CommittedRecord,
    effects: &RecordEffects,
) -> Option<&'a BucketState> {
    if effects.entries.is_empty() {
        return None;
    }
    let (bucket, _) = committed.record.body.target()?;
    buckets.get(bucket).map(|bucket| &**bucket)
}

/// Returns the changes of a record that has changed an object. A rename is reported as the copy and the removal that a
/// client without it makes, in this order, so that who follows the events has the object at every time.
fn changes<'a>(body: &'a RecordBody, effects: &RecordEffects) -> Vec<ReportedChange<'a>> {
    let Some((_, key)) = body.target() else { return Vec::new() };
    let Some((name, version)) = named(body, effects) else { return Vec::new() };
    let change = ReportedChange { key, name, version, object: object_of(effects) };
    match body {
        RecordBody::RenameObject(rename) => {
            let (key, name) = (&rename.source, EventName::REMOVED_DELETE);
            vec![change, ReportedChange { key, name, version: None, object: None }]
        }
        _ => vec![change],
    }
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
        (RecordBody::RenameObject(_), RecordOutcome::Written(_)) => (EventName::CREATED_COPY, None),
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
fn object_of(effects: &RecordEffects) -> Option<(u64, ETag)> {
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
