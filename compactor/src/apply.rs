//! The fold's decision: the effects of one record, given the prior facts.
//!
//! [`needs`] returns the prior facts that a record's outcome depends on, [`apply`] decides. Both are pure: no
//! clock, no randomness, no disk, no environment. The same record on the same state has the same effects on
//! every replica, in every replay and in simulation. The decisions of a family stand in one file.

mod bucket;
mod condition;
mod effects;
mod events;
mod object;
mod prior;
mod rename;
mod rules;
mod upload;

use ingest::ids::{BucketId, CutNumber, PartitionId};
use ingest::log::CommittedRecord;
use ingest::name::ObjectKey;
use ingest::record::{Record, RecordBody, RenameCondition, VersionRef, WriteCondition};
use ingest::time::WallTime;

use crate::outcome::{RecordOutcome, Rejection};
use crate::state::{Buckets, StateKey};

pub use bucket::bucket_id;
pub use effects::{LogPosition, RecordEffects};
pub use events::observed;
pub use prior::{FoundVersion, PriorState, ReadSet};
pub use rules::StoreRules;

/// Returns the prior facts that a record's outcome depends on. Blind writes need none.
///
/// All later records wait while the fold finds these facts, so the look-ups are few, whatever the store holds. Only
/// the end of a list needs that list: the parts of an upload that is completed or aborted, the uploads of a bucket
/// that is deleted.
pub fn needs(buckets: &Buckets, record: &Record) -> ReadSet {
    let target = |bucket: BucketId, key: &ObjectKey| Some((bucket, key.clone()));
    let current = |condition: &WriteCondition, bucket, key| match condition {
        WriteCondition::Always => None,
        _ => target(bucket, key),
    };
    match &record.body {
        RecordBody::PutObject(put) => {
            ReadSet { current: current(&put.condition, put.bucket, &put.key), ..ReadSet::default() }
        }
        RecordBody::DeleteObject(delete) => ReadSet {
            current: current(&delete.condition, delete.bucket, &delete.key),
            version: match delete.version {
                VersionRef::Current => None,
                version => Some((delete.bucket, delete.key.clone(), version)),
            },
            ..ReadSet::default()
        },
        RecordBody::SetTags(set) => ReadSet {
            version: Some((set.bucket, set.key.clone(), set.version)),
            ..ReadSet::default()
        },
        RecordBody::DeleteBucket { bucket, .. } if buckets.get(*bucket).is_some() => {
            ReadSet { uploads_of: Some(*bucket), ..ReadSet::default() }
        }
        RecordBody::PutPart(put) => ReadSet {
            upload: Some((put.bucket, put.key.clone(), put.upload)),
            ..ReadSet::default()
        },
        RecordBody::CompleteUpload(complete) => ReadSet {
            current: current(&complete.condition, complete.bucket, &complete.key),
            upload: Some((complete.bucket, complete.key.clone(), complete.upload)),
            parts: true,
            ..ReadSet::default()
        },
        RecordBody::AbortUpload(abort) => ReadSet {
            upload: Some((abort.bucket, abort.key.clone(), abort.upload)),
            parts: true,
            ..ReadSet::default()
        },
        RecordBody::RenameObject(rename) => ReadSet {
            current: match rename.condition == RenameCondition::default() {
                true => None,
                false => target(rename.bucket, &rename.key),
            },
            version: Some((rename.bucket, rename.source.clone(), VersionRef::Current)),
            renamed: (!rename.token.is_empty())
                .then(|| StateKey::rename(rename.bucket, &rename.token)),
            ..ReadSet::default()
        },
        RecordBody::EventCursor(cursor) => {
            ReadSet { queue: Some(cursor.queue.clone()), ..ReadSet::default() }
        }
        _ => ReadSet::default(),
    }
}

/// Decides the effects of a record. `time` is the log's time, kept from going backwards; `cut` is the last cut. The
/// caller must have resolved all of [`needs`] in `prior`.
pub fn apply(
    rules: &StoreRules,
    partition: PartitionId,
    buckets: &Buckets,
    cut: CutNumber,
    time: WallTime,
    prior: PriorState,
    committed: &CommittedRecord,
) -> RecordEffects {
    let at = LogPosition { offset: committed.offset, time };
    let effects = decide(rules, partition, buckets, cut, at, prior, committed);
    let events = events::events_of(buckets, at, committed, &effects);
    RecordEffects { events, ..effects }
}

/// Decides the effects of a record without its events.
fn decide(
    rules: &StoreRules,
    partition: PartitionId,
    buckets: &Buckets,
    cut: CutNumber,
    at: LogPosition,
    prior: PriorState,
    committed: &CommittedRecord,
) -> RecordEffects {
    match &committed.record.body {
        RecordBody::OpenWriter
        | RecordBody::Barrier
        | RecordBody::Data(_)
        | RecordBody::Digest(_)
        | RecordBody::Claim { .. }
        | RecordBody::Abandon { .. }
        | RecordBody::Room(_) => RecordEffects::only(RecordOutcome::Done),
        RecordBody::CreateBucket(create) => bucket::create_bucket(partition, buckets, at, create),
        RecordBody::DeleteBucket { bucket, seen } => {
            bucket::delete_bucket(buckets, prior, *bucket, *seen)
        }
        RecordBody::SetBucketConfig(set) => bucket::set_config(buckets, at, set),
        RecordBody::PutObject(put) => object::put_object(buckets, at, prior, put, committed),
        RecordBody::DeleteObject(delete) => {
            object::delete_object(buckets, at, prior, delete, &committed.record.principal)
        }
        RecordBody::SetTags(set) => object::set_tags(buckets, at, prior, set),
        RecordBody::CreateUpload(create) => upload::create_upload(buckets, at, create),
        RecordBody::PutPart(put) => upload::put_part(buckets, at, prior, put),
        RecordBody::CompleteUpload(complete) => {
            upload::complete_upload(rules, buckets, at, prior, complete)
        }
        RecordBody::AbortUpload(abort) => upload::abort_upload(buckets, prior, abort),
        RecordBody::RenameObject(body) => {
            let principal = &committed.record.principal;
            rename::rename_object(buckets, at, prior, body, principal)
        }
        RecordBody::EventCursor(cursor) => events::move_cursor(prior.queue, cursor),
        RecordBody::Cut { number } if *number == cut.next() => {
            RecordEffects { freezes: true, ..RecordEffects::only(RecordOutcome::Done) }
        }
        RecordBody::Cut { .. } => RecordEffects::rejected(Rejection::StaleCut),
    }
}

#[cfg(test)]
mod tests;
