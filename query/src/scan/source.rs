//! One source of a merged scan: a memtable or a run, read as ordered batches of columns.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Atomically};

use arrow::array::{AsArray, BooleanArray, RecordBatch, StringArray, UInt8Array, UInt64Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{UInt8Type, UInt64Type};
use bytes::Bytes;
use compactor::index_value::IndexValueKind;
use compactor::manifest::{Manifest, ManifestReader, ManifestRow, read_error, record_batch};
use compactor::memtable::Memtable;
use compactor::view::OpenRun;
use compactor::visibility::EntryShape;
use futures::StreamExt;
use ingest::entry::SegmentLocation;
use ingest::ids::{BucketId, Offset};
use ingest::log::{Corruption, ReadError};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicate, ArrowPredicateFn, RowFilter, RowSelection};
use parquet::arrow::async_reader::{ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::file::metadata::ParquetMetaData;

use super::range::{KeyBounds, SelectedRows, select};
use super::{RowCondition, ScanCounts, columns_read};

/// Counts of runs, row groups and pages of the key column: those that were selected for reading, and all there
/// are.
#[derive(Default, Debug)]
pub struct PageCounts {
    /// Runs with at least one selected row.
    pub runs: AtomicU64,
    /// Row groups with selected rows.
    pub groups: AtomicU64,
    /// Row groups of all runs of the scan.
    pub groups_total: AtomicU64,
    /// Pages of the key column with selected rows.
    pub key_pages: AtomicU64,
}

/// A batch of rows in scan order, with typed access to the ordering columns.
pub struct OrderedBatch {
    /// All columns that were read.
    pub rows: RecordBatch,
    buckets: UInt64Array,
    keys: StringArray,
    versions: UInt64Array,
    /// For each row, the distance in offsets from the record that made the version to the record that made the
    /// entry.
    laters: UInt64Array,
    kinds: UInt8Array,
    nulls: BooleanArray,
}

impl OrderedBatch {
    /// Takes the ordering columns out of a batch; `None` if they are not a manifest's.
    fn new(rows: RecordBatch) -> Option<Self> {
        let number = |index: usize| rows.column(index).as_primitive_opt::<UInt64Type>().cloned();
        Some(Self {
            buckets: number(0)?,
            keys: rows.column(1).as_string_opt::<i32>()?.clone(),
            versions: number(2)?,
            laters: number(3)?,
            kinds: rows.column(4).as_primitive_opt::<UInt8Type>()?.clone(),
            nulls: rows.column(5).as_boolean_opt()?.clone(),
            rows,
        })
    }

    /// Returns the bucket id of a row; panics, as all accessors here, unless the row is in the batch.
    pub fn bucket(&self, row: usize) -> BucketId {
        BucketId::new(self.buckets.value(row))
    }

    /// Returns the object key of a row, which must be in the batch.
    pub fn key(&self, row: usize) -> &str {
        self.keys.value(row)
    }

    /// Returns the version of a row: the offset of the record that made the version. The row must be in the
    /// batch.
    pub fn version(&self, row: usize) -> Offset {
        Offset::new(self.versions.value(row))
    }

    /// Returns the kind of a row's entry, or `None` if the file has an unknown number, which callers must treat
    /// as an error.
    pub fn kind(&self, row: usize) -> Option<IndexValueKind> {
        IndexValueKind::from_code(self.kinds.value(row))
    }

    /// Returns the shape of a row's entry for [`compactor::visibility::Visibility`], or `None` if the kind is
    /// unknown, which callers must treat as an error.
    pub fn shape(&self, row: usize) -> Option<EntryShape> {
        Some(EntryShape::of_kind(self.kind(row)?, self.nulls.value(row)))
    }

    /// Compares two rows in the order of [`ingest::entry::EntryKey`]: bucket id, key, newest version first,
    /// newest entry first.
    pub fn compare(&self, row: usize, other: &OrderedBatch, other_row: usize) -> Ordering {
        let newest_first = |batch: &OrderedBatch, row: usize| {
            (Reverse(batch.versions.value(row)), Reverse(batch.laters.value(row)))
        };
        self.buckets
            .value(row)
            .cmp(&other.buckets.value(other_row))
            .then_with(|| self.key(row).cmp(other.key(other_row)))
            .then_with(|| newest_first(self, row).cmp(&newest_first(other, other_row)))
    }
}

/// Returns the result of `look` on a run's file metadata, which is in memory.
///
/// Errors: [`ReadError::Corrupt`] if the manifest could not be opened, or if `look` returns `None`: the page
/// index lacks a part.
pub fn indexed<'a, T>(
    run: &'a OpenRun,
    look: impl FnOnce(&'a ParquetMetaData) -> Option<T>,
) -> Result<T, ReadError> {
    let manifest = run.manifest.as_ref().map_err(|c| ReadError::Corrupt(c.clone()))?;
    look(manifest.metadata().metadata()).ok_or_else(|| {
        ReadError::Corrupt(Corruption {
            file: manifest.path().to_string(),
            position: 0,
            detail: "the page index lacks buckets or keys".into(),
        })
    })
}

/// Returns the rows of a run that may be within bounds, one item for each row group, in order.
///
/// Errors: [`ReadError::Corrupt`] if the manifest could not be opened or its page index lacks buckets or keys.
pub fn selected(run: &OpenRun, bounds: &KeyBounds) -> Result<Vec<SelectedRows>, ReadError> {
    indexed(run, |metadata| select(metadata, bounds))
}

/// The columns to read of a run, and conditions that exclude rows before these columns are decoded.
#[derive(Clone, Copy)]
pub struct RunColumns<'a> {
    /// Column indexes of [`compactor::manifest::schema`].
    pub columns: &'a [usize],
    /// Conditions, applied in this order.
    pub conditions: &'a [Arc<dyn RowCondition>],
}

