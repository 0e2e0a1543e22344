//! The memtable: folded state at or above the cut, in memory, in order.
//!
//! It is multi-version: nothing is ever overwritten, each statement stands under the offset that made
//! it. A reader picks an offset and skips what is newer, so it never blocks the fold and the fold never
//! disturbs it. A cut *freezes* the memtable (the fold goes on in a new one); once the frozen memtable stands in
//! a run it is dropped whole.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ingest::codec::DecodeError;
use ingest::entry::{Entry, EntryKey, EntryValue, Extent, PayloadLocation};
use ingest::ids::{BucketId, BulkId, Offset};
use parking_lot::RwLock;

use crate::state::{StateKey, StreamState, decode_part};

/// A change of folded state besides object versions: the new value, or none for a removal.
pub type StateChange = (StateKey, Option<Bytes>);

type StateMap = BTreeMap<(StateKey, Reverse<Offset>), Option<Bytes>>;

#[derive(Default)]
struct MemtableContents {
    entries: BTreeMap<EntryKey, EntryValue>,
    state: StateMap,
    /// How many statements of this memtable refer to each bulk file.
    bulk_references: BTreeMap<BulkId, u64>,
    bytes: u64,
    /// Of payload in bulk files that statements of this memtable name.
    bulk_bytes: u64,
}

/// See the module's description.
pub struct Memtable {
    /// The lowest offset that it may hold.
    first: Offset,
    /// Everything below has been applied.
    applied: AtomicU64,
    contents: RwLock<MemtableContents>,
}

impl Memtable {
    /// Makes an empty memtable that begins at an offset.
    pub fn new(first: Offset) -> Self {
        Self { first, applied: AtomicU64::new(first.get()), contents: RwLock::default() }
    }

    /// The lowest offset that it may hold.
    pub fn first(&self) -> Offset {
        self.first
    }

    /// Everything below this offset has been applied.
    pub fn applied(&self) -> Offset {
        Offset::new(self.applied.load(Ordering::Acquire))
    }

    /// Takes what one record changed; visible to readers once [`Memtable::advance`] has passed the record.
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

    /// Shows everything below `next` to readers.
    pub fn advance(&self, next: Offset) {
        debug_assert!(next >= self.applied());
        self.applied.store(next.get(), Ordering::Release);
    }

    /// How many statements it holds, state included.
    pub fn len(&self) -> usize {
        let contents = self.contents.read();
        contents.entries.len() + contents.state.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes it stands for, inline payload included.
    pub fn bytes(&self) -> u64 {
        self.contents.read().bytes
    }

    /// Bytes of payload in bulk files that its statements name, what is superseded included.
    pub fn bulk_bytes(&self) -> u64 {
        self.contents.read().bulk_bytes
    }

    /// The bulk files that it refers to.
    pub fn bulk_files(&self) -> Vec<BulkId> {
        self.contents.read().bulk_references.keys().copied().collect()
    }

    /// Up to `limit` entries at or above `from`, made below `at`.
    ///
    /// Gives the entries and where to go on, `None` at the end.
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

    /// What the record at an offset says of a key, if it says anything.
    pub fn made_at(
        &self,
        at: Offset,
        bucket: BucketId,
        key: &[u8],
    ) -> Option<(EntryKey, EntryValue)> {
        let contents = self.contents.read();
        // What a record says is mostly of the version that it makes.
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

    /// Whether the record at an offset changed the value of a state key.
    pub fn changed_at(&self, at: Offset, key: &StateKey) -> bool {
        self.contents.read().state.contains_key(&(key.clone(), Reverse(at)))
    }

    /// The newest value of a state key made below `at`: `None` when the memtable knows nothing of it,
    /// `Some(None)` when it has been removed.
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

    /// The newest values below `at` of all state keys in `[from, end)`, tombstones included.
    pub fn states(&self, from: &[u8], end: &[u8], at: Offset) -> Vec<StateChange> {
        self.states_page(from, end, at, usize::MAX).0
    }

    /// At most `limit` of [`Memtable::states`], and where to go on, `None` at the end.
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

fn statement_bytes(entry: &Entry) -> u64 {
    let fixed = entry.key.as_bytes().len() as u64 + 256;
    match &entry.statement {
        EntryValue::Object(object) => {
            let attributes = &object.attributes;
            let pairs = |pairs: &[(String, String)]| -> u64 {
                pairs.iter().map(|(name, value)| (name.len() + value.len() + 48) as u64).sum()
            };
            let inline = match &object.payload {
                PayloadLocation::Log(location) => u64::from(location.len),
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

/// The bulk files that extents name, each once, in order; payload that is missing here is in none.
pub fn extent_files(extents: &[Extent]) -> Vec<BulkId> {
    let here = extents.iter().filter(|extent| !extent.is_missing());
    let mut files: Vec<BulkId> = here.map(|extent| extent.file).collect();
    files.sort_unstable();
    files.dedup();
    files
}

/// The bulk files that a statement refers to, each once.
pub fn bulk_files(statement: &EntryValue) -> Vec<BulkId> {
    match statement {
        EntryValue::Object(object) => match &object.payload {
            PayloadLocation::Bulk(extents) => extent_files(extents),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Bytes of payload in bulk files that a statement names.
pub fn bulk_bytes(statement: &EntryValue) -> u64 {
    match statement {
        EntryValue::Object(object) if matches!(object.payload, PayloadLocation::Bulk(_)) => {
            object.attributes.size
        }
        _ => 0,
    }
}

/// Bytes of payload in bulk files that a state value names: those of an open upload's part, or of a stream
/// under way.
pub fn state_bulk_bytes(key: &StateKey, value: Option<&Bytes>) -> u64 {
    let bytes = match value {
        Some(value) if key.is_part() => decode_part(value.clone()).map(|(_, part)| part.size),
        Some(value) if key.is_stream() => StreamState::decode(value.clone()).map(|s| s.len),
        _ => Ok(0),
    };
    // What cannot be decoded is told of where its references are counted.
    bytes.unwrap_or_default()
}

/// The bulk files that a state value refers to, each once: those of an open upload's part,
/// or of a stream under way.
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
