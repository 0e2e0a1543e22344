//! Scans: many entries as columns, in key order, for SQL.
//!
//! ```text
//!   memtable ──rows──┐
//!   run ──pages──┼─ merge by (bucket, key, version, statement) ─ visibility ─ columns
//!   run ──pages──┘
//! ```
//! That is for what several sources say something about; [`mod@split`] tells it from what one run alone decides.
//!
//! Memtables and runs are read alike, as Arrow columns. A row is judged where all of its key's statements meet,
//! so nothing but bounds on bucket and key may skip pages below: a row that another condition rules out
//! may still supersede one that the condition would keep. Memory: a batch for each source, and the batch
//! being gathered. A source that cannot be read fails the scan; a result is never silently short.

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

/// Which entries to show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VersionScope {
    /// The current object of each key.
    Objects,
    /// Every version and delete marker.
    Versions,
}

/// What to scan.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// Which entries.
    pub shown: VersionScope,
    /// Of which buckets and keys.
    pub bounds: KeyBounds,
    /// Where.
    pub overlapping: OverlappingRange,
    /// Columns of [`compactor::manifest::schema`] that are wanted besides the ones that order rows.
    pub columns: Vec<usize>,
    /// Rows of a batch.
    pub batch_rows: usize,
}

/// Some rows of the answer.
pub struct ScanBatch {
    /// The wanted columns, and others that the scan needed, under the schema's names.
    pub rows: RecordBatch,
    /// Whether each is the newest of its key.
    pub is_latest: BooleanArray,
}

/// How much a scan has read.
#[derive(Clone, Default, Debug)]
pub struct ScanCounts {
    /// Row groups and pages.
    pub pages: Arc<PageCounts>,
    /// Bytes of manifests.
    pub reads: Arc<ReadCounts>,
}

/// Columns `0..ORDERING` of a manifest order its rows and decide what is visible; every scan reads them.
pub(crate) const ORDERING: usize = 6;

/// The columns that a scan reads: the ordering ones, then the wanted ones, in the schema's order.
pub fn columns_read(wanted: &[usize]) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..ORDERING).chain(wanted.iter().copied()).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// Begins a scan of a snapshot.
pub fn scan(
    snapshot: &Snapshot,
    request: ScanRequest,
    counts: ScanCounts,
) -> Result<Scan, ReadError> {
    debug_assert!(request.columns.iter().all(|column| *column < schema().fields().len()));
    Scan::new(snapshot, request, counts)
}
