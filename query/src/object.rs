//! One object: its facts and its bytes.

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

/// A version that was found.
#[derive(Clone)]
pub struct FoundObject {
    /// The offset of the record that made it.
    pub version: Offset,
    key: EntryKey,
    /// What it states: an object or a delete marker.
    pub statement: EntryValue,
    /// The payload, where the header was read together with it.
    beside: Option<Bytes>,
    /// Keeps the files that the statement names from being removed.
    snapshot: Snapshot,
}

/// Finds a version of a key.
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

/// An object's bytes, to be taken piece by piece.
pub enum ObjectBody {
    /// All there is, in memory.
    Whole(Option<Bytes>),
    /// From bulk files, which are held and nothing else: a reader that is slow, or stops, must not keep
    /// the view that it began with.
    Bulk(BulkReader, ReadGuard),
}

impl ObjectBody {
    /// The next bytes, verified; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        match self {
            ObjectBody::Whole(bytes) => Ok(bytes.take().filter(|bytes| !bytes.is_empty())),
            ObjectBody::Bulk(reader, _) => reader.next().await,
        }
    }

    /// All bytes at once; for what is known to be small.
    pub async fn collect(mut self) -> Result<Bytes, ReadError> {
        let mut all = bytes::BytesMut::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }
}

/// Opens bytes `range` of an object that was found. [`ReadError::Trimmed`] when the log has let go of it
/// in between: look it up again, it stands in a segment now.
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
            // The snapshot that was found in names the files until here.
            let held = partition.bulk().hold_for_reading(wanted);
            return Ok(ObjectBody::Bulk(partition.bulk().read(extents.clone(), range), held));
        }
        PayloadLocation::Log(location) => {
            match partition.log().fetch(partition.id(), *location).await {
                Err(trimmed @ ReadError::Trimmed { .. }) => {
                    sealed_payload(&partition.snapshot(), &found.key).await?.ok_or(trimmed)?
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
    if whole.len() as u64 != object.attributes.size || end > whole.len() || start > end {
        return Err(ReadError::Corrupt(ingest::log::Corruption {
            file: format!("{:?}", object.payload),
            position: 0,
            detail: format!("{} bytes of {} are there", whole.len(), object.attributes.size),
        }));
    }
    Ok(ObjectBody::Whole(Some(whole.slice(start..end))))
}

/// The extents that have bytes of a range.
fn within<'a>(extents: &'a [Extent], range: &Range<u64>) -> &'a [Extent] {
    let mut end = 0;
    let ends: Vec<u64> = extents
        .iter()
        .map(|extent| {
            end = extent.len.saturating_add(end);
            end
        })
        .collect();
    let first = ends.partition_point(|end| *end <= range.start);
    let last = ends.partition_point(|end| *end < range.end).saturating_add(1).min(extents.len());
    extents.get(first..last).unwrap_or_default()
}

/// How often a look-up is made again when the log lets go of an object between look-up and read.
const TRIES: usize = 4;

/// Finds an object in a snapshot, or a newer one, and opens its bytes. `range_of` chooses the bytes once
/// the object is known, or refuses.
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
            Err(ReadError::Trimmed { .. }) if tries < TRIES => snapshot = partition.snapshot(),
            Err(error) => return Err(error.into()),
        }
    }
}
