//! Splits a scan into rows that one run alone decides (disjoint) and rows that must be merged (overlapping).
//!
//! ```text
//!   largest run   ┃disjoint ┃ overlap ┃    disjoint     ┃ overlap ┃disjoint ┃
//!   other runs              │  keys   │                 │  keys   │
//!   memtable                │         │                 │         │
//!                             merged                      merged
//! ```
//! Most entries are in one large run, and most of their keys have not been changed since it was written. For
//! such rows the run's own flags decide what is visible: nothing is merged, no keys are compared, any condition
//! may skip pages, and several threads may read. A page of the run is *overlapping* if it may contain a key of
//! another source, by the run's filter and the page index. Only these pages are merged with the other sources.

use std::ops::Range;
use std::sync::Arc;

use compactor::cursor::EntryCursor;
use compactor::view::{OpenRun, Snapshot};
use ingest::ids::RunId;
use ingest::log::ReadError;
use ingest::record::key_hash;
use parquet::file::metadata::ParquetMetaData;

use super::range::{KeyBounds, PageExtent, SelectedRows, extents};
use super::source::{indexed, selected};

/// The two parts of a scan; together they contain every row exactly once.
pub struct ScanSplit {
    /// The rows that the largest run decides alone; `None` if everything is merged.
    pub disjoint: Option<DisjointRows>,
    /// All other rows; `None` if there are none.
    pub overlapping: Option<OverlappingRange>,
}

/// Rows whose visibility their run alone decides.
#[derive(Clone)]
pub struct DisjointRows {
    /// The run, whose files stay open while this value exists.
    pub run: Arc<OpenRun>,
    /// The rows, by row group, in order.
    pub rows: Vec<SelectedRows>,
}

/// The rows of a snapshot that a scan merges.
#[derive(Clone, Debug)]
pub enum OverlappingRange {
    /// All rows of all sources.
    All,
    /// Of this run only these rows, of all other sources all rows.
    With(RunId, Vec<SelectedRows>),
}

/// A scan is split only if the other sources have at most one entry for this many of the largest run: with
/// more, nearly every page overlaps.
const OTHERS_MAX: u64 = 4;

/// Splits the rows of a snapshot that may be within bounds.
///
/// Reads the key indexes of all other sources within the bounds, which have at most a quarter of the largest
/// run's entries; with more entries everything is merged and nothing is read. Reads no manifest pages. Cancel
/// safe: the call has no effect but its result.
///
/// Errors: [`ReadError::Corrupt`] if a key index, or the manifest of the largest run, cannot be read;
/// [`ReadError::Unavailable`] if a file cannot be read now.
pub async fn split(snapshot: &Snapshot, bounds: &KeyBounds) -> Result<ScanSplit, ReadError> {
    if bounds.is_empty() {
        return Ok(ScanSplit { disjoint: None, overlapping: None });
    }
    let all = ScanSplit { disjoint: None, overlapping: Some(OverlappingRange::All) };
    let runs = &snapshot.view.sealed.runs;
    let Some(base) = runs.iter().max_by_key(|open| open.run.entries) else { return Ok(all) };
    let of_runs: u64 = runs.iter().map(|open| open.run.entries).sum();
    let of_memtables: u64 = snapshot.memtables().map(|(memtable, _)| memtable.len() as u64).sum();
    let others = of_runs - base.run.entries + of_memtables;
    if others.saturating_mul(OTHERS_MAX) > base.run.entries {
        return Ok(all);
    }
    let rows = selected(base, bounds)?;
    let pages = indexed(base, |metadata| pages(metadata, &rows))?;
    let mut is_overlapping = match others {
        // With a single source no page can overlap.
        0 => vec![false; pages.len()],
        _ => overlapping(snapshot, base, bounds, &pages).await?,
    };
    for (page, is_overlapping) in pages.iter().zip(&mut is_overlapping) {
        // A page may contain rows of buckets that are not wanted or were deleted. Only the merge compares each
        // row with the bounds.
        *is_overlapping |= !page.extent.is_of_one(bounds.buckets());
    }
    begin_at_keys(&pages, &mut is_overlapping);
    // No other source has entries, so an empty merge is left out as well.
    if others == 0 && !is_overlapping.contains(&true) {
        let disjoint = Some(DisjointRows { run: base.clone(), rows });
        return Ok(ScanSplit { disjoint, overlapping: None });
    }
    let only = |wanted: bool| -> Vec<SelectedRows> {
        rows.iter()
            .filter_map(|selected| {
                let first = pages.partition_point(|page| page.group < selected.group);
                let of_group = pages[first..].iter().zip(&is_overlapping[first..]);
                let of_group = of_group.take_while(|(page, _)| page.group == selected.group);
                let wanted = of_group.filter(|(_, is_overlapping)| **is_overlapping == wanted);
                selected.only(wanted.map(|(page, _)| page.extent.rows.clone()))
            })
            .collect()
    };
    Ok(ScanSplit {
        disjoint: Some(DisjointRows { run: base.clone(), rows: only(false) }),
        overlapping: Some(OverlappingRange::With(base.run.id, only(true))),
    })
}

