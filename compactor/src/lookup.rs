//! Point look-ups, and the prior state on which a record's outcome depends.
//!
//! An unreadable prior never counts as absent: every function here fails with the error that the read met.
//! All functions only read, so their futures may be dropped at any time.

use std::sync::Arc;

use bytes::Bytes;
use ingest::entry::{EntryKey, EntryValue, LoggedPayload, ObjectVersion, PayloadLocation};
use ingest::env::yield_once;
use ingest::ids::{BucketId, Offset, PartNumber, UploadId};
use ingest::log::ReadError;
use ingest::name::ObjectKey;
use ingest::record::{UploadPart, VersionRef, key_hash};

use crate::apply::{FoundVersion, PriorState, ReadSet};
use crate::cursor::{CursorItem, EntryCursor};
use crate::index_value::IndexValueKind;
use crate::state::{CompletedRename, StateKey, UploadState, decode_part};
use crate::state_cursor::StateCursor;
use crate::state_value::{decode_state_value, state_corruption};
use crate::view::{EntryData, Snapshot};
use crate::visibility::{EntryShape, Visibility, VisibilityVerdict};

/// Finds a visible version of a key: an object or a delete marker. `None` if there is no such version, or a
/// removal hides it. A version that clients know as `null` is found only as [`VersionRef::Null`] or as the
/// current one.
///
/// Fails if a key index that may have the key cannot be read, or could not be opened.
pub async fn find(
    snapshot: &Snapshot,
    bucket: BucketId,
    key: &ObjectKey,
    version: VersionRef,
) -> Result<Option<CursorItem>, ReadError> {
    find_counted(snapshot, bucket, key, version, &mut 0).await
}

/// Works as [`find`], and adds the number of entries that were read to `looked_at`.
async fn find_counted(
    snapshot: &Snapshot,
    bucket: BucketId,
    key: &ObjectKey,
    version: VersionRef,
    looked_at: &mut u64,
) -> Result<Option<CursorItem>, ReadError> {
    *looked_at += 1;
    if version == VersionRef::Current
        && let Some(item) = newest_in_memtable(snapshot, bucket, key)
    {
        return Ok(Some(item));
    }
    let hash = key_hash(bucket, key.as_bytes());
    let mut cursor = EntryCursor::over_key(snapshot, hash)?;
    match version {
        VersionRef::At(wanted) => {
            let newest = EntryKey::new(bucket, key.as_bytes(), wanted, Offset::MAX);
            cursor.seek(newest.as_bytes()).await?;
            let found = cursor.next().await?.filter(|item| {
                item.key.group() == newest.group()
                    && item.key.version() == wanted
                    && item.shape() == EntryShape::Version(false)
            });
            Ok(found)
        }
        VersionRef::Current | VersionRef::Null => {
            let newest = EntryKey::new(bucket, key.as_bytes(), Offset::MAX, Offset::MAX);
            cursor.seek(newest.as_bytes()).await?;
            let mut visibility = Visibility::default();
            while let Some(item) = cursor.next().await? {
                *looked_at += 1;
                if item.key.group() != newest.group() {
                    // Entries of the key come newest version first, so the first visible one is the current
                    // version.
                    break;
                }
                let shape = item.shape();
                let verdict = visibility.judge(item.key.version(), shape);
                if version == VersionRef::Null {
                    match (shape, verdict) {
                        (EntryShape::Version(true), VisibilityVerdict::Visible) => {
                            return Ok(Some(item));
                        }
                        (EntryShape::NullTombstone, VisibilityVerdict::Tombstone) => {
                            return Ok(None);
                        }
                        _ => continue,
                    }
                }
                if verdict == VisibilityVerdict::Visible {
                    return Ok(Some(item));
                }
            }
            Ok(None)
        }
    }
}

/// Returns the inline payload of an entry from the runs, without the memtables; `None` if no run has it.
///
/// Needed for a statement that names a place in the log which has been trimmed. Such a statement (a change of tags or a
/// rename) was derived from a statement in an older memtable, while that memtable was being flushed. Memtables are
/// flushed in order, so the older statement is in a run, together with the payload. The entry's own key comes first:
/// once its memtable is flushed, too, merges may drop the older statement.
///
/// Fails if a key index or a segment cannot be read.
pub async fn sealed_payload(
    snapshot: &Snapshot,
    key: &EntryKey,
    logged: &LoggedPayload,
) -> Result<Option<Bytes>, ReadError> {
    if let Some(payload) = payload_under(snapshot, key).await? {
        return Ok(Some(payload));
    }
    match &logged.sealed_as {
        Some(key) => payload_under(snapshot, key).await,
        None => Ok(None),
    }
}

