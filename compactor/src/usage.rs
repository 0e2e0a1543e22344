//! The disk space that a partition uses, and the part of it to which something still refers.
//!
//! The numbers are cheap enough for a query every few seconds: sums in the catalog, and the lengths of the
//! files in two folders. *Named* bytes are an upper bound of live bytes: an overwritten or removed object
//! counts until the runs with its statement and with the newer one are merged.

use ingest::env::{DiskError, FilePath};
use ingest::place::Place;

use crate::catalog::Catalog;
use crate::partition::Partition;
use crate::state_cursor::StateCursor;

/// The space of one partition at one moment.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DiskUsage {
    /// Entries in runs: versions, and tombstones that are still needed.
    pub run_entries: u64,
    /// Entries and state changes in memory, frozen memtables included.
    pub memtable_entries: u64,
    /// An estimate of the bytes of these, inline payload included.
    pub memtable_bytes: u64,
    /// Frozen memtables that wait for their flush.
    pub frozen_memtables: usize,
    /// The number of runs.
    pub runs: usize,
    /// The number of segments.
    pub segments: usize,
    /// The number of bulk files.
    pub bulk_files: usize,
    /// Bytes of payload in segments to which runs refer.
    pub named_inline_bytes: u64,
    /// Bytes of payload in bulk files to which runs and memtables refer.
    pub named_bulk_bytes: u64,
    /// The length in bytes of the log's files on this machine; 0 if the log is elsewhere.
    pub log_file_bytes: u64,
    /// The length in bytes of manifests, checksums, key indexes, tag tables and state tables.
    pub run_file_bytes: u64,
    /// The length in bytes of the segments.
    pub segment_file_bytes: u64,
    /// The length in bytes of the bulk files.
    pub bulk_file_bytes: u64,
    /// An estimate of the bytes in segments to which nothing refers, by the share of such objects.
    pub dead_segment_bytes: u64,
    /// The bytes of bulk files to which nothing refers.
    pub dead_bulk_bytes: u64,
    /// Open uploads; counting ends after [`UPLOADS_COUNTED`] uploads.
    pub open_uploads: u64,
    /// True if uploads were left uncounted.
    pub has_more_uploads: bool,
    /// Free bytes of the device of the hot place; `None` if the device does not give the number.
    pub free_bytes: Option<u64>,
    /// The share of the cold place in the numbers above, and its own free space.
    pub cold: ColdUsage,
    /// Bytes that must stay free; with less, only deletes are accepted.
    pub reserve_bytes: u64,
}

/// The space of the cold place.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ColdUsage {
    /// The length in bytes of the segments in the cold place, as the catalog has it.
    pub segment_file_bytes: u64,
    /// The length in bytes of the bulk files in the cold place; 0 if the place is not there.
    pub bulk_file_bytes: u64,
    /// Free bytes of the device of the cold place; `None` if the place is not there.
    pub free_bytes: Option<u64>,
}

/// The largest number of open uploads that are counted.
pub const UPLOADS_COUNTED: u64 = 10_000;

