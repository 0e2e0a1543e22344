//! Bounds on buckets and keys, and the rows of a Parquet file that may lie within them.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use ingest::entry::EntryKey;
use ingest::ids::BucketId;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;

/// A set of buckets, and one range of keys that applies to each of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyBounds {
    /// The buckets, ascending, without duplicates.
    buckets: Vec<BucketId>,
    /// The lower bound of keys, inclusive.
    from: Vec<u8>,
    /// The upper bound of keys, exclusive; `None` for no bound.
    below: Option<Vec<u8>>,
}

impl fmt::Display for KeyBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {:?}", String::from_utf8_lossy(&self.from))?;
        match &self.below {
            Some(below) => write!(f, " to below {:?}", String::from_utf8_lossy(below)),
            None => write!(f, " on"),
        }
    }
}

impl KeyBounds {
    /// Makes bounds that contain all keys of some buckets, which may come in any order.
    pub fn new(mut buckets: Vec<BucketId>) -> Self {
        buckets.sort_unstable();
        buckets.dedup();
        Self { buckets, from: Vec::new(), below: None }
    }

    /// Keeps only keys at or above `key`, in byte order; never widens the bounds that are there.
    pub fn at_or_above(&mut self, key: &[u8]) {
        if key > self.from.as_slice() {
            self.from = key.to_vec();
        }
    }

    /// Keeps only keys below `key`, in byte order; never widens the bounds that are there.
    pub fn below(&mut self, key: &[u8]) {
        if self.below.as_ref().is_none_or(|below| key < below.as_slice()) {
            self.below = Some(key.to_vec());
        }
    }

    /// Keeps only keys at or below `key`, in byte order; never widens the bounds that are there.
    pub fn at_or_below(&mut self, key: &[u8]) {
        // The least key above `key` is `key` and a zero byte.
        self.below(&[key, &[0]].concat());
    }

    /// Keeps only keys that begin with `prefix`; never widens the bounds. An empty prefix keeps them unchanged.
    pub fn prefix(&mut self, prefix: &[u8]) {
        self.at_or_above(prefix);
        // The least key above all keys with the prefix: trailing FF bytes dropped, the last byte incremented. A
        // prefix of FF bytes only has no such key.
        if let Some(kept) = prefix.iter().rposition(|byte| *byte != 0xff) {
            let mut successor = prefix[..=kept].to_vec();
            successor[kept] += 1;
            self.below(&successor);
        }
    }

    /// Returns the buckets in ascending order of their ids, without duplicates; empty bounds may have buckets,
    /// too.
    pub fn buckets(&self) -> &[BucketId] {
        &self.buckets
    }

    /// Returns encoded entry keys: one at or below all entries within the bounds, one above all of them.
    ///
    /// The range contains other entries as well: whole buckets between, and keys outside the bounds. Returns
    /// `None` only if there is no bucket.
    pub fn entries(&self) -> Option<(Bytes, Bytes)> {
        let (first, last) = (*self.buckets.first()?, *self.buckets.last()?);
        let end = match &self.below {
            Some(below) => EntryKey::seek_key(last, below),
            None => EntryKey::seek_after_bucket(last),
        };
        Some((EntryKey::seek_key(first, &self.from), end))
    }

    /// Returns true if no key can be within the bounds: there is no bucket, or the range of keys is empty.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty() || self.below.as_ref().is_some_and(|below| *below <= self.from)
    }

    /// Returns true only if an entry of this bucket and key is within the bounds.
    pub fn has(&self, bucket: BucketId, key: &[u8]) -> bool {
        self.has_key(key) && self.buckets.binary_search(&bucket).is_ok()
    }

    /// Returns true if a key is within the range of keys.
    fn has_key(&self, key: &[u8]) -> bool {
        key >= self.from.as_slice() && self.below.as_ref().is_none_or(|b| key < b.as_slice())
    }

    /// Returns true if one of the buckets has an id from `min` to `max`, both included.
    fn meets_buckets(&self, min: u64, max: u64) -> bool {
        let first = self.buckets.partition_point(|bucket| bucket.get() < min);
        self.buckets.get(first).is_some_and(|bucket| bucket.get() <= max)
    }

    /// Returns true if the range of keys contains a key from `min` to `max`, both included.
    fn meets_keys(&self, min: &[u8], max: &[u8]) -> bool {
        max >= self.from.as_slice() && self.below.as_ref().is_none_or(|b| min < b.as_slice())
    }
}

