//! Reads rows that their run alone decides: no merge, only the run's own flags.

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

/// Columns that say what a row is: its kind, and whether it is its key's newest.
const KIND: &str = "kind";
const IS_LATEST: &str = "is_latest";

/// Fewer rows are not worth another reader.
const SHARE_ROWS_MIN: usize = 8192;

/// A condition that is asked of rows before their other columns are decoded.
pub trait RowCondition: Send + Sync {
    /// The columns of [`compactor::manifest::schema`] that it is asked on.
    fn columns(&self) -> &[usize];

    /// Which of these rows may be wanted; none when it rules nothing out now.
    fn keeps(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>, ArrowError>;
}

/// What to read of disjoint rows.
#[derive(Clone)]
pub struct DisjointRead {
    /// Which entries.
    pub shown: VersionScope,
    /// Columns of [`compactor::manifest::schema`].
    pub columns: Vec<usize>,
    /// Conditions that all rows fulfil.
    pub conditions: Vec<Arc<dyn RowCondition>>,
    /// Rows of a batch.
    pub batch_rows: usize,
}

/// A read under way.
pub struct DisjointScan {
    disjoint: DisjointRows,
    shown: VersionScope,
    stream: Option<ParquetRecordBatchStream<compactor::manifest::ManifestReader>>,
}

impl DisjointRows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.iter().map(SelectedRows::count).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows for so many readers: shares of about the same size, in order.
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

    /// Begins to read.
    pub fn read(
        &self,
        wanted: &DisjointRead,
        counts: &ScanCounts,
    ) -> Result<DisjointScan, ReadError> {
        let flag = |name: &str| schema().index_of(name).expect("the manifest has this column");
        let mut columns = wanted.columns.clone();
        columns.extend([flag(KIND), flag(IS_LATEST)]);
        columns.sort_unstable();
        columns.dedup();
        let what = RunColumns { columns: &columns, conditions: &wanted.conditions };
        let stream = open_run(&self.run, &self.rows, what, wanted.batch_rows, counts)?;
        Ok(DisjointScan { disjoint: self.clone(), shown: wanted.shown, stream })
    }
}

impl DisjointScan {
    /// The next rows; none at the end. Never an empty batch.
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

/// The rows that are shown, by the run's flags; `None` when they are not a manifest's.
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
