//! Finding what was there before: point look-ups, and the prior facts that an outcome hangs on.
//!
//! An unreadable prior is never "absent": every function here fails with the corruption it met.

use bytes::Bytes;
use ingest::entry::{EntryKey, EntryValue, ObjectVersion, PayloadLocation};
use ingest::env::yield_once;
use ingest::ids::{BucketId, Offset, PartNumber, UploadId};
use ingest::log::ReadError;
use ingest::name::ObjectKey;
use ingest::record::{UploadPart, VersionRef, key_hash};

use crate::apply::{FoundVersion, PriorState, ReadSet};
use crate::cursor::{CursorItem, EntryCursor};
use crate::index_value::IndexValueKind;
use crate::state::{StateKey, UploadState, decode_part};
use crate::state_cursor::StateCursor;
use crate::state_value::{decode_state_value, state_corruption};
use crate::view::{EntryData, Snapshot};
use crate::visibility::{EntryShape, Visibility, VisibilityVerdict};

/// Finds a visible version (object or delete marker) of a key.
pub async fn find(
    snapshot: &Snapshot,
    bucket: BucketId,
    key: &ObjectKey,
    version: VersionRef,
) -> Result<Option<CursorItem>, ReadError> {
    find_counted(snapshot, bucket, key, version, &mut 0).await
}

/// See [`find`]; counts the entries that it looks at.
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

/// The inline payload of a version, from the runs alone.
///
/// For a statement that still says where the payload lay in the log: it was made from one of an older memtable
/// that was being sealed just then (tags were set, say), and the log has been trimmed since. Memtables are sealed
/// in order, so the older statement is in a run, with the payload. `None` when no run knows the version.
pub async fn sealed_payload(
    snapshot: &Snapshot,
    key: &EntryKey,
) -> Result<Option<Bytes>, ReadError> {
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

/// The common case without touching any file: the newest memtable that knows the key made the version that
/// it states first, so nothing below can be newer.
fn newest_in_memtable(
    snapshot: &Snapshot,
    bucket: BucketId,
    key: &ObjectKey,
) -> Option<CursorItem> {
    let newest = EntryKey::new(bucket, key.as_bytes(), Offset::MAX, Offset::MAX);
    for (memtable, at) in snapshot.memtables() {
        let (found, _) = memtable.entries(newest.as_bytes(), at, 1);
        if let Some((found, statement)) = found.into_iter().next()
            && found.group() == newest.group()
        {
            let item = CursorItem { key: found, what: crate::view::EntryData::Memtable(statement) };
            let is_version = matches!(item.shape(), EntryShape::Version(_));
            return (is_version && item.key.version() >= memtable.first()).then_some(item);
        }
    }
    None
}

/// Whoever walks through a bucket lets others go on after so many entries.
const WALK_STEP: u64 = 1024;

/// Tells that a bucket holds no version of anything. Walks over everything that was removed from it and not yet
/// merged away, so the fold never asks: see `docs/decisions/bucket-emptiness.md`.
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

/// The value of a state key.
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

/// The live state entries with keys in `[from, end)`, in order, at most `limit`.
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

/// An upload's state.
pub async fn upload(
    snapshot: &Snapshot,
    bucket: BucketId,
    key: &ObjectKey,
    upload: UploadId,
) -> Result<Option<UploadState>, ReadError> {
    let key = StateKey::upload(bucket, key.as_bytes(), upload);
    match state(snapshot, &key).await? {
        Some(value) => {
            Ok(Some(UploadState::decode(value).map_err(|_| state_corruption(0, "upload"))?))
        }
        None => Ok(None),
    }
}

/// An upload's parts from a number on, in order, at most `limit`.
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

/// Resolves the prior facts that a record's outcome hangs on.
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

async fn load(
    snapshot: &Snapshot,
    item: Option<CursorItem>,
) -> Result<Option<FoundVersion>, ReadError> {
    let Some(item) = item else { return Ok(None) };
    let statement = snapshot.statement(&item.what).await?;
    Ok(Some(FoundVersion { version: item.key.version(), statement }))
}

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
    Ok(keys)
}
