//! The outcome of records about a bucket as a whole.

use ingest::ids::{BucketId, ConfigVersion, Offset, PartitionId};
use ingest::record::{CreateBucket, Versioning};

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
        config: ConfigVersion::ZERO,
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

/// Switches a bucket's versioning, which raises the version of the configuration.
pub fn set_versioning(
    buckets: &Buckets,
    bucket: BucketId,
    versioning: Versioning,
) -> RecordEffects {
    let Some(bucket) = buckets.get(bucket) else {
        return RecordEffects::rejected(Rejection::NoSuchBucket);
    };
    let config = bucket.config.next();
    change_bucket(
        RecordOutcome::Done,
        BucketState { versioning, config, ..BucketState::clone(bucket) },
    )
}
