//! Merges the sources of a scan, decides visibility, and gathers the visible rows as columns.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use compactor::index_value::IndexValueKind;
use compactor::view::Snapshot;
use compactor::visibility::{Visibility, VisibilityVerdict};
use ingest::ids::BucketId;
use ingest::log::{Corruption, ReadError};

use super::source::{OrderedBatch, ScanSource, selected};
use super::{OverlappingRange, ScanBatch, ScanCounts, ScanRequest, VersionScope};

/// A merged scan in progress. Memory: one batch for each source, and at most twice as many batches plus eight
/// with rows for the next result.
pub struct Scan {
    request: ScanRequest,
    /// Prevents garbage collection of the files that are read.
    _snapshot: Snapshot,
    sources: Vec<ScanSource>,
    /// True once the sources have their first batches.
    has_begun: bool,
    /// The key whose entries are being judged.
    group: Option<(BucketId, String)>,
    visibility: Visibility,
    is_latest: bool,
    gathered: GatheredRows,
}

/// Rows picked for the next batch, as references into the sources' batches.
#[derive(Default)]
struct GatheredRows {
    /// The batches that contain picked rows; kept whole until the rows are returned.
    batches: Vec<Arc<OrderedBatch>>,
    /// For each source, the index of its current batch in `batches`, if a row of it was picked.
    places: Vec<Option<usize>>,
    /// The picked rows in order: index in `batches`, row in that batch.
    rows: Vec<(usize, usize)>,
    /// For each picked row, true if it is the newest version of its key.
    latest: Vec<bool>,
}

impl GatheredRows {
    /// Adds a row of the current batch of a source.
    fn pick(&mut self, source: usize, batch: &Arc<OrderedBatch>, row: usize, is_latest: bool) {
        let place = *self.places[source].get_or_insert_with(|| {
            self.batches.push(batch.clone());
            self.batches.len() - 1
        });
        self.rows.push((place, row));
        self.latest.push(is_latest);
    }

    /// Copies the picked rows into one batch and forgets them.
    fn take(&mut self) -> ScanBatch {
        let batches: Vec<&RecordBatch> = self.batches.iter().map(|batch| &batch.rows).collect();
        let rows = interleave_record_batch(&batches, &self.rows)
            .expect("batches of one scan have the same columns");
        self.batches.clear();
        self.places.fill(None);
        self.rows.clear();
        ScanBatch { rows, is_latest: BooleanArray::from(std::mem::take(&mut self.latest)) }
    }
}

impl Scan {
    /// Opens all sources: memtables within the bounds and the selected rows of each run. Reads no rows; fails
    /// if a run's manifest could not be opened.
    pub(super) fn new(
        snapshot: &Snapshot,
        request: ScanRequest,
        counts: ScanCounts,
    ) -> Result<Self, ReadError> {
        let mut sources = Vec::new();
        if !request.bounds.is_empty() {
            for (memtable, at) in snapshot.memtables() {
                sources.push(ScanSource::memtable(memtable, at, &request.bounds, &request.columns));
            }
            for run in &snapshot.view.sealed.runs {
                let rows = match &request.overlapping {
                    // The other rows of this run are read as disjoint rows: merged here, too, they would be
                    // returned twice.
                    OverlappingRange::With(base, rows) if *base == run.run.id => rows.clone(),
                    _ => selected(run, &request.bounds)?,
                };
                let columns = &request.columns;
                sources.extend(ScanSource::run(run, &rows, columns, request.batch_rows, &counts)?);
            }
        }
        Ok(Self {
            gathered: GatheredRows { places: vec![None; sources.len()], ..GatheredRows::default() },
            request,
            _snapshot: snapshot.clone(),
            sources,
            has_begun: false,
            group: None,
            visibility: Visibility::default(),
            is_latest: true,
        })
    }

