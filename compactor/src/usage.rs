//! How much of the device a partition takes, and how much of that something still names.
//!
//! Cheap enough to be asked every few seconds: sums that the catalog keeps, and the lengths of the files in two
//! folders. What is *named* is an upper bound of what is live: an object that was overwritten or removed is named
//! until the runs that tell of both are merged.

use ingest::env::{DiskError, FilePath};

use crate::catalog::Catalog;
use crate::partition::Partition;
use crate::state::StateKey;
use crate::state_cursor::StateCursor;

/// See the module's description.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DiskUsage {
    /// Entries in runs: versions, and tombstones that are still needed.
    pub run_entries: u64,
    /// Entries and state changes in memory, frozen memtables included.
    pub memtable_entries: u64,
    /// About how many bytes these stand for, inline payload included.
    pub memtable_bytes: u64,
    /// Frozen memtables that wait to be sealed.
    pub frozen_memtables: usize,
    /// Runs.
    pub runs: usize,
    /// Segments.
    pub segments: usize,
    /// Bulk files.
    pub bulk_files: usize,
    /// Payload bytes in segments that runs name.
    pub named_inline_bytes: u64,
    /// Payload bytes in bulk files that runs and memtables name.
    pub named_bulk_bytes: u64,
    /// Length of the files of the log on this machine; 0 where it is elsewhere.
    pub log_file_bytes: u64,
    /// Length of manifests, key indexes, tag tables and state tables.
    pub run_file_bytes: u64,
    /// Length of the segments.
    pub segment_file_bytes: u64,
    /// Length of the bulk files.
    pub bulk_file_bytes: u64,
    /// About how many bytes of the segments nothing names: by the share of their objects.
    pub dead_segment_bytes: u64,
    /// Bytes of the bulk files that nothing names.
    pub dead_bulk_bytes: u64,
    /// Uploads that are open; counting ends at [`UPLOADS_LOOKED_AT`] uploads, completed ones included.
    pub open_uploads: u64,
    /// True when there may be more of them.
    pub has_more_uploads: bool,
    /// Bytes that are free on the device; none when the device does not say.
    pub free_bytes: Option<u64>,
    /// Bytes that must stay free for writes to be taken.
    pub reserve_bytes: u64,
}

/// The most uploads that are looked at to count those that are open.
pub const UPLOADS_LOOKED_AT: u64 = 10_000;

/// Takes the numbers of a partition. `log` is the folder of its log, if that is on this machine.
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
    let bulks = partition.bulk().files().await.map_err(unreadable)?;
    usage.bulk_files = bulks.len();
    usage.bulk_file_bytes = bulks.iter().map(|(_, len)| len).sum();
    usage.dead_bulk_bytes = usage.bulk_file_bytes.saturating_sub(usage.named_bulk_bytes);
    if let Some(folder) = log {
        let files = disk.list(folder).await.map_err(unreadable)?;
        usage.log_file_bytes = files.iter().map(|(_, len)| len).sum();
    }
    usage.free_bytes = disk.free_bytes().await.ok();
    usage.reserve_bytes = partition.reserve_bytes();
    let mut uploads = StateCursor::new(&snapshot, b"u", b"v").await?;
    let mut looked_at = 0;
    while let Some((_, value)) = uploads.next().await? {
        if looked_at == UPLOADS_LOOKED_AT {
            usage.has_more_uploads = true;
            break;
        }
        looked_at += 1;
        usage.open_uploads += u64::from(StateKey::is_open_upload(&value));
    }
    Ok(usage)
}

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
        // A row whose payload lies in another segment than its header counts in both.
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
            catalog.segments.push(SegmentMeta { id, file: file(1_000), references, objects });
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
        assert_eq!(usage.segment_file_bytes, 5_000);
        assert_eq!((usage.run_entries, usage.run_file_bytes), (7, 11));
        assert_eq!((usage.named_inline_bytes, usage.named_bulk_bytes), (70, 700));
    }
}