/// Opens selected rows of a run for reading in order, and counts them. Returns `None` if nothing is selected.
///
/// Pages are read only when the stream is polled.
///
/// Errors: [`ReadError::Corrupt`] if the manifest could not be opened or does not have the columns.
pub fn open_run(
    run: &OpenRun,
    selected: &[SelectedRows],
    what: RunColumns<'_>,
    batch_rows: usize,
    counts: &ScanCounts,
) -> Result<Option<ParquetRecordBatchStream<ManifestReader>>, ReadError> {
    let manifest = run.manifest.as_ref().map_err(|c| ReadError::Corrupt(c.clone()))?;
    let metadata = manifest.metadata().clone();
    let groups = metadata.metadata().num_row_groups() as u64;
    counts.pages.groups_total.fetch_add(groups, Atomically::Relaxed);
    if selected.is_empty() {
        return Ok(None);
    }
    counts.pages.runs.fetch_add(1, Atomically::Relaxed);
    counts.pages.groups.fetch_add(selected.len() as u64, Atomically::Relaxed);
    let key_pages: usize = selected.iter().map(|group| group.key_pages).sum();
    counts.pages.key_pages.fetch_add(key_pages as u64, Atomically::Relaxed);
    // Parquet's row selection counts rows over the chosen row groups only, one group after the other.
    let mut ranges = Vec::new();
    let mut before = 0;
    for group in selected {
        ranges.extend(group.ranges.iter().map(|r| r.start + before..r.end + before));
        before += group.rows;
    }
    let mask = |columns: &[usize]| {
        ProjectionMask::roots(metadata.parquet_schema(), columns.iter().copied())
    };
    let predicate = |condition: &Arc<dyn RowCondition>| -> Box<dyn ArrowPredicate> {
        let asked = condition.clone();
        Box::new(ArrowPredicateFn::new(mask(condition.columns()), move |rows: RecordBatch| {
            // Parquet needs a mask even where nothing is excluded.
            let all = || BooleanArray::new(BooleanBuffer::new_set(rows.num_rows()), None);
            Ok(asked.keeps(&rows)?.unwrap_or_else(all))
        }))
    };
    let filter = RowFilter::new(what.conditions.iter().map(predicate).collect());
    let mask = mask(what.columns);
    let reader = manifest.reader(counts.reads.clone());
    ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata.clone())
        .with_row_groups(selected.iter().map(|group| group.group).collect())
        .with_row_selection(RowSelection::from_consecutive_ranges(ranges.into_iter(), before))
        .with_projection(mask)
        .with_row_filter(filter)
        .with_batch_size(batch_rows)
        .build()
        .map(Some)
        .map_err(|error| read_error(manifest, error))
}

/// The data behind a source.
enum SourceInput {
    /// A memtable: the offset of the snapshot, the key of the next entry, the end of the range.
    Memtable { memtable: Arc<Memtable>, at: Offset, next: Option<Bytes>, end: Bytes },
    /// A run: the manifest for error messages, and the stream of its rows.
    Run { manifest: Arc<Manifest>, stream: ParquetRecordBatchStream<ManifestReader> },
}

/// A source of a merge, and the row at which it is positioned.
pub struct ScanSource {
    input: SourceInput,
    columns: Vec<usize>,
    /// The number of memtable entries that make one batch.
    batch_rows: usize,
    /// The current batch; `None` before the first [`ScanSource::fill`] and at the end.
    pub batch: Option<Arc<OrderedBatch>>,
    /// The current row in the batch.
    pub row: usize,
}

/// The number of entries of a memtable that are converted to columns at a time.
const TAIL_ROWS: usize = 1024;

