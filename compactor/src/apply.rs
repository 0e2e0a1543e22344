//! The fold's decision: what one record does, given what was there before.
//!
//! [`needs`] says which prior facts a record's outcome hangs on, [`apply`] decides. Both are pure: no
//! clock, no randomness, no disk, no environment. The same record on the same state has the same
//! effects on every replica, in every replay and in simulation.

use std::sync::Arc;

use ingest::entry::{
    Attributes, ETag, Entry, EntryKey, EntryValue, Extent, ObjectVersion, PartSummary,
    PayloadLocation,
};
use ingest::ids::{BucketId, ConfigVersion, CutNumber, Offset, PartNumber, PartitionId, UploadId};
use ingest::log::CommittedRecord;
use ingest::name::ObjectKey;
use ingest::record::{
    CompleteUpload, CreateBucket, DeleteObject, PutObject, PutPart, Record, RecordBody,
    RecordPayload, SetTags, UploadPart, VersionRef, Versioning, WriteCondition,
};
use ingest::time::WallTime;
use md5::{Digest, Md5};

use crate::memtable::StateChange;
use crate::outcome::{DeletedVersion, RecordOutcome, Rejection, VersionName, WrittenVersion};
use crate::state::{
    BucketState, Buckets, COMPLETED_UPLOAD_RECORDS, OpenUpload, StateKey, UploadState, encode_part,
};

/// What a store has chosen once and for all, because outcomes hang on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreRules {
    /// The smallest part of an upload but the last, in bytes (AWS: 5 MiB).
    pub part_bytes_min: u64,
}

impl Default for StoreRules {
    fn default() -> Self {
        Self { part_bytes_min: 5 << 20 }
    }
}

/// Which prior facts a record's outcome hangs on.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ReadSet {
    /// The newest version of this key.
    pub current: Option<(BucketId, ObjectKey)>,
    /// A certain version of this key.
    pub version: Option<(BucketId, ObjectKey, VersionRef)>,
    /// This bucket's uploads, and when it was last written to.
    pub uploads_of: Option<BucketId>,
    /// An upload.
    pub upload: Option<(BucketId, ObjectKey, UploadId)>,
    /// Tells that the parts of that upload are needed, too.
    pub parts: bool,
}

/// The prior facts, resolved.
#[derive(Clone, Default, Debug)]
pub struct PriorState {
    /// See [`ReadSet::current`].
    pub current: Option<FoundVersion>,
    /// See [`ReadSet::version`].
    pub version: Option<FoundVersion>,
    /// The last record that may have put something into the bucket. Known to the fold alone, which adds it;
    /// see [`ReadSet::uploads_of`].
    pub last_write: Option<Offset>,
    /// The state keys of the bucket's uploads and their parts; see [`ReadSet::uploads_of`].
    pub bucket_uploads: Vec<StateKey>,
    /// See [`ReadSet::upload`].
    pub upload: Option<UploadState>,
    /// The upload's parts in order of their numbers; see [`ReadSet::parts`].
    pub parts: Vec<(PartNumber, UploadPart)>,
    /// How many entries and state values were looked at for all this. No outcome hangs on it.
    pub looked_at: u64,
}

/// A visible version, as far as outcomes hang on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundVersion {
    /// The offset of the record that made it.
    pub version: Offset,
    /// What it states: an object or a marker.
    pub statement: EntryValue,
}

impl FoundVersion {
    fn is_marker(&self) -> bool {
        matches!(self.statement, EntryValue::Marker { .. })
    }
}

/// What one record does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordEffects {
    /// What the waiting gateway is told.
    pub outcome: RecordOutcome,
    /// New statements about object versions.
    pub entries: Vec<Entry>,
    /// New state.
    pub state: Vec<StateChange>,
    /// A bucket that has changed, with its new state; none when it is no more.
    pub bucket: Option<(BucketId, Option<BucketState>)>,
    /// Whether the memtable freezes here.
    pub freezes: bool,
}

impl RecordEffects {
    fn only(outcome: RecordOutcome) -> Self {
        Self { outcome, entries: Vec::new(), state: Vec::new(), bucket: None, freezes: false }
    }