/// Rows of one row group that may be within bounds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SelectedRows {
    /// The index of the row group.
    pub group: usize,
    /// The number of rows in the row group.
    pub rows: usize,
    /// The selected rows: ascending ranges that do not touch each other.
    pub ranges: Vec<Range<usize>>,
    /// The number of pages of the key column that contain selected rows; for metrics only.
    pub key_pages: usize,
}

impl SelectedRows {
    /// Returns the number of selected rows, which is never more than the rows of the row group.
    pub fn count(&self) -> usize {
        self.ranges.iter().map(Range::len).sum()
    }

    /// Returns the selected rows that are also in `ranges`, or `None` if there are none. The ranges must be
    /// ascending.
    pub fn only(&self, ranges: impl Iterator<Item = Range<usize>>) -> Option<Self> {
        let pages: Vec<Range<usize>> = ranges.collect();
        let ranges = intersection(&self.ranges, &joined(pages.iter().cloned()));
        let key_pages = pages.len();
        (!ranges.is_empty()).then(|| Self { ranges, key_pages, ..self.clone() })
    }

    /// Divides the selection in order: the first `rows` selected rows, and the rest. Either part may be empty.
    ///
    /// The pages are counted for the first part only, so that the sum over all parts stays the number of pages.
    pub fn split_at(&self, rows: usize) -> (Self, Self) {
        let (mut first, mut rest) = (Vec::new(), Vec::new());
        let mut room = rows;
        for range in &self.ranges {
            let middle = range.start + range.len().min(room);
            room -= middle - range.start;
            first.extend((range.start < middle).then_some(range.start..middle));
            rest.extend((middle < range.end).then_some(middle..range.end));
        }
        (
            Self { ranges: first, ..self.clone() },
            Self { ranges: rest, key_pages: 0, ..self.clone() },
        )
    }
}

/// A page of the key column: its rows, and the lowest and highest bucket and key in them.
pub struct PageExtent<'a> {
    /// The rows of the page, counted within the row group.
    pub rows: Range<usize>,
    /// The lowest and highest bucket id; `None` if the index lacks them.
    buckets: Option<(u64, u64)>,
    /// The lowest and highest key; `None` if the index lacks them.
    keys: Option<(&'a [u8], &'a [u8])>,
}

impl PageExtent<'_> {
    /// Returns the bucket and its lowest and highest key, if all rows are of one bucket.
    fn of_one_bucket(&self) -> Option<(u64, &[u8], &[u8])> {
        let ((first, last), (min, max)) = (self.buckets?, self.keys?);
        (first == last).then_some((first, min, max))
    }

    /// Returns true only if all rows are certainly of one and the same of these buckets, which must be
    /// ascending.
    pub fn is_of_one(&self, buckets: &[BucketId]) -> bool {
        let of_one = |(first, last): (u64, u64)| {
            first == last && buckets.binary_search(&BucketId::new(first)).is_ok()
        };
        self.buckets.is_some_and(of_one)
    }

    /// Returns true only if all rows are certainly before every entry of a key, in scan order.
    pub fn is_below(&self, bucket: BucketId, key: &[u8]) -> bool {
        let bucket = bucket.get();
        let is_of_lower = self.buckets.is_some_and(|(_, last)| last < bucket);
        is_of_lower || self.of_one_bucket().is_some_and(|(own, _, max)| own == bucket && max < key)
    }

    /// Returns true only if all rows are certainly after every entry of a key, in scan order.
    pub fn is_above(&self, bucket: BucketId, key: &[u8]) -> bool {
        let bucket = bucket.get();
        let is_of_higher = self.buckets.is_some_and(|(first, _)| first > bucket);
        is_of_higher || self.of_one_bucket().is_some_and(|(own, min, _)| own == bucket && min > key)
    }

    /// Returns true unless the last key of this page certainly differs from the first key of the next page.
    ///
    /// The comparison is exact, since the manifest's writer never shortens the keys in the page index.
    pub fn may_share_key(&self, next: &PageExtent<'_>) -> bool {
        match (self.of_one_bucket(), next.of_one_bucket()) {
            (Some((bucket, _, last)), Some((next_bucket, first, _))) => {
                bucket == next_bucket && last == first
            }
            _ => true,
        }
    }
}