impl ScanSource {
    /// Makes a source of a memtable's entries as of offset `at`, within bounds; has no batch before the first
    /// [`ScanSource::fill`].
    pub fn memtable(
        memtable: &Arc<Memtable>,
        at: Offset,
        bounds: &KeyBounds,
        columns: &[usize],
    ) -> Self {
        let (next, end) = bounds.entries().unzip();
        let end = end.unwrap_or_default();
        Self {
            input: SourceInput::Memtable { memtable: memtable.clone(), at, next, end },
            columns: columns_read(columns),
            batch_rows: TAIL_ROWS,
            batch: None,
            row: 0,
        }
    }

    /// Makes a source of selected rows of a run, or returns `None` if nothing is selected. Has no batch before
    /// the first [`ScanSource::fill`].
    ///
    /// Errors: those of [`open_run`].
    pub fn run(
        run: &OpenRun,
        selected: &[SelectedRows],
        columns: &[usize],
        batch_rows: usize,
        counts: &ScanCounts,
    ) -> Result<Option<Self>, ReadError> {
        let manifest = run.manifest.as_ref().map_err(|c| ReadError::Corrupt(c.clone()))?;
        let columns = columns_read(columns);
        let what = RunColumns { columns: &columns, conditions: &[] };
        let Some(stream) = open_run(run, selected, what, batch_rows, counts)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            input: SourceInput::Run { manifest: manifest.clone(), stream },
            columns,
            batch_rows,
            batch: None,
            row: 0,
        }))
    }

    /// Returns true if the source is positioned at a row: false before the first batch, after the last row of a
    /// batch and at the end.
    pub fn has_row(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| self.row < batch.rows.num_rows())
    }

    /// Replaces the batch by the next one, or by none at the end, and moves to its first row.
    ///
    /// Not cancel safe: if the call is dropped or fails, the source is at the first row of the old batch again
    /// and must not be used any more.
    ///
    /// Errors: [`ReadError::Corrupt`] if a page of the run is damaged, [`ReadError::Unavailable`] if the file
    /// cannot be read now. A memtable never fails.
    pub async fn fill(&mut self) -> Result<(), ReadError> {
        self.row = 0;
        self.batch = match &mut self.input {
            SourceInput::Memtable { memtable, at, next, end } => {
                let mut rows = None;
                while rows.is_none()
                    && let Some(from) = next.take().filter(|from| from < end)
                {
                    let (found, after) = memtable.entries(&from, *at, self.batch_rows);
                    *next = after;
                    let found: Vec<ManifestRow> = found
                        .iter()
                        .map(|(key, statement)| {
                            ManifestRow::of(key, statement, SegmentLocation::NOWHERE)
                        })
                        .collect();
                    if !found.is_empty() {
                        let columns = record_batch(&found)
                            .and_then(|batch| batch.project(&self.columns))
                            .expect("a memtable's entries are a manifest's rows");
                        rows = Some(columns);
                    }
                }
                rows.map(|rows| {
                    Arc::new(OrderedBatch::new(rows).expect("columns are a manifest's"))
                })
            }
            SourceInput::Run { manifest, stream } => match stream.next().await {
                None => None,
                Some(Err(error)) => return Err(read_error(manifest, error)),
                Some(Ok(rows)) => {
                    let ordered = OrderedBatch::new(rows).ok_or_else(|| {
                        ReadError::Corrupt(Corruption {
                            file: manifest.path().to_string(),
                            position: 0,
                            detail: "the columns are not a manifest's".into(),
                        })
                    })?;
                    Some(Arc::new(ordered))
                }
            },
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use ingest::entry::{Entry, EntryKey, EntryValue};
    use ingest::name::ObjectKey;

    use super::*;

    /// Regression: a scan took the first batch of a memtable for the whole memtable, and `count(*)` was too
    /// small until the next cut.
    #[test]
    fn a_memtable_of_many_batches_is_read_to_its_end() {
        const BUCKET: BucketId = BucketId::new(5);
        for count in [0, 1, TAIL_ROWS, TAIL_ROWS + 1, 3 * TAIL_ROWS + 5] {
            let memtable = Arc::new(Memtable::new(Offset::ZERO));
            for number in 0..count {
                let at = Offset::new(number as u64);
                let key = ObjectKey::new(format!("{number:06}").into_bytes()).expect("a short key");
                let key = EntryKey::new(BUCKET, key.as_bytes(), at, at);
                memtable.insert(
                    at,
                    vec![Entry { key, statement: EntryValue::Tombstone }],
                    Vec::new(),
                );
            }
            let end = Offset::new(count as u64);
            let mut source =
                ScanSource::memtable(&memtable, end, &KeyBounds::new(vec![BUCKET]), &[]);
            let mut found = Vec::new();
            loop {
                let filled = source.fill().now_or_never().expect("a memtable never waits");
                filled.expect("a memtable is in memory");
                let Some(batch) = &source.batch else { break };
                found.extend((0..batch.rows.num_rows()).map(|row| batch.key(row).to_owned()));
            }
            let wanted: Vec<String> = (0..count).map(|number| format!("{number:06}")).collect();
            assert!(found == wanted, "{} keys of {count}", found.len());
        }
    }
}
