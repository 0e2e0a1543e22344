//! The memtable: folded state at or above the cut, in memory, in key order.
//!
//! A memtable is multi-version: statements are never overwritten, and each is stored with the offset of the
//! record that made it. A reader chooses an offset and skips newer statements, so readers and the fold do
//! not wait for each other beyond short locks. A cut *freezes* the memtable, and the fold continues in a
//! new one. Once its run is published, the frozen memtable is dropped whole.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ingest::codec::DecodeError;
use ingest::entry::{Entry, EntryKey, EntryValue, Extent, PayloadLocation};
use ingest::ids::{BucketId, BulkId, Offset};
use parking_lot::RwLock;

use crate::state::{StateKey, StreamState, decode_part};

/// A change of folded state other than object versions: the new value, or `None` for a removal.
pub type StateChange = (StateKey, Option<Bytes>);

type StateMap = BTreeMap<(StateKey, Reverse<Offset>), Option<Bytes>>;

/// The content of a memtable, behind one lock.
#[derive(Default)]
struct MemtableContents {
    entries: BTreeMap<EntryKey, EntryValue>,
    state: StateMap,
    /// The number of statements of this memtable that refer to each bulk file.
    bulk_references: BTreeMap<BulkId, u64>,
    bytes: u64,
    /// Bytes of payload in bulk files that statements of this memtable name.
    bulk_bytes: u64,
}

/// Folded entries and state of a range of the log.
pub struct Memtable {
    /// The lowest offset that a statement of this memtable can have.
    first: Offset,
    /// The offset below which all records are applied and visible.
    applied: AtomicU64,
    contents: RwLock<MemtableContents>,
}

impl Memtable {
    /// Makes an empty memtable for records from offset `first` on.
    pub fn new(first: Offset) -> Self {
        Self { first, applied: AtomicU64::new(first.get()), contents: RwLock::default() }
    }

    /// Returns the lowest offset that a statement of this memtable can have.
    pub fn first(&self) -> Offset {
        self.first
    }

    /// Returns the offset below which all records are applied. A reader that uses it as its offset sees
    /// whole records only.
    pub fn applied(&self) -> Offset {
        Offset::new(self.applied.load(Ordering::Acquire))
    }

    /// Inserts the changes of the record at offset `at`. Readers see them only after [`Memtable::advance`]
    /// has passed that offset. Called by the fold alone, in log order.
    ///
    /// Panics if the record has two entries with the same key, or a state value cannot be decoded; both are
    /// bugs of the fold.
    pub fn insert(&self, at: Offset, entries: Vec<Entry>, state: Vec<StateChange>) {
        let mut contents = self.contents.write();
        for entry in entries {
            contents.bytes += statement_bytes(&entry);
            contents.bulk_bytes += bulk_bytes(&entry.statement);
            for file in bulk_files(&entry.statement) {
                *contents.bulk_references.entry(file).or_default() += 1;
            }
            let former = contents.entries.insert(entry.key, entry.statement);
            assert!(former.is_none(), "two statements of one record about one version");
        }
        for (key, value) in state {
            contents.bytes += (key.0.len() + value.as_ref().map_or(0, Bytes::len) + 64) as u64;
            contents.bulk_bytes += state_bulk_bytes(&key, value.as_ref());
            let files = state_bulk_files(&key, value.as_ref());
            for file in files.expect("the fold encoded this value itself") {
                *contents.bulk_references.entry(file).or_default() += 1;
            }
            contents.state.insert((key, Reverse(at)), value);
        }
    }

    /// Makes all records below `next` visible to readers. Called by the fold after [`Memtable::insert`];
    /// `next` must not be lower than before.
    pub fn advance(&self, next: Offset) {
        debug_assert!(next >= self.applied());
        self.applied.store(next.get(), Ordering::Release);
    }

    /// Returns the number of statements, state changes included.
    pub fn len(&self) -> usize {
        let contents = self.contents.read();
        contents.entries.len() + contents.state.len()
    }