/// A page of the key column, with the index of its row group.
struct KeyPage<'a> {
    group: usize,
    extent: PageExtent<'a>,
}

/// Returns the pages of the key column that contain selected rows, in order; `None` if the page index lacks
/// them.
fn pages<'a>(metadata: &'a ParquetMetaData, rows: &[SelectedRows]) -> Option<Vec<KeyPage<'a>>> {
    let mut found = Vec::new();
    for selected in rows {
        let group = selected.group;
        let extents = extents(metadata, group)?;
        let is_read =
            |extent: &PageExtent<'_>| selected.ranges.iter().any(|r| meet(r, &extent.rows));
        found.extend(extents.into_iter().filter(is_read).map(|extent| KeyPage { group, extent }));
    }
    Some(found)
}

/// Returns true if two ranges have a common element.
fn meet(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Returns for each page whether another source may have an entry of a key in that page.
///
/// Keys that the run's filters exclude are not in the run, so they make no page overlapping.
async fn overlapping(
    snapshot: &Snapshot,
    base: &OpenRun,
    bounds: &KeyBounds,
    pages: &[KeyPage<'_>],
) -> Result<Vec<bool>, ReadError> {
    let mut found = vec![false; pages.len()];
    let Some((from, end)) = bounds.entries() else { return Ok(found) };
    let tables = [&base.keys, &base.more].map(|table| table.as_ref());
    let mut cursor = EntryCursor::beside(snapshot, base.run.id)?;
    cursor.seek(&from).await?;
    let mut group = Vec::new();
    let mut at = 0;
    while let Some(standing) = cursor.standing()? {
        if standing.key.group() >= end.as_ref() {
            break;
        }
        if standing.key.group() != group.as_slice() {
            group.clear();
            group.extend_from_slice(standing.key.group());
            let (bucket, key) = (standing.key.bucket(), standing.key.object_key());
            let hash = key_hash(bucket, &key);
            let mut may_be_there = false;
            for table in tables {
                let table = table.map_err(|c| ReadError::Corrupt(c.clone()))?;
                may_be_there |= table.entries() > 0 && table.may_contain(hash);
            }
            if may_be_there {
                // Keys and pages are both ascending: pages below this key are below all later keys, too.
                while pages.get(at).is_some_and(|page| page.extent.is_below(bucket, &key)) {
                    at += 1;
                }
                let meeting = pages[at..].iter().take_while(|p| !p.extent.is_above(bucket, &key));
                let count = meeting.count();
                found[at..at + count].fill(true);
            }
        }
        cursor.advance().await?;
    }
    Ok(found)
}

/// Makes sure that no merge begins within a key: marks the page before an overlapping page as well if both may
/// contain one key. A key's rows may continue from page to page, and a merge would take the first row that it
/// reads for the newest.
fn begin_at_keys(pages: &[KeyPage<'_>], is_overlapping: &mut [bool]) {
    // From the last page to the first, since a page that gets marked may share a key with the page before it.
    for page in (1..pages.len()).rev() {
        if is_overlapping[page] && pages[page - 1].extent.may_share_key(&pages[page].extent) {
            is_overlapping[page - 1] = true;
        }
    }
}