    fn rejected(rejection: Rejection) -> Self {
        Self::only(RecordOutcome::Rejected(rejection))
    }
}

/// Says which prior facts a record's outcome hangs on. Blind writes need none.
///
/// Everybody waits while the fold finds them, so they are few look-ups however much the store holds. Only what
/// ends a list needs that list: the parts of an upload that is completed or aborted, the uploads of a bucket
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
        RecordBody::AbortUpload { bucket, key, upload } => {
            let upload = Some((*bucket, key.clone(), *upload));
            ReadSet { upload, parts: true, ..ReadSet::default() }
        }
        _ => ReadSet::default(),
    }
}

/// Decides what a record does. `time` is the log's time, kept from going backwards; `cut` is the last cut.
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
    match &committed.record.body {
        RecordBody::OpenWriter
        | RecordBody::Barrier
        | RecordBody::Data(_)
        | RecordBody::Digest(_)
        | RecordBody::Claim { .. }
        | RecordBody::Abandon { .. }
        | RecordBody::Room(_) => RecordEffects::only(RecordOutcome::Done),
        RecordBody::CreateBucket(create) => create_bucket(partition, buckets, at, create),
        RecordBody::DeleteBucket { bucket, seen } => delete_bucket(buckets, prior, *bucket, *seen),
        RecordBody::SetVersioning { bucket, versioning } => {
            set_versioning(buckets, *bucket, *versioning)
        }
        RecordBody::PutObject(put) => put_object(buckets, at, prior, put, committed),
        RecordBody::DeleteObject(delete) => {
            delete_object(buckets, at, prior, delete, &committed.record.principal)
        }
        RecordBody::SetTags(set) => set_tags(at, prior, set),
        RecordBody::CreateUpload(create) => {
            if buckets.get(create.bucket).is_none() {
                return RecordEffects::rejected(Rejection::NoSuchBucket);
            }
            let key = StateKey::upload(create.bucket, create.key.as_bytes(), create.upload);
            let open = UploadState::Open(OpenUpload {
                created: time,
                attributes: create.attributes.clone(),
                checksum_algorithm: create.checksum_algorithm,
                checksum_is_composite: create.checksum_is_composite,
            });
            RecordEffects {
                state: vec![(key, Some(open.encode()))],
                ..RecordEffects::only(RecordOutcome::Done)
            }
        }
        RecordBody::PutPart(put) => put_part(at, prior, put),
        RecordBody::CompleteUpload(complete) => {
            complete_upload(rules, buckets, at, prior, complete)
        }
        RecordBody::AbortUpload { bucket, key, upload } => {
            if !matches!(prior.upload, Some(UploadState::Open(_))) {
                return RecordEffects::rejected(Rejection::NoSuchUpload);
            }
            let mut state = remove_parts(*upload, &prior.parts);
            state.push((StateKey::upload(*bucket, key.as_bytes(), *upload), None));
            RecordEffects { state, ..RecordEffects::only(RecordOutcome::Done) }
        }
        RecordBody::Cut { number } if *number == cut.next() => {
            RecordEffects { freezes: true, ..RecordEffects::only(RecordOutcome::Done) }
        }
        RecordBody::Cut { .. } => RecordEffects::rejected(Rejection::StaleCut),
    }
}

/// Where and when the record stands.
#[derive(Clone, Copy)]
struct LogPosition {
    offset: Offset,
    time: WallTime,
}

/// The id of the bucket that the record at an offset makes. Offsets are never reused, so ids are not
/// either, and two partitions never give the same. Zero stays free.
pub fn bucket_id(partition: PartitionId, offset: Offset) -> BucketId {
    BucketId::new(u64::from(partition.get()) << 48 | (offset.get() + 1))
}

