//! The outcome of records about a bucket as a whole.

use std::collections::BTreeMap;

use ingest::ids::{BucketId, ConfigVersion, Offset, PartitionId};
use ingest::record::{CreateBucket, SetBucketConfig, Versioning};
use ingest::tail::TaggedTail;

use super::condition::configured;
use super::effects::{LogPosition, RecordEffects};
use super::prior::PriorState;
use crate::memtable::StateChange;
use crate::outcome::{RecordOutcome, Rejection};
use crate::state::{BucketState, Buckets, StateKey};

/// The id of the bucket that the record at an offset makes. Offsets are never reused, so ids are not either, and
/// two partitions never give the same id. Zero stays free.
pub fn bucket_id(partition: PartitionId, offset: Offset) -> BucketId {
    BucketId::new(u64::from(partition.get()) << 48 | (offset.get() + 1))
}

/// Makes a bucket, unless one of that name exists.
pub fn create_bucket(
    partition: PartitionId,
    buckets: &Buckets,
    at: LogPosition,
    create: &CreateBucket,
) -> RecordEffects {
    if let Some(existing) = buckets.named(&create.name) {
        let is_own = existing.owner == create.owner;
        return RecordEffects::rejected(if is_own {
            Rejection::BucketAlreadyOwned
        } else {
            Rejection::BucketExists
        });
    }
    let id = bucket_id(partition, at.offset);
    let bucket = BucketState {
        id,
        name: create.name.clone(),
        owner: create.owner.clone(),
        region: create.region.clone(),
        created: at.time,
        versioning: Versioning::Off,
        notifications: None,
        config: ConfigVersion::ZERO,
        documents: BTreeMap::new(),
        tail: TaggedTail::default(),
    };
    change_bucket(RecordOutcome::BucketCreated(id), bucket)
}

fn change_bucket(outcome: RecordOutcome, bucket: BucketState) -> RecordEffects {
    RecordEffects {
        state: vec![(StateKey::bucket(bucket.id), Some(bucket.encode()))],
        bucket: Some((bucket.id, Some(bucket))),
        ..RecordEffects::only(outcome)
    }
}

/// Deletes a bucket that was found empty as of `seen`, unless an entry may have come into the bucket since.
pub fn delete_bucket(
    buckets: &Buckets,
    prior: PriorState,
    bucket: BucketId,
    seen: Offset,
) -> RecordEffects {
    if buckets.get(bucket).is_none() {
        return RecordEffects::rejected(Rejection::NoSuchBucket);
    }
    // A look as of an offset has met what was written below it.
    if prior.last_write.is_some_and(|written| written >= seen) {
        return RecordEffects::rejected(Rejection::BucketWritten);
    }
    // The open uploads of the bucket are removed with it: no request could name them any more.
    let mut state: Vec<StateChange> =
        prior.bucket_uploads.into_iter().map(|key| (key, None)).collect();
    state.push((StateKey::bucket(bucket), None));
    RecordEffects {
        state,
        bucket: Some((bucket, None)),
        ..RecordEffects::only(RecordOutcome::Done)
    }
}

/// Sets or removes one configuration document, which raises the version of the configuration. The document is kept
/// as it came; only those of versioning and of notifications are read.
pub fn set_config(buckets: &Buckets, at: LogPosition, set: &SetBucketConfig) -> RecordEffects {
    let changed = configured(buckets, set.bucket, set.config)
        .and_then(|bucket| bucket.configured(set.kind, set.document.as_ref(), at.time));
    match changed {
        Ok(bucket) => change_bucket(RecordOutcome::Done, bucket),
        Err(rejection) => RecordEffects::rejected(rejection),
    }
}