/// Returns the inline payload that a run has for the version of a key; `None` if no run has any.
async fn payload_under(snapshot: &Snapshot, key: &EntryKey) -> Result<Option<Bytes>, ReadError> {
    let newest = EntryKey::new(key.bucket(), &key.object_key(), key.version(), Offset::MAX);
    let sealed = &snapshot.view.sealed;
    let mut cursor = EntryCursor::over_key(snapshot, key_hash(key.bucket(), &key.object_key()))?;
    cursor.seek(newest.as_bytes()).await?;
    while let Some(item) = cursor.next().await? {
        if item.key.group() != key.group() || item.key.version() != key.version() {
            break;
        }
        let EntryData::Run(listed) = &item.what else { continue };
        if listed.kind != IndexValueKind::Object {
            continue;
        }
        let object = sealed.object(listed).await?;
        let EntryValue::Object(ObjectVersion { payload: PayloadLocation::Segment(at), .. }) =
            &object.statement
        else {
            continue;
        };
        let payload = match *at == listed.location {
            true => object.payload,
            false => sealed.segment_object(at).await?.payload,
        };
        return Ok(Some(payload));
    }
    Ok(None)
}

/// Finds the current version without reading a file, where possible: if the newest memtable with the key
/// has a version that this memtable's records made, no older source can have a newer one. `None` means that
/// the runs must be searched.
fn newest_in_memtable(
    snapshot: &Snapshot,
    bucket: BucketId,
    key: &ObjectKey,
) -> Option<CursorItem> {
    let newest = EntryKey::new(bucket, key.as_bytes(), Offset::MAX, Offset::MAX);
    for (memtable, at) in snapshot.memtables() {
        if let Some((found, statement)) = memtable.first_of_key(&newest, at) {
            let item = CursorItem { key: found, what: crate::view::EntryData::Memtable(statement) };
            let is_version = matches!(item.shape(), EntryShape::Version(_));
            return (is_version && item.key.version() >= memtable.first()).then_some(item);
        }
    }
    None
}

/// Entries after which a walk through a bucket yields to other tasks.
const WALK_STEP: u64 = 1024;