    /// Returns the next visible rows in order of bucket id, key and newest version first, or `None` at the end.
    /// A batch is never empty.
    ///
    /// Not cancel safe: if the future is dropped before it completes, or after an error, the scan must be
    /// dropped, too. Otherwise rows could be missing or returned twice.
    ///
    /// Errors: [`ReadError::Corrupt`] if a page is damaged or an entry is of an unknown kind,
    /// [`ReadError::Unavailable`] if a file cannot be read now.
    pub async fn next(&mut self) -> Result<Option<ScanBatch>, ReadError> {
        if !std::mem::replace(&mut self.has_begun, true) {
            for source in &mut self.sources {
                source.fill().await?;
            }
        }
        while let Some((lowest, second)) = self.lowest() {
            // Most rows come in long sequences from one source: while a source stays below the second lowest,
            // no other source has to be compared.
            loop {
                self.take_row(lowest)?;
                if !self.sources[lowest].has_row() {
                    // Rows that are picked later come from another batch of this source.
                    self.gathered.places[lowest] = None;
                    self.sources[lowest].fill().await?;
                    break;
                }
                if self.gathered.rows.len() >= self.request.batch_rows {
                    break;
                }
                if second.is_some_and(|second| self.compare(lowest, second).is_gt()) {
                    break;
                }
            }
            // A picked row keeps its whole batch in memory. Without this bound a result of few rows could keep
            // very many batches.
            let batches_max = 2 * self.sources.len() + 8;
            let is_full = self.gathered.rows.len() >= self.request.batch_rows;
            if is_full || self.gathered.batches.len() >= batches_max {
                return Ok(Some(self.gathered.take()));
            }
        }
        Ok((!self.gathered.rows.is_empty()).then(|| self.gathered.take()))
    }

    /// Compares the rows at which two sources are positioned; both must have a row.
    fn compare(&self, a: usize, b: usize) -> std::cmp::Ordering {
        let (a, b) = (&self.sources[a], &self.sources[b]);
        match (&a.batch, &b.batch) {
            (Some(x), Some(y)) => x.compare(a.row, y, b.row),
            _ => unreachable!("only sources that stand at a row are compared"),
        }
    }

    /// Returns the source with the lowest row and the one with the second lowest, if there are such.
    fn lowest(&self) -> Option<(usize, Option<usize>)> {
        let standing = (0..self.sources.len()).filter(|index| self.sources[*index].has_row());
        let mut found: Option<(usize, Option<usize>)> = None;
        for index in standing {
            found = Some(match found {
                None => (index, None),
                Some((first, _)) if self.compare(index, first).is_lt() => (index, Some(first)),
                Some((first, None)) => (first, Some(index)),
                Some((first, Some(second))) if self.compare(index, second).is_lt() => {
                    (first, Some(index))
                }
                Some(both) => both,
            });
        }
        found
    }

    /// Decides the visibility of the row at which a source is positioned, picks it if it is shown, and moves
    /// the source on.
    ///
    /// Errors: [`ReadError::Corrupt`] if the row's kind is unknown.
    fn take_row(&mut self, index: usize) -> Result<(), ReadError> {
        let source = &mut self.sources[index];
        let batch = source.batch.as_ref().expect("the source stands at a row");
        let row = source.row;
        source.row += 1;
        let (bucket, key) = (batch.bucket(row), batch.key(row));
        // Bounds select whole pages and ranges of all buckets: rows beside the bounds come with them.
        if !self.request.bounds.has(bucket, key.as_bytes()) {
            return Ok(());
        }
        if !self.group.as_ref().is_some_and(|(b, k)| *b == bucket && k == key) {
            // The string is reused: the key changes with nearly every row.
            match &mut self.group {
                Some((last_bucket, last_key)) => {
                    *last_bucket = bucket;
                    last_key.clear();
                    last_key.push_str(key);
                }
                None => self.group = Some((bucket, key.to_owned())),
            }
            self.visibility = Visibility::default();
            self.is_latest = true;
        }
        let (Some(shape), Some(kind)) = (batch.shape(row), batch.kind(row)) else {
            return Err(ReadError::Corrupt(Corruption {
                file: "a manifest".into(),
                position: 0,
                detail: format!("an entry of no known kind for {key:?}"),
            }));
        };
        if self.visibility.judge(batch.version(row), shape) != VisibilityVerdict::Visible {
            return Ok(());
        }
        // Versions come newest first, so the first visible one of a key is its latest, be it an object or a
        // delete marker.
        let is_latest = std::mem::replace(&mut self.is_latest, false);
        let is_shown = match self.request.shown {
            VersionScope::Versions => true,
            VersionScope::Objects => is_latest && kind == IndexValueKind::Object,
        };
        if is_shown {
            self.gathered.pick(index, batch, row, is_latest);
        }
        Ok(())
    }
}