    /// Returns true if no record has changed anything in this memtable.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns an estimate of the memtable's bytes, with the inline payload that its run will contain. The
    /// cutter compares the number with its policy.
    pub fn bytes(&self) -> u64 {
        self.contents.read().bytes
    }

    /// Returns the bytes of payload in bulk files that the statements name. Superseded statements are
    /// included.
    pub fn bulk_bytes(&self) -> u64 {
        self.contents.read().bulk_bytes
    }

    /// Returns the bulk files that statements refer to, in ascending order. Garbage collection must keep
    /// them.
    pub fn bulk_files(&self) -> Vec<BulkId> {
        self.contents.read().bulk_references.keys().copied().collect()
    }

    /// Returns up to `limit` entries with keys at or above `from` that were made below offset `at`, in key
    /// order, and the key at which the next call begins; `None` at the end.
    ///
    /// Holds the read lock for the whole call, so callers pass a small limit.
    pub fn entries(
        &self,
        from: &[u8],
        at: Offset,
        limit: usize,
    ) -> (Vec<(EntryKey, EntryValue)>, Option<Bytes>) {
        let contents = self.contents.read();
        let start = EntryKey::bound(Bytes::copy_from_slice(from));
        let mut found = Vec::new();
        for (key, statement) in contents.entries.range(start..) {
            if found.len() == limit {
                return (found, Some(key.as_bytes().clone()));
            }
            if key.sequence() < at {
                found.push((key.clone(), statement.clone()));
            }
        }
        (found, None)
    }

    /// Returns the first entry of a key at or after `from` in key order that was made below offset `at`; `None` if there
    /// is none. `from` names the key, and a version of it.
    pub fn first_of_key(&self, from: &EntryKey, at: Offset) -> Option<(EntryKey, EntryValue)> {
        let contents = self.contents.read();
        let mut of_key = contents
            .entries
            .range::<EntryKey, _>(from..)
            .take_while(|(key, _)| key.group() == from.group());
        let found = of_key.find(|(key, _)| key.sequence() < at);
        found.map(|(key, statement)| (key.clone(), statement.clone()))
    }

    /// Returns the entry that the record at offset `at` made of a key; `None` if the record did not change
    /// the key.
    pub fn made_at(
        &self,
        at: Offset,
        bucket: BucketId,
        key: &[u8],
    ) -> Option<(EntryKey, EntryValue)> {
        let contents = self.contents.read();
        // In most cases a record's statement is about the version that the record makes.
        let own = EntryKey::new(bucket, key, at, at);
        if let Some(statement) = contents.entries.get(&own) {
            return Some((own, statement.clone()));
        }
        let newest = EntryKey::new(bucket, key, Offset::MAX, Offset::MAX);
        let mut of_key = contents.entries.range(newest.clone()..);
        let found = of_key
            .by_ref()
            .take_while(|(found, _)| found.group() == newest.group())
            .find(|(found, _)| found.sequence() == at);
        found.map(|(key, statement)| (key.clone(), statement.clone()))
    }

    /// Returns true if the record at offset `at` changed the value of a state key.
    pub fn changed_at(&self, at: Offset, key: &StateKey) -> bool {
        self.contents.read().state.contains_key(&(key.clone(), Reverse(at)))
    }

    /// Returns the newest value of a state key below offset `at`: `None` if this memtable has no change of
    /// the key, so that older sources decide, and `Some(None)` if the key was removed.
    pub fn state(&self, key: &StateKey, at: Offset) -> Option<Option<Bytes>> {
        let contents = self.contents.read();
        let newest = (key.clone(), Reverse(Offset::MAX));
        contents
            .state
            .range(newest..)
            .take_while(|((found, _), _)| found == key)
            .find(|((_, Reverse(made)), _)| *made < at)
            .map(|(_, value)| value.clone())
    }

    /// Returns the newest values below `at` of all state keys in `[from, end)`, in key order, removals
    /// included. Copies all of them at once, so only a flush calls it.
    pub fn states(&self, from: &[u8], end: &[u8], at: Offset) -> Vec<StateChange> {
        self.states_page(from, end, at, usize::MAX).0
    }