/// Collects the numbers of a partition; `log` is the folder of its log, if the log is on this machine.
/// Called by status requests. Fails if a folder cannot be listed or a state table cannot be read; the free
/// space of the device is optional.
pub async fn take(
    partition: &Partition,
    log: Option<&FilePath>,
) -> Result<DiskUsage, ingest::log::ReadError> {
    let snapshot = partition.snapshot();
    let catalog = &snapshot.view.sealed.catalog;
    let unreadable = |error: DiskError| ingest::log::ReadError::Unavailable {
        partition: partition.id(),
        reason: error.to_string(),
    };
    let disk = partition.disk();
    let mut usage = of_catalog(catalog);
    for (memtable, _) in snapshot.memtables() {
        usage.memtable_entries += memtable.len() as u64;
        usage.memtable_bytes += memtable.bytes();
        usage.named_bulk_bytes += memtable.bulk_bytes();
    }
    usage.frozen_memtables = snapshot.view.frozen.len();
    let mut bulks = partition.bulk().files(Place::Hot).await.map_err(unreadable)?;
    let cold = partition.bulk().files(Place::Cold).await.unwrap_or_default();
    usage.cold.bulk_file_bytes = cold.iter().map(|(_, len)| len).sum();
    bulks.extend(cold);
    usage.bulk_files = bulks.len();
    usage.bulk_file_bytes = bulks.iter().map(|(_, len)| len).sum();
    usage.dead_bulk_bytes = usage.bulk_file_bytes.saturating_sub(usage.named_bulk_bytes);
    if let Some(folder) = log {
        let files = disk.list(folder).await.map_err(unreadable)?;
        usage.log_file_bytes = files.iter().map(|(_, len)| len).sum();
    }
    usage.free_bytes = disk.free_bytes(Place::Hot).await.ok();
    usage.cold.free_bytes = disk.free_bytes(Place::Cold).await.ok();
    usage.reserve_bytes = partition.reserve_bytes();
    let mut uploads = StateCursor::new(&snapshot, b"u", b"v").await?;
    while uploads.next().await?.is_some() {
        if usage.open_uploads == UPLOADS_COUNTED {
            usage.has_more_uploads = true;
            break;
        }
        usage.open_uploads += 1;
    }
    Ok(usage)
}

/// Computes the numbers that follow from the catalog alone.
fn of_catalog(catalog: &Catalog) -> DiskUsage {
    let mut usage = DiskUsage {
        runs: catalog.runs.len(),
        segments: catalog.segments.len(),
        ..DiskUsage::default()
    };
    for run in &catalog.runs {
        usage.run_entries += run.entries;
        usage.named_inline_bytes += run.inline_bytes;
        usage.named_bulk_bytes += run.bulk_bytes;
        usage.run_file_bytes += run.files().map(|file| file.len).sum::<u64>();
    }
    for segment in &catalog.segments {
        usage.segment_file_bytes += segment.file.len;
        if segment.place == Place::Cold {
            usage.cold.segment_file_bytes += segment.file.len;
        }
        // An entry whose payload is in another segment than its header counts in both.
        let named = segment.references.min(segment.objects);
        let dead = u128::from(segment.file.len) * u128::from(segment.objects - named);
        usage.dead_segment_bytes += (dead / u128::from(segment.objects.max(1))) as u64;
    }
    usage
}

#[cfg(test)]
mod tests {
    use ingest::ids::{PartitionId, SegmentId, StoreId};

    use super::*;
    use crate::catalog::{RunMeta, SegmentMeta};
    use crate::sealed::FileDigest;

    #[test]
    fn a_segment_is_dead_by_the_share_of_its_objects() {
        let mut catalog = Catalog::first(StoreId([1; 16]), PartitionId::ZERO);
        let file = |len| FileDigest { len, ..FileDigest::default() };
        for (objects, references) in [(10, 10), (10, 5), (10, 0), (10, 12), (0, 0)] {
            let id = SegmentId::new(objects + references);
            let place = Place::Cold;
            let file = file(1_000);
            catalog.segments.push(SegmentMeta { id, place, file, references, objects });
        }
        catalog.runs.push(RunMeta {
            entries: 7,
            inline_bytes: 70,
            bulk_bytes: 700,
            keys: file(5),
            state: file(6),
            ..RunMeta::default()
        });
        let usage = of_catalog(&catalog);
        assert_eq!(usage.dead_segment_bytes, 1_500);
        assert_eq!((usage.segment_file_bytes, usage.cold.segment_file_bytes), (5_000, 5_000));
        assert_eq!((usage.run_entries, usage.run_file_bytes), (7, 11));
        assert_eq!((usage.named_inline_bytes, usage.named_bulk_bytes), (70, 700));
    }
}
