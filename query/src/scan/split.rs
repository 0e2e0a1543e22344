//! Splits a scan in two: what one run alone decides, and what several sources say something about.
//!
//! ```text
//!   largest run   ┃disjoint ┃ overlap ┃    disjoint     ┃ overlap ┃disjoint ┃
//!   other runs              │  keys   │                 │  keys   │
//!   memtable                │         │                 │         │
//!                             merged                      merged
//! ```
//! Most entries stand in one run, and most of them nobody has touched since. For these the run's own flags say
//! what is visible: no merge, no keys to compare, any condition may skip pages, and several threads may read. A
//! page of the run is *overlapping* when a key of any other source may be in it, by filter and page index; only
//! these pages are merged with the other sources.

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

/// A scan in two; together both show everything once.
pub struct ScanSplit {
    /// What the largest run decides alone, if it is much of the whole.
    pub disjoint: Option<DisjointRows>,
    /// All the rest; none when there is nothing.
    pub overlapping: Option<OverlappingRange>,
}

/// Rows that their run alone decides.
#[derive(Clone)]
pub struct DisjointRows {
    /// The run.
    pub run: Arc<OpenRun>,
    /// The rows.
    pub rows: Vec<SelectedRows>,
}

/// Where sources are merged.
#[derive(Clone, Debug)]
pub enum OverlappingRange {
    /// Everywhere.
    All,
    /// Of this run only these rows; of the others all.
    With(RunId, Vec<SelectedRows>),
}

/// Other sources may hold this share of the largest run's entries: with more, nearly every page is overlapping.
const OTHERS_MAX: u64 = 4;

/// Splits what is within bounds.
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
        0 => vec![false; pages.len()],
        _ => overlapping(snapshot, base, bounds, &pages).await?,
    };
    for (page, is_overlapping) in pages.iter().zip(&mut is_overlapping) {
        // Rows of a bucket that is not asked for, or not there any more, are told apart where rows are merged.
        *is_overlapping |= !page.extent.is_of_one(bounds.buckets());
    }
    begin_at_keys(&pages, &mut is_overlapping);
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

/// A page of the key column.
struct KeyPage<'a> {
    group: usize,
    extent: PageExtent<'a>,
}

/// The pages that hold the selected rows, in order.
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

fn meet(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// For each page, whether another source may say something about a key in it.
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

/// Lets no merge begin in the midst of a key: its rows may go on from page to page, and the first that a merge meets
/// would pass for the newest.
fn begin_at_keys(pages: &[KeyPage<'_>], is_overlapping: &mut [bool]) {
    for page in (1..pages.len()).rev() {
        if is_overlapping[page] && pages[page - 1].extent.may_share_key(&pages[page].extent) {
            is_overlapping[page - 1] = true;
        }
    }
}
