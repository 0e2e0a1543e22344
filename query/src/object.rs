//! One object: look-up of its attributes and reading of its bytes.

use std::ops::Range;

use bytes::Bytes;
use compactor::lookup::{find, sealed_payload};
use compactor::partition::Partition;
use compactor::view::{EntryData, Snapshot};
use ingest::bulk::{self, BulkReader, ReadGuard};
use ingest::entry::{EntryKey, EntryValue, Extent, ObjectVersion, PayloadLocation};
use ingest::ids::{BucketId, Offset};
use ingest::log::ReadError;
use ingest::name::ObjectKey;
use ingest::record::VersionRef;

/// A version returned by [`lookup`]. Keeps its snapshot, and so the files that the entry names, until it is
/// dropped.
#[derive(Clone)]
pub struct FoundObject {
    /// The offset of the record that made the version.
    pub version: Offset,
    /// The sort key of the entry that decided the look-up.
    key: EntryKey,
    /// The entry's value: an object or a delete marker.
    pub statement: EntryValue,
    /// The payload, if the segment's block with the object's header contained it.
    beside: Option<Bytes>,
    /// Prevents garbage collection of the files that the entry names.
    snapshot: Snapshot,
}

/// Finds a visible version of a key: the current one, version `null`, or the one made at an offset.
///
/// Returns `None` if there is no such version. The result may be a delete marker, which the caller must handle.
/// A current version in a memtable is found without a read. Otherwise the key indexes of all runs whose filter
/// may contain the key are read, then, for an entry of a run, one block of a segment.
///
/// Errors: [`ReadError::Corrupt`] if a key index or the segment's header cannot be read, or if the header
/// belongs to another entry. A corrupt file is never reported as a missing object. [`ReadError::Unavailable`]
/// if a file cannot be read now; retry.
pub async fn lookup(
    snapshot: Snapshot,
    bucket: BucketId,
    key: &ObjectKey,
    version: VersionRef,
) -> Result<Option<FoundObject>, ReadError> {
    let Some(item) = find(&snapshot, bucket, key, version).await? else { return Ok(None) };
    let (version, key) = (item.key.version(), item.key.clone());
    let (statement, beside) = match item.what {
        EntryData::Memtable(statement) => (statement, None),
        EntryData::Run(listed) => {
            let object = snapshot.view.sealed.object(&listed).await?;
            // A block's checksum does not cover the index that points to it: only the key in the header shows a
            // wrong position.
            if object.key != item.key {
                let file = format!("segment {}", listed.location.segment);
                let detail = format!("{:?} stands where {:?} should", object.key, item.key);
                let position = listed.location.position;
                let corruption = ingest::log::Corruption { file, position, detail };
                return Err(ReadError::Corrupt(corruption));
            }
            let is_here = matches!(
                &object.statement,
                EntryValue::Object(ObjectVersion { payload: PayloadLocation::Segment(at), .. })
                    if *at == listed.location
            );
            (object.statement, is_here.then_some(object.payload))
        }
    };
    Ok(Some(FoundObject { version, key, statement, beside, snapshot }))
}

/// The bytes of an object, read piece by piece.
pub enum ObjectBody {
    /// All bytes in memory, until they are taken.
    Whole(Option<Bytes>),
    /// Bytes of bulk files. The guard keeps only these files. A slow reader must not keep its snapshot:
    /// memtable, runs and segments of an old view could not be freed.
    Bulk(BulkReader, ReadGuard),
}

impl ObjectBody {
    /// Returns the next bytes in order, or `None` at the end of the range. Every frame is verified before it is
    /// returned.
    ///
    /// Errors: [`ReadError::Corrupt`] if a checksum differs after a second read, [`ReadError::Unavailable`] if
    /// the file cannot be read now. After an error another call reads the same place again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        match self {
            ObjectBody::Whole(bytes) => Ok(bytes.take().filter(|bytes| !bytes.is_empty())),
            ObjectBody::Bulk(reader, _) => reader.next().await,
        }
    }

    /// Returns all bytes at once; only for objects that are known to be small, since nothing bounds the memory.
    /// Fails with the first error of [`ObjectBody::next`].
    pub async fn collect(mut self) -> Result<Bytes, ReadError> {
        let mut all = bytes::BytesMut::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }
}