/// Returns the pages of a row group's key column in order, or `None` if the file's index lacks buckets or keys.
pub fn extents(metadata: &ParquetMetaData, group: usize) -> Option<Vec<PageExtent<'_>>> {
    let (columns, offsets) =
        (metadata.column_index()?.get(group)?, metadata.offset_index()?.get(group)?);
    let rows = usize::try_from(metadata.row_group(group).num_rows()).ok()?;
    let ColumnIndexMetaData::INT64(bucket_index) = columns.get(BUCKET)? else { return None };
    let ColumnIndexMetaData::BYTE_ARRAY(key_index) = columns.get(KEY)? else { return None };
    let bucket_pages = page_rows(offsets.get(BUCKET)?, rows);
    let mut at = 0;
    let mut found = Vec::new();
    for (page, rows) in page_rows(offsets.get(KEY)?, rows).into_iter().enumerate() {
        // Pages of the bucket column have other boundaries than pages of the key column: all that share rows
        // with this page count for its extremes.
        while bucket_pages.get(at).is_some_and(|of_bucket| of_bucket.end <= rows.start) {
            at += 1;
        }
        let beside = bucket_pages[at..].iter().take_while(|of_bucket| of_bucket.start < rows.end);
        let extremes = (at..at + beside.count()).map(|page| {
            Some((*bucket_index.min_value(page)? as u64, *bucket_index.max_value(page)? as u64))
        });
        // One page without extremes makes those of all unknown.
        let buckets = extremes.reduce(|a, b| Some((a?.0.min(b?.0), a?.1.max(b?.1)))).flatten();
        let keys = key_index.min_value(page).zip(key_index.max_value(page));
        found.push(PageExtent { rows, buckets, keys });
    }
    Some(found)
}

/// Returns the rows of each page of a column, in order, for a row group of `rows` rows.
pub fn page_rows(index: &OffsetIndexMetaData, rows: usize) -> Vec<Range<usize>> {
    let locations = index.page_locations();
    let firsts = locations.iter().map(|page| page.first_row_index as usize);
    let ends = firsts.clone().skip(1).chain([rows]);
    firsts.zip(ends).map(|(first, end)| first..end).collect()
}

/// The places of the bucket's id and the key among a manifest's columns.
const BUCKET: usize = 0;
const KEY: usize = 1;