fn create_bucket(
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

/// Deletes a bucket that was found empty as of `seen`, unless something may have come into it since.
fn delete_bucket(
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
    // Its open uploads go with it: nobody could name them any more.
    let mut state: Vec<StateChange> =
        prior.bucket_uploads.into_iter().map(|key| (key, None)).collect();
    state.push((StateKey::bucket(bucket), None));
    RecordEffects {
        state,
        bucket: Some((bucket, None)),
        ..RecordEffects::only(RecordOutcome::Done)
    }
}

fn set_versioning(buckets: &Buckets, bucket: BucketId, versioning: Versioning) -> RecordEffects {
    let Some(bucket) = buckets.get(bucket) else {
        return RecordEffects::rejected(Rejection::NoSuchBucket);
    };
    let config = bucket.config.next();
    change_bucket(
        RecordOutcome::Done,
        BucketState { versioning, config, ..BucketState::clone(bucket) },
    )
}

/// Finds the bucket and compares the configuration that the write was accepted under.
fn configured(
    buckets: &Buckets,
    bucket: BucketId,
    config: ConfigVersion,
) -> Result<&BucketState, Rejection> {
    let bucket = buckets.get(bucket).ok_or(Rejection::NoSuchBucket)?;
    if bucket.config != config {
        return Err(Rejection::Retry(bucket.config));
    }
    Ok(bucket)
}

fn holds(condition: &WriteCondition, current: Option<&FoundVersion>) -> Result<(), Rejection> {
    let etag = match current.map(|found| &found.statement) {
        Some(EntryValue::Object(object)) => Some(object.attributes.etag),
        _ => None,
    };
    match (condition, etag) {
        (WriteCondition::Always, _)
        | (WriteCondition::IfAbsent, None)
        | (WriteCondition::IfPresent, Some(_)) => Ok(()),
        (WriteCondition::IfMatch(wanted), Some(etag)) if etag == *wanted => Ok(()),
        (WriteCondition::IfPresent | WriteCondition::IfMatch(_), None) => Err(Rejection::NoSuchKey),
        (WriteCondition::IfAbsent | WriteCondition::IfMatch(_), Some(_)) => {
            Err(Rejection::PreconditionFailed)
        }
    }
}

/// Makes the statement and the answer for a new object version.
fn write_version(
    bucket: &BucketState,
    key: &ObjectKey,
    at: LogPosition,
    attributes: Attributes,
    digest: u64,
    payload: PayloadLocation,
) -> (Entry, WrittenVersion) {
    let is_null = bucket.versioning != Versioning::On;
    let written = WrittenVersion {
        version: at.offset,
        is_null,
        created: at.time,
        etag: attributes.etag,
        size: attributes.size,
    };
    let object = ObjectVersion {
        is_null,
        created: at.time,
        digest,
        attributes: Arc::new(attributes),
        payload,
    };
    let key = EntryKey::new(bucket.id, key.as_bytes(), at.offset, at.offset);
    (Entry { key, statement: EntryValue::Object(object) }, written)
}

fn put_object(
    buckets: &Buckets,
    at: LogPosition,
    prior: PriorState,
    put: &PutObject,
    committed: &CommittedRecord,
) -> RecordEffects {
    let bucket = match configured(buckets, put.bucket, put.config) {
        Ok(bucket) => bucket,
        Err(rejection) => return RecordEffects::rejected(rejection),
    };
    if let Err(rejection) = holds(&put.condition, prior.current.as_ref()) {
        return RecordEffects::rejected(rejection);
    }
    let payload = match &put.payload {
        RecordPayload::Inline(bytes) if bytes.is_empty() => PayloadLocation::Empty,
        RecordPayload::Inline(_) => PayloadLocation::Log(committed.location),
        RecordPayload::Bulk(extents) => PayloadLocation::Bulk(extents.clone()),
        // The fold has put this node's extents in its place.
        RecordPayload::Stream(_) => return RecordEffects::rejected(Rejection::PayloadMissing),
    };
    let (entry, written) =
        write_version(bucket, &put.key, at, put.attributes.clone(), put.digest, payload);
    RecordEffects { entries: vec![entry], ..RecordEffects::only(RecordOutcome::Written(written)) }
}

fn delete_object(
    buckets: &Buckets,
    at: LogPosition,
    prior: PriorState,
    delete: &DeleteObject,
    principal: &str,
) -> RecordEffects {
    let bucket = match configured(buckets, delete.bucket, delete.config) {
        Ok(bucket) => bucket,
        Err(rejection) => return RecordEffects::rejected(rejection),
    };
    if let Err(rejection) = holds(&delete.condition, prior.current.as_ref()) {
        return RecordEffects::rejected(rejection);
    }
    let state = |version: Offset, statement: EntryValue, deleted: DeletedVersion| {
        let key = EntryKey::new(delete.bucket, delete.key.as_bytes(), version, at.offset);
        RecordEffects {
            entries: vec![Entry { key, statement }],
            ..RecordEffects::only(RecordOutcome::Deleted(deleted))
        }
    };
    let marker = |is_null: bool| {
        let owner = principal.to_owned();
        let statement = EntryValue::Marker { is_null, created: at.time, owner };
        let name = if is_null { VersionName::Null } else { VersionName::At(at.offset) };
        state(at.offset, statement, DeletedVersion { version: Some(name), is_marker: true })
    };
    let is_marker = prior.version.as_ref().is_some_and(FoundVersion::is_marker);
    match (delete.version, bucket.versioning, prior.version) {
        (VersionRef::Current, Versioning::Off, _) => {
            let deleted = DeletedVersion { version: None, is_marker: false };
            state(at.offset, EntryValue::NullTombstone, deleted)
        }
        (VersionRef::Current, Versioning::On, _) => marker(false),
        (VersionRef::Current, Versioning::Suspended, _) => marker(true),
        (VersionRef::Null, _, Some(_)) => {
            let deleted = DeletedVersion { version: Some(VersionName::Null), is_marker };
            state(at.offset, EntryValue::NullTombstone, deleted)
        }
        (VersionRef::At(_), _, Some(found)) => {
            let deleted =
                DeletedVersion { version: Some(VersionName::At(found.version)), is_marker };
            state(found.version, EntryValue::Tombstone, deleted)
        }
        // S3 answers the removal of what is not there like any other.
        (VersionRef::Null, _, None) => {
            RecordEffects::only(RecordOutcome::Deleted(DeletedVersion {
                version: Some(VersionName::Null),
                is_marker: false,
            }))
        }
        (VersionRef::At(version), _, None) => {
            RecordEffects::only(RecordOutcome::Deleted(DeletedVersion {
                version: Some(VersionName::At(version)),
                is_marker: false,
            }))
        }
    }
}

fn set_tags(at: LogPosition, prior: PriorState, set: &SetTags) -> RecordEffects {
    let Some(found) = prior.version else {
        return RecordEffects::rejected(match set.version {
            VersionRef::Current => Rejection::NoSuchKey,
            VersionRef::Null | VersionRef::At(_) => Rejection::NoSuchVersion,
        });
    };
    let EntryValue::Object(mut object) = found.statement else {
        return RecordEffects::rejected(match set.version {
            VersionRef::Current => Rejection::NoSuchKey,
            VersionRef::Null | VersionRef::At(_) => Rejection::IsDeleteMarker,
        });
    };
    let mut attributes = Attributes::clone(&object.attributes);
    attributes.tags.clone_from(&set.tags);
    object.attributes = Arc::new(attributes);
    let name = if object.is_null { VersionName::Null } else { VersionName::At(found.version) };
    let key = EntryKey::new(set.bucket, set.key.as_bytes(), found.version, at.offset);
    RecordEffects {
        entries: vec![Entry { key, statement: EntryValue::Object(object) }],
        ..RecordEffects::only(RecordOutcome::Changed(name))
    }
}

fn put_part(at: LogPosition, prior: PriorState, put: &PutPart) -> RecordEffects {
    if !matches!(prior.upload, Some(UploadState::Open(_))) {
        return RecordEffects::rejected(Rejection::NoSuchUpload);
    }
    let key = StateKey::part(put.upload, put.number);
    let value = encode_part(&put.part, at.time);
    RecordEffects { state: vec![(key, Some(value))], ..RecordEffects::only(RecordOutcome::Done) }
}

fn remove_parts(upload: UploadId, parts: &[(PartNumber, UploadPart)]) -> Vec<StateChange> {
    parts.iter().map(|(number, _)| (StateKey::part(upload, *number), None)).collect()
}

/// Picks the parts that a completion names, in its order.
fn choose_parts<'a>(
    rules: &StoreRules,
    named: &[(PartNumber, [u8; 16])],
    parts: &'a [(PartNumber, UploadPart)],
) -> Result<Vec<(PartNumber, &'a UploadPart)>, Rejection> {
    if named.is_empty() {
        return Err(Rejection::InvalidPart);
    }
    if !named.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Err(Rejection::InvalidPartOrder);
    }
    let mut chosen = Vec::with_capacity(named.len());
    for (number, md5) in named {
        let found = parts.binary_search_by_key(number, |(number, _)| *number);
        let part = found.map(|index| &parts[index].1).map_err(|_| Rejection::InvalidPart)?;
        if part.md5 != *md5 {
            return Err(Rejection::InvalidPart);
        }
        chosen.push((*number, part));
    }
    let but_last = &chosen[..chosen.len() - 1];
    if but_last.iter().any(|(_, part)| part.size < rules.part_bytes_min) {
        return Err(Rejection::EntityTooSmall);
    }
    Ok(chosen)
}

