//! The outcome of records about objects.

use std::sync::Arc;

use ingest::entry::{
    Attributes, Entry, EntryKey, EntryValue, LoggedPayload, ObjectVersion, PayloadLocation,
};
use ingest::ids::Offset;
use ingest::log::CommittedRecord;
use ingest::name::ObjectKey;
use ingest::record::{DeleteObject, PutObject, RecordPayload, SetTags, VersionRef, Versioning};

use super::condition::{configured, holds};
use super::effects::{LogPosition, RecordEffects};
use super::prior::{FoundVersion, PriorState};
use crate::outcome::{DeletedVersion, RecordOutcome, Rejection, VersionName, WrittenVersion};
use crate::state::{BucketState, Buckets};

/// Makes the entry and the answer for a new object version.
pub fn write_version(
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

/// Makes an object version, under the write's condition.
pub fn put_object(
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
        RecordPayload::Inline(_) => PayloadLocation::Log(LoggedPayload::new(committed.location)),
        RecordPayload::Bulk(extents) => PayloadLocation::Bulk(extents.clone()),
        // The fold has put this node's extents in its place.
        RecordPayload::Stream(_) => return RecordEffects::rejected(Rejection::PayloadMissing),
    };
    let (entry, written) =
        write_version(bucket, &put.key, at, put.attributes.clone(), put.digest, payload);
    RecordEffects { entries: vec![entry], ..RecordEffects::only(RecordOutcome::Written(written)) }
}

/// Removes a version, or leaves a delete marker where versions are kept.
pub fn delete_object(
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

/// Replaces the tags of an object version. Delete markers have none.
pub fn set_tags(
    buckets: &Buckets,
    at: LogPosition,
    prior: PriorState,
    set: &SetTags,
) -> RecordEffects {
    if let Err(rejection) = configured(buckets, set.bucket, set.config) {
        return RecordEffects::rejected(rejection);
    }
    let Some(found) = prior.version else {
        return RecordEffects::rejected(match set.version {
            VersionRef::Current => Rejection::NoSuchKey,
            VersionRef::Null | VersionRef::At(_) => Rejection::NoSuchVersion,
        });
    };
    let EntryValue::Object(mut object) = found.statement else {
        return RecordEffects::rejected(Rejection::IsDeleteMarker);
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