/// Opens the bytes `range` of an object that [`lookup`] returned; a delete marker has none.
///
/// Inline payload is read and verified before the call returns. Bulk payload is read by [`ObjectBody::next`],
/// and its files are kept by the body, so `found` may be dropped.
///
/// Errors: [`ReadError::Trimmed`] if the log was trimmed since the look-up and no run has the payload: look the
/// object up again, as [`get`] does. [`ReadError::Unavailable`] if this node has no copy of the payload or
/// cannot read it now. [`ReadError::Corrupt`] if inline payload is damaged or shorter than `range`; bulk
/// payload then fails in [`ObjectBody::next`].
pub async fn read(
    partition: &Partition,
    found: &FoundObject,
    range: Range<u64>,
) -> Result<ObjectBody, ReadError> {
    let EntryValue::Object(object) = &found.statement else { return Ok(ObjectBody::Whole(None)) };
    let whole = match &object.payload {
        PayloadLocation::Empty => Bytes::new(),
        PayloadLocation::Bulk(extents) => {
            let wanted = within(extents, &range);
            if wanted.iter().any(Extent::is_missing) {
                return Err(bulk::missing(partition.id()));
            }
            // Until the guard exists, the snapshot in `found` prevents the removal of these files.
            let held = partition.bulk().hold_for_reading(wanted);
            return Ok(ObjectBody::Bulk(partition.bulk().read(extents.clone(), range), held));
        }
        PayloadLocation::Log(logged) => {
            // An entry of a frozen memtable may still name the log although a flush has put the payload into a
            // segment and the log has been trimmed: the current runs then have it.
            match partition.log().fetch(partition.id(), logged.at).await {
                Err(trimmed @ ReadError::Trimmed { .. }) => {
                    sealed_payload(&partition.snapshot(), &found.key, logged)
                        .await?
                        .ok_or(trimmed)?
                }
                fetched => fetched?,
            }
        }
        PayloadLocation::Segment(location) => match &found.beside {
            Some(bytes) => bytes.clone(),
            None => found.snapshot.view.sealed.segment_object(location).await?.payload,
        },
    };
    let (start, end) = (range.start as usize, range.end as usize);
    // Bytes with a valid checksum are still damage if their length differs from the entry's.
    if whole.len() as u64 != object.attributes.size || end > whole.len() || start > end {
        return Err(ReadError::Corrupt(ingest::log::Corruption {
            file: format!("{:?}", object.payload),
            position: 0,
            detail: format!("{} bytes of {} are there", whole.len(), object.attributes.size),
        }));
    }
    Ok(ObjectBody::Whole(Some(whole.slice(start..end))))
}

/// Returns the extents that contain bytes of `range`, in order.
fn within<'a>(extents: &'a [Extent], range: &Range<u64>) -> &'a [Extent] {
    let mut end = 0;
    let ends: Vec<u64> = extents
        .iter()
        .map(|extent| {
            // Lengths come from disk: a sum that overflows must not select the wrong extents.
            end = extent.len.saturating_add(end);
            end
        })
        .collect();
    let first = ends.partition_point(|end| *end <= range.start);
    let last = ends.partition_point(|end| *end < range.end).saturating_add(1).min(extents.len());
    extents.get(first..last).unwrap_or_default()
}

/// The most look-ups of one [`get`], the first included, if the log is trimmed between look-up and read.
const TRIES: usize = 4;

/// Finds a version as [`lookup`] does and opens the bytes that `range_of` selects.
///
/// `range_of` receives the version, which may be a delete marker, and returns the bytes or an error that ends
/// the call. The look-up is repeated on a newer snapshot, and `range_of` called again, if the log was trimmed
/// before the payload was read; a current object may then be newer than the one in `snapshot`. Called for
/// GetObject and CopyObject.
///
/// Errors: the error of `range_of`, and those of [`lookup`] and [`read`]; [`ReadError::Trimmed`] only after
/// four attempts.
pub async fn get<E: From<ReadError>>(
    partition: &Partition,
    mut snapshot: Snapshot,
    bucket: BucketId,
    key: &ObjectKey,
    version: VersionRef,
    mut range_of: impl FnMut(&FoundObject) -> Result<Range<u64>, E>,
) -> Result<Option<(FoundObject, ObjectBody)>, E> {
    let mut tries = 0;
    loop {
        let Some(found) = lookup(snapshot, bucket, key, version).await? else { return Ok(None) };
        let range = range_of(&found)?;
        tries += 1;
        match read(partition, &found, range).await {
            Ok(body) => return Ok(Some((found, body))),
            // The log is trimmed only after the payload is in a published segment, which a newer snapshot has.
            Err(ReadError::Trimmed { .. }) if tries < TRIES => snapshot = partition.snapshot(),
            Err(error) => return Err(error.into()),
        }
    }
}
