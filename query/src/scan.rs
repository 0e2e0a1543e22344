//! Scans: many entries as columns, in key order, for SQL.
//!
//! ```text
//!   memtable ──rows──┐
//!   run ──pages──┼─ merge by (bucket, key, version, entry) ─ visibility ─ columns
//!   run ──pages──┘
//! ```
//! Rows whose keys occur in one run only are read without this merge: see [`split()`].
//!
//! Memtables and runs are read alike, as Arrow columns. Visibility is decided where all entries of a key meet.
//! Below the merge only bounds on bucket and key may therefore skip pages: a row that another condition
//! excludes may still supersede a row that the condition keeps.
//!
//! Memory: one batch for each source, and the batch that is being gathered. A source that cannot be read fails
//! the scan; a result is never silently short.

mod disjoint;
mod merge;
mod range;
mod source;
mod split;

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use compactor::manifest::{ReadCounts, schema};
use compactor::view::Snapshot;
use ingest::log::ReadError;

pub use disjoint::{DisjointRead, DisjointScan, RowCondition};
pub use merge::Scan;
pub use range::{KeyBounds, SelectedRows, page_rows};
pub use source::PageCounts;
pub use split::{DisjointRows, OverlappingRange, ScanSplit, split};

/// The entries of a key that a scan returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VersionScope {
    /// The current object of each key.
    Objects,
    /// Every version and delete marker.
    Versions,
}

/// The parameters of a merged scan.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// The entries of each key that are returned.
    pub shown: VersionScope,
    /// The buckets and the range of keys.
    pub bounds: KeyBounds,
    /// The rows to merge.
    pub overlapping: OverlappingRange,
    /// Wanted columns, as indexes into [`compactor::manifest::schema`]; the columns that order rows are always
    /// read.
    pub columns: Vec<usize>,
    /// The most rows of a batch.
    pub batch_rows: usize,
}

/// Some rows of a scan's result.
pub struct ScanBatch {
    /// The wanted columns and those that the scan needed, under the manifest schema's names.
    pub rows: RecordBatch,
    /// For each row, true if the row is the newest version of its key.
    pub is_latest: BooleanArray,
}

/// Counters of the work of a scan; clones share the counters.
#[derive(Clone, Default, Debug)]
pub struct ScanCounts {
    /// Runs, row groups and pages.
    pub pages: Arc<PageCounts>,
    /// Bytes read from manifests.
    pub reads: Arc<ReadCounts>,
}

/// Columns `0..ORDERING` of a manifest: they order the rows and decide visibility, so every merge reads them.
pub(crate) const ORDERING: usize = 6;

/// Returns the columns that a merged scan reads: the ordering and the wanted ones, in the schema's order, each
/// once.
pub fn columns_read(wanted: &[usize]) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..ORDERING).chain(wanted.iter().copied()).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// Begins a merged scan of a snapshot; rows are read only by [`Scan::next`].
///
/// The scan keeps the snapshot, and so its files, until it is dropped. Rows come in order of bucket id, key,
/// and newest version first.
///
/// Errors: [`ReadError::Corrupt`] if a run's manifest could not be opened or its page index lacks buckets or
/// keys.
pub fn scan(
    snapshot: &Snapshot,
    request: ScanRequest,
    counts: ScanCounts,
) -> Result<Scan, ReadError> {
    debug_assert!(request.columns.iter().all(|column| *column < schema().fields().len()));
    Scan::new(snapshot, request, counts)
}