fn complete_upload(
    rules: &StoreRules,
    buckets: &Buckets,
    at: LogPosition,
    prior: PriorState,
    complete: &CompleteUpload,
) -> RecordEffects {
    let bucket = match configured(buckets, complete.bucket, complete.config) {
        Ok(bucket) => bucket,
        Err(rejection) => return RecordEffects::rejected(rejection),
    };
    let open = match prior.upload {
        Some(UploadState::Open(open)) => open,
        // Completing twice with the same parts gets the first answer again.
        Some(UploadState::Completed { written, parts, at: completed })
            if parts == complete.parts
                && at.offset.get() - completed.get() <= COMPLETED_UPLOAD_RECORDS =>
        {
            return RecordEffects::only(RecordOutcome::Written(written));
        }
        _ => return RecordEffects::rejected(Rejection::NoSuchUpload),
    };
    let chosen = match choose_parts(rules, &complete.parts, &prior.parts) {
        Ok(chosen) => chosen,
        Err(rejection) => return RecordEffects::rejected(rejection),
    };
    if let Err(rejection) = holds(&complete.condition, prior.current.as_ref()) {
        return RecordEffects::rejected(rejection);
    }
    let mut md5 = Md5::new();
    let mut digest = 0;
    let mut size = 0;
    let mut extents: Vec<Extent> = Vec::new();
    for (_, part) in &chosen {
        md5.update(part.md5);
        digest = combine(digest, part.digest, part.size);
        size += part.size;
        extents.extend_from_slice(&part.extents);
    }
    let summary = |(number, part): &(PartNumber, &UploadPart)| PartSummary {
        number: *number,
        size: part.size,
        checksum: part.checksum.clone(),
    };
    let attributes = Attributes {
        size,
        etag: ETag { md5: md5.finalize().into(), parts: chosen.len() as u16 },
        checksums: complete.checksum.iter().cloned().collect(),
        parts: chosen.iter().map(summary).collect(),
        ..open.attributes
    };
    let payload = if extents.is_empty() {
        PayloadLocation::Empty
    } else {
        PayloadLocation::Bulk(extents.into())
    };
    let (entry, written) = write_version(bucket, &complete.key, at, attributes, digest, payload);
    let completed =
        UploadState::Completed { written, parts: complete.parts.clone(), at: at.offset };
    let mut state = remove_parts(complete.upload, &prior.parts);
    let key = StateKey::upload(complete.bucket, complete.key.as_bytes(), complete.upload);
    state.push((key, Some(completed.encode())));
    RecordEffects {
        entries: vec![entry],
        state,
        ..RecordEffects::only(RecordOutcome::Written(written))
    }
}

/// The CRC-64/NVME of two stretches from those of each.
fn combine(first: u64, second: u64, second_len: u64) -> u64 {
    crc_fast::checksum_combine(crc_fast::CrcAlgorithm::Crc64Nvme, first, second, second_len)
}

#[cfg(test)]
mod tests;