/// Selects, by the page index, the rows that may be within bounds: one item for each row group that has such
/// rows, in order.
///
/// A page without extremes is kept. Returns `None` if the index lacks buckets or keys. Reads nothing from disk.
pub fn select(metadata: &ParquetMetaData, bounds: &KeyBounds) -> Option<Vec<SelectedRows>> {
    let mut found = Vec::new();
    // A run may have no entries, if a cut changed only state. Such a file has no page index either.
    if metadata.num_row_groups() == 0 {
        return Some(found);
    }
    let (columns, offsets) = (metadata.column_index()?, metadata.offset_index()?);
    for (group, facts) in metadata.row_groups().iter().enumerate() {
        let rows = usize::try_from(facts.num_rows()).ok()?;
        let pages = |column: usize| -> Option<Vec<Range<usize>>> {
            Some(page_rows(offsets.get(group)?.get(column)?, rows))
        };
        let ColumnIndexMetaData::INT64(bucket_index) = columns.get(group)?.get(BUCKET)? else {
            return None;
        };
        let ColumnIndexMetaData::BYTE_ARRAY(key_index) = columns.get(group)?.get(KEY)? else {
            return None;
        };
        let bucket_pages = pages(BUCKET)?.into_iter().enumerate().filter(|(page, _)| {
            match (bucket_index.min_value(*page), bucket_index.max_value(*page)) {
                (Some(min), Some(max)) => bounds.meets_buckets(*min as u64, *max as u64),
                _ => true,
            }
        });
        let of_buckets = joined(bucket_pages.map(|(_, range)| range));
        let all_key_pages = pages(KEY)?;
        let key_pages = all_key_pages.iter().enumerate().filter(|(page, _)| {
            match (key_index.min_value(*page), key_index.max_value(*page)) {
                (Some(min), Some(max)) => bounds.meets_keys(min, max),
                _ => true,
            }
        });
        let of_keys = joined(key_pages.map(|(_, range)| range.clone()));
        let ranges = intersection(&of_buckets, &of_keys);
        if ranges.is_empty() {
            continue;
        }
        let is_read = |page: &&Range<usize>| {
            ranges.iter().any(|range| range.start < page.end && page.start < range.end)
        };
        let key_pages = all_key_pages.iter().filter(is_read).count();
        found.push(SelectedRows { group, rows, ranges, key_pages });
    }
    Some(found)
}

/// Joins neighbouring ranges that touch. The ranges must be ascending.
fn joined(ranges: impl Iterator<Item = Range<usize>>) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match found.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => found.push(range),
        }
    }
    found
}

/// Returns the common part of two lists of ascending ranges.
fn intersection(a: &[Range<usize>], b: &[Range<usize>]) -> Vec<Range<usize>> {
    let (mut i, mut j) = (0, 0);
    let mut found = Vec::new();
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let both = x.start.max(y.start)..x.end.min(y.end);
        if both.start < both.end {
            found.push(both);
        }
        if x.end < y.end { i += 1 } else { j += 1 }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_meet_where_keys_can_be() {
        let mut bounds = KeyBounds::new(vec![BucketId::new(7), BucketId::new(3)]);
        bounds.prefix(b"b/");
        assert!(bounds.has(BucketId::new(3), b"b/x") && !bounds.has(BucketId::new(4), b"b/x"));
        assert!(!bounds.has(BucketId::new(3), b"b0") && !bounds.has(BucketId::new(3), b"b"));
        assert!(bounds.meets_buckets(4, 7) && !bounds.meets_buckets(4, 6));
        assert!(bounds.meets_keys(b"a", b"b/") && !bounds.meets_keys(b"b0", b"c"));
        bounds.at_or_below(b"b/m");
        assert!(bounds.has(BucketId::new(7), b"b/m") && !bounds.has(BucketId::new(7), b"b/m0"));
        bounds.at_or_above(b"c");
        assert!(bounds.is_empty());
    }

    #[test]
    fn a_prefix_of_the_highest_bytes_has_no_end() {
        let mut bounds = KeyBounds::new(vec![BucketId::new(1)]);
        bounds.prefix(&[0xff, 0xff]);
        assert!(bounds.has(BucketId::new(1), &[0xff, 0xff, 0xff]));
        assert!(!bounds.has(BucketId::new(1), &[0xff]));
    }

    #[test]
    fn ranges_meet() {
        assert_eq!(intersection(&[0..4, 6..9], &[2..7, 8..20]), [2..4, 6..7, 8..9]);
        assert_eq!(joined([0..2, 2..4, 5..6].into_iter()), [0..4, 5..6]);
    }
}