/// Returns true if a bucket has no visible version of any key. Reads every entry of the bucket until the
/// first visible one, including entries that were removed and not yet merged away, so only requests call it
/// and never the fold; see `docs/decisions/bucket-emptiness.md`. Fails if an entry cannot be read.
pub async fn is_empty(snapshot: &Snapshot, bucket: BucketId) -> Result<bool, ReadError> {
    let mut cursor = EntryCursor::over_all(snapshot)?;
    cursor.seek(&EntryKey::seek_bucket(bucket)).await?;
    let mut group = Bytes::new();
    let mut visibility = Visibility::default();
    let mut walked = 0;
    while let Some(item) = cursor.next().await? {
        if item.key.bucket() != bucket {
            break;
        }
        walked += 1;
        if walked % WALK_STEP == 0 {
            yield_once().await;
        }
        if item.key.group() != group.as_ref() {
            group = Bytes::copy_from_slice(item.key.group());
            visibility = Visibility::default();
        }
        if visibility.judge(item.key.version(), item.shape()) == VisibilityVerdict::Visible {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the value of a state key: the newest memtable or run with the key decides. `None` if the key is
/// absent or was removed. Fails if a state table is damaged or cannot be read.
pub async fn state(snapshot: &Snapshot, key: &StateKey) -> Result<Option<Bytes>, ReadError> {
    for (memtable, at) in snapshot.memtables() {
        if let Some(value) = memtable.state(key, at) {
            return Ok(value);
        }
    }
    for run in snapshot.view.sealed.runs.iter().rev() {
        let table = run.state.as_ref().map_err(|c| ReadError::Corrupt(c.clone()))?;
        let mut cursor = table.cursor();
        cursor.seek(&key.0).await?;
        if cursor.key() == Some(key.0.as_ref()) {
            let value = cursor.value_bytes().expect("a cursor with a key has a value");
            return decode_state_value(value, run.run.id.get());
        }
    }
    Ok(None)
}

/// Returns the live state entries with keys in `[from, end)`, in ascending order, at most `limit`. All of
/// them are held in memory. Fails if a state table cannot be read.
pub async fn states(
    snapshot: &Snapshot,
    from: &[u8],
    end: &[u8],
    limit: usize,
) -> Result<Vec<(StateKey, Bytes)>, ReadError> {
    let mut cursor = StateCursor::new(snapshot, from, end).await?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(entry) = cursor.next().await?
    {
        found.push(entry);
    }
    Ok(found)
}

/// Returns the state of a multipart upload, open or completed; `None` if it is unknown. Fails with
/// corruption if the state cannot be decoded.
pub async fn upload(
    snapshot: &Snapshot,
    bucket: BucketId,
    key: &ObjectKey,
    upload: UploadId,
) -> Result<Option<UploadState>, ReadError> {
    let open = StateKey::upload(bucket, key.as_bytes(), upload);
    let completed = StateKey::completed_upload(bucket, key.as_bytes(), upload);
    for key in [open, completed] {
        if let Some(value) = state(snapshot, &key).await? {
            let upload = UploadState::decode(value);
            return Ok(Some(upload.map_err(|_| state_corruption(0, "upload"))?));
        }
    }
    Ok(None)
}

/// Returns an upload's parts with numbers at or above `from`, in ascending order, at most `limit`: number,
/// creation time, part. Fails with corruption if a part cannot be decoded.
pub async fn parts(
    snapshot: &Snapshot,
    upload: UploadId,
    from: PartNumber,
    limit: usize,
) -> Result<Vec<(PartNumber, ingest::time::WallTime, UploadPart)>, ReadError> {
    let from = StateKey::parts_from(upload, from);
    let found = states(snapshot, &from, &StateKey::parts_end(upload), limit).await?;
    let decode = |(key, value): (StateKey, Bytes)| {
        let number = key.part_number().ok_or_else(|| state_corruption(0, "part number"))?;
        let (created, part) = decode_part(value).map_err(|_| state_corruption(0, "part"))?;
        Ok((number, created, part))
    };
    found.into_iter().map(decode).collect()
}

/// Reads the prior state on which a record's outcome depends, as [`crate::apply::needs`] has listed it.
/// Only what is listed is read, and parts only for an open upload.
///
/// Fails if any of it cannot be read: an outcome must never be decided from partial knowledge. The last
/// write of a bucket is left to the caller.
pub async fn resolve(snapshot: &Snapshot, needs: &ReadSet) -> Result<PriorState, ReadError> {
    let mut prior = PriorState::default();
    let looked_at = &mut prior.looked_at;
    if let Some((bucket, key)) = &needs.current {
        let current = VersionRef::Current;
        let found = find_counted(snapshot, *bucket, key, current, looked_at).await?;
        prior.current = load(snapshot, found).await?;
    }
    if let Some((bucket, key, version)) = &needs.version {
        let found = find_counted(snapshot, *bucket, key, *version, looked_at).await?;
        prior.version = load(snapshot, found).await?;
    }
    if let Some(bucket) = needs.uploads_of {
        prior.bucket_uploads = bucket_uploads(snapshot, bucket).await?;
        *looked_at += prior.bucket_uploads.len() as u64;
    }
    if let Some(key) = &needs.renamed {
        let value = state(snapshot, key).await?;
        let decoded = value.map(CompletedRename::decode).transpose();
        prior.renamed = decoded.map_err(|_| state_corruption(0, "rename"))?;
        *looked_at += 1;
    }
    if let Some((bucket, key, id)) = &needs.upload {
        prior.upload = upload(snapshot, *bucket, key, *id).await?;
        *looked_at += 1;
        // A completed upload has none any more.
        if needs.parts && matches!(prior.upload, Some(UploadState::Open(_))) {
            let found = parts(snapshot, *id, PartNumber::ZERO, usize::MAX).await?;
            prior.parts = found.into_iter().map(|(number, _, part)| (number, part)).collect();
            *looked_at += prior.parts.len() as u64;
        }
    }
    Ok(prior)
}

/// Reads the whole statement of a found entry, from its segment if a run has it. The place of inline payload holds for
/// entries of the newest memtable, too.
async fn load(
    snapshot: &Snapshot,
    item: Option<CursorItem>,
) -> Result<Option<FoundVersion>, ReadError> {
    let Some(item) = item else { return Ok(None) };
    let mut statement = snapshot.statement(&item.what).await?;
    // A statement that is derived from this one may outlive this one's memtable, and with it the record in the log.
    // The payload of a statement in the newest memtable may come from an older one already, which stays its source.
    if let EntryValue::Object(object) = &mut statement
        && let PayloadLocation::Log(logged) = &mut object.payload
        && item.key.sequence() < snapshot.view.memtable.first()
    {
        logged.sealed_as = Some(Arc::new(item.key.clone()));
    }
    Ok(Some(FoundVersion { version: item.key.version(), statement }))
}

/// Returns the state keys of all uploads of a bucket and of their parts, each open upload after its parts, completed ones last. The
/// number is not limited.
async fn bucket_uploads(snapshot: &Snapshot, bucket: BucketId) -> Result<Vec<StateKey>, ReadError> {
    let from = StateKey::uploads_from(bucket, b"");
    let uploads = states(snapshot, &from, &StateKey::uploads_end(bucket), usize::MAX).await?;
    let mut keys = Vec::new();
    for (key, _) in uploads {
        let (_, _, id) = key.parse_upload().ok_or_else(|| state_corruption(0, "upload key"))?;
        let first = StateKey::parts_from(id, PartNumber::ZERO);
        let parts = states(snapshot, &first, &StateKey::parts_end(id), usize::MAX).await?;
        keys.extend(parts.into_iter().map(|(key, _)| key));
        keys.push(key);
    }
    let (from, end) = StateKey::completed_uploads(bucket);
    let completed = states(snapshot, &from, &end, usize::MAX).await?;
    keys.extend(completed.into_iter().map(|(key, _)| key));
    Ok(keys)
}