    /// Returns at most `limit` of the changes of [`Memtable::states`], and the key at which the next call
    /// begins; `None` at the end. Holds the read lock for the whole call.
    pub fn states_page(
        &self,
        from: &[u8],
        end: &[u8],
        at: Offset,
        limit: usize,
    ) -> (Vec<StateChange>, Option<Bytes>) {
        let contents = self.contents.read();
        let start = (StateKey(Bytes::copy_from_slice(from)), Reverse(Offset::MAX));
        let mut found: Vec<StateChange> = Vec::new();
        for ((key, Reverse(made)), value) in contents.state.range(start..) {
            if *key.0 >= *end {
                break;
            }
            if *made >= at || found.last().is_some_and(|(last, _)| last == key) {
                continue;
            }
            if found.len() == limit {
                return (found, Some(key.0.clone()));
            }
            found.push((key.clone(), value.clone()));
        }
        (found, None)
    }
}

/// Estimates the memory and the inline payload of an entry, in bytes.
fn statement_bytes(entry: &Entry) -> u64 {
    let fixed = entry.key.as_bytes().len() as u64 + 256;
    match &entry.statement {
        EntryValue::Object(object) => {
            let attributes = &object.attributes;
            let pairs = |pairs: &[(String, String)]| -> u64 {
                pairs.iter().map(|(name, value)| (name.len() + value.len() + 48) as u64).sum()
            };
            let inline = match &object.payload {
                PayloadLocation::Log(logged) => u64::from(logged.at.len),
                PayloadLocation::Bulk(extents) => 24 * extents.len() as u64,
                PayloadLocation::Empty | PayloadLocation::Segment(_) => 0,
            };
            fixed
                + inline
                + pairs(&attributes.headers)
                + pairs(&attributes.metadata)
                + pairs(&attributes.tags)
                + 64 * attributes.parts.len() as u64
        }
        _ => fixed,
    }
}

/// Returns the bulk files that extents name, each once, in ascending order. Extents that are missing on
/// this node name no file.
pub fn extent_files(extents: &[Extent]) -> Vec<BulkId> {
    let here = extents.iter().filter(|extent| !extent.is_missing());
    let mut files: Vec<BulkId> = here.map(|extent| extent.file).collect();
    files.sort_unstable();
    files.dedup();
    files
}

/// Returns the bulk files that a statement refers to, each once, in ascending order.
pub fn bulk_files(statement: &EntryValue) -> Vec<BulkId> {
    match statement {
        EntryValue::Object(object) => match &object.payload {
            PayloadLocation::Bulk(extents) => extent_files(extents),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Returns the bytes of payload in bulk files that a statement names: the object's size, or 0.
pub fn bulk_bytes(statement: &EntryValue) -> u64 {
    match statement {
        EntryValue::Object(object) if matches!(object.payload, PayloadLocation::Bulk(_)) => {
            object.attributes.size
        }
        _ => 0,
    }
}

/// Returns the bytes of payload in bulk files that a state value names: those of a part of an open upload,
/// or of an open stream. Returns 0 for a value that cannot be decoded.
pub fn state_bulk_bytes(key: &StateKey, value: Option<&Bytes>) -> u64 {
    let bytes = match value {
        Some(value) if key.is_part() => decode_part(value.clone()).map(|(_, part)| part.size),
        Some(value) if key.is_stream() => StreamState::decode(value.clone()).map(|s| s.len),
        _ => Ok(0),
    };
    // A value that cannot be decoded is reported by [`state_bulk_files`], which counts its references.
    bytes.unwrap_or_default()
}

/// Returns the bulk files that a state value refers to, each once, in ascending order: those of a part of
/// an open upload, or of an open stream. Fails if the value cannot be decoded, because its references would
/// be lost.
pub fn state_bulk_files(key: &StateKey, value: Option<&Bytes>) -> Result<Vec<BulkId>, DecodeError> {
    match value {
        Some(value) if key.is_part() => Ok(extent_files(&decode_part(value.clone())?.1.extents)),
        Some(value) if key.is_stream() => {
            Ok(extent_files(&StreamState::decode(value.clone())?.extents))
        }
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests;
