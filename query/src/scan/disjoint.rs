//! Reads disjoint rows: rows whose visibility one run alone decides, by flags in the run. Nothing is merged.

use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, Scalar, UInt8Array};
use arrow::compute::kernels::cmp::{eq, lt_eq};
use arrow::compute::{and, filter, filter_record_batch};
use arrow::error::ArrowError;
use compactor::index_value::IndexValueKind;
use compactor::manifest::{read_error, schema};
use futures::StreamExt;
use ingest::log::{Corruption, ReadError};
use parquet::arrow::async_reader::ParquetRecordBatchStream;

use super::range::SelectedRows;
use super::source::{RunColumns, open_run};
use super::split::DisjointRows;
use super::{ScanBatch, ScanCounts, VersionScope};

/// The columns that decide whether a row is shown: its kind, and the flag of its key's newest version.
const KIND: &str = "kind";
const IS_LATEST: &str = "is_latest";

/// The least rows of a share: the cost of another Parquet reader exceeds the gain for fewer.
const SHARE_ROWS_MIN: usize = 8192;

/// A condition that excludes rows before their other columns are decoded. May be called from several threads.
pub trait RowCondition: Send + Sync {
    /// Returns the columns that the condition reads, as indexes into [`compactor::manifest::schema`].
    fn columns(&self) -> &[usize];

    /// Returns for each row whether it may be wanted, or `None` if the condition excludes no row at present.
    /// The result must never exclude a row that the query wants.
    ///
    /// An error fails the read of the rows.
    fn keeps(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>, ArrowError>;
}

/// The parameters of a read of disjoint rows.
#[derive(Clone)]
pub struct DisjointRead {
    /// The entries of each key that are returned.
    pub shown: VersionScope,
    /// Wanted columns, as indexes into [`compactor::manifest::schema`].
    pub columns: Vec<usize>,
    /// Conditions that every returned row fulfils.
    pub conditions: Vec<Arc<dyn RowCondition>>,
    /// The most rows of a batch.
    pub batch_rows: usize,
}

/// A read of disjoint rows in progress. Keeps its run's files open until it is dropped.
pub struct DisjointScan {
    disjoint: DisjointRows,
    shown: VersionScope,
    stream: Option<ParquetRecordBatchStream<compactor::manifest::ManifestReader>>,
}

impl DisjointRows {
    /// Returns the number of selected rows; visibility and conditions are not applied yet, so fewer may be
    /// returned by a read.
    pub fn len(&self) -> usize {
        self.rows.iter().map(SelectedRows::count).sum()
    }

    /// Returns true if no row group has selected rows, so that a read would return nothing before visibility
    /// and conditions are applied.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Divides the rows among `readers` readers, in order, into shares of about the same size.
    ///
    /// There are fewer shares than readers if a share would have less than 8192 rows, and none if there are no
    /// rows.
    pub fn shares(&self, readers: usize) -> Vec<DisjointRows> {
        let share = self.len().div_ceil(readers.max(1)).max(SHARE_ROWS_MIN);
        let mut found: Vec<DisjointRows> = Vec::new();
        let mut room = 0;
        for selected in &self.rows {
            let mut left = selected.clone();
            while !left.ranges.is_empty() {
                if room == 0 {
                    found.push(DisjointRows { run: self.run.clone(), rows: Vec::new() });
                    room = share;
                }
                let (taken, rest) = left.split_at(room);
                room -= taken.count();
                found.last_mut().expect("one was made").rows.push(taken);
                left = rest;
            }
        }
        found
    }

    /// Opens the rows for reading, in their order; pages are read only by [`DisjointScan::next`].
    ///
    /// Errors: [`ReadError::Corrupt`] if the run's manifest could not be opened.
    pub fn read(
        &self,
        wanted: &DisjointRead,
        counts: &ScanCounts,
    ) -> Result<DisjointScan, ReadError> {
        let flag = |name: &str| schema().index_of(name).expect("the manifest has this column");
        let mut columns = wanted.columns.clone();
        // Visibility needs these columns even if the query does not.
        columns.extend([flag(KIND), flag(IS_LATEST)]);
        columns.sort_unstable();
        columns.dedup();
        let what = RunColumns { columns: &columns, conditions: &wanted.conditions };
        let stream = open_run(&self.run, &self.rows, what, wanted.batch_rows, counts)?;
        Ok(DisjointScan { disjoint: self.clone(), shown: wanted.shown, stream })
    }
}

impl DisjointScan {
    /// Returns the next visible rows in order of bucket id, key and newest version first, or `None` at the end.
    /// A batch is never empty. Cancel safe: a dropped call loses no rows.
    ///
    /// Errors: [`ReadError::Corrupt`] if a page is damaged, [`ReadError::Unavailable`] if the file cannot be
    /// read now.
    pub async fn next(&mut self) -> Result<Option<ScanBatch>, ReadError> {
        let manifest = self.disjoint.run.manifest.as_ref();
        let manifest = manifest.map_err(|c| ReadError::Corrupt(c.clone()))?;
        let Some(stream) = &mut self.stream else { return Ok(None) };
        while let Some(rows) = stream.next().await {
            let rows = rows.map_err(|error| read_error(manifest, error))?;
            let batch = show(rows, self.shown).ok_or_else(|| {
                ReadError::Corrupt(Corruption {
                    file: manifest.path().to_string(),
                    position: 0,
                    detail: "the columns are not a manifest's".into(),
                })
            })?;
            if batch.rows.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

/// Keeps the rows that are shown, by the run's flags. Returns `None` if the columns are not a manifest's.
fn show(rows: RecordBatch, shown: VersionScope) -> Option<ScanBatch> {
    let kinds = rows.column_by_name(KIND)?.clone();
    let is_latest = rows.column_by_name(IS_LATEST)?.as_boolean_opt()?.clone();
    let code = |kind: IndexValueKind| Scalar::new(UInt8Array::from(vec![kind.code()]));
    let mask = match shown {
        VersionScope::Objects => {
            and(&eq(&kinds, &code(IndexValueKind::Object)).ok()?, &is_latest).ok()?
        }
        // Objects and markers have the lowest numbers; tombstones are no versions.
        VersionScope::Versions => lt_eq(&kinds, &code(IndexValueKind::Marker)).ok()?,
    };
    // Most batches are visible as a whole: no copy is made of them.
    if mask.true_count() == rows.num_rows() {
        return Some(ScanBatch { rows, is_latest });
    }
    let kept = filter(&is_latest, &mask).ok()?;
    let is_latest = kept.as_boolean_opt()?.clone();
    Some(ScanBatch { rows: filter_record_batch(&rows, &mask).ok()?, is_latest })
}

impl fmt::Debug for DisjointRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows of run {}", self.len(), self.run.run.id)
    }
}
