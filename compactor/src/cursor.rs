//! One ordered stream of entries over memtables and runs, with `seek`.
//!
//! The sources are merged by sort key. The cursor does not judge visibility: that needs all entries of a
//! key, and reads, merges and emptiness checks use the verdicts differently. A source that cannot be read
//! makes the cursor fail, so a stream never silently leaves out entries.
//!
//! The parts of the current entry are read in place, because a listing compares millions of keys and keeps
//! few of them.

use std::sync::Arc;

use bytes::Bytes;
use ingest::entry::{EntryKey, EntryParts, EntryValue, entry_parts};
use ingest::ids::{Offset, RunId};
use ingest::log::{Corruption, ReadError};

use crate::index_value::{IndexValue, IndexValueKind};
use crate::memtable::Memtable;
use crate::table::{Table, TableCursor};
use crate::view::{EntryData, OpenRun, Snapshot};
use crate::visibility::EntryShape;

/// An entry that has been copied out of the stream.
#[derive(Clone, Debug)]
pub struct CursorItem {
    /// The entry's sort key.
    pub key: EntryKey,
    /// The entry's statement, as far as its source has it.
    pub what: EntryData,
}

impl CursorItem {
    /// Returns the shape of the entry's statement, for [`crate::visibility::Visibility`].
    pub fn shape(&self) -> EntryShape {
        self.what.shape()
    }

    /// Returns true for an object version; false for a delete marker or a removal.
    pub fn is_object(&self) -> bool {
        self.what.kind() == IndexValueKind::Object
    }
}

/// The ordered stream. After an error the position is undefined, and the cursor must not be used again.
pub struct EntryCursor {
    sources: Vec<EntrySource>,
    /// The source with the lowest current key; `None` at the end.
    lowest: Option<usize>,
    /// The source with the second-lowest key. While the lowest source stays below that key, no other source
    /// is compared.
    second: Option<usize>,
}

/// One input of the merge.
enum EntrySource {
    Memtable(MemtableSource),
    Run(RunSource),
}

/// A memtable, read in chunks so that its lock is held only briefly.
struct MemtableSource {
    memtable: Arc<Memtable>,
    at: Offset,
    buffer: std::collections::VecDeque<(EntryKey, EntryValue)>,
    /// The key at which the next chunk begins; `None` at the end.
    next: Option<Bytes>,
    /// Entries of the next chunk. Seeks may be dense, so a chunk begins small and doubles while entries are
    /// read in sequence.
    chunk: usize,
}

/// One table of a run's key index.
struct RunSource {
    run: Arc<OpenRun>,
    cursor: TableCursor,
    /// True for the oldest run, below which no source exists.
    is_bottom: bool,
}

const CHUNK_MIN: usize = 8;
const CHUNK_MAX: usize = 256;

impl MemtableSource {
    // A chunk may be empty although more follow: all of its entries may be newer than the snapshot.
    fn fill(&mut self) {
        while self.buffer.is_empty() {
            let Some(from) = self.next.take() else { return };
            let (found, next) = self.memtable.entries(&from, self.at, self.chunk);
            self.buffer = found.into();
            self.next = next;
            self.chunk = (self.chunk * 2).min(CHUNK_MAX);
        }
    }

    fn seek(&mut self, target: &[u8]) {
        // The target may lie within the buffered chunk, which is then kept.
        while self.buffer.front().is_some_and(|(key, _)| key.as_bytes().as_ref() < target) {
            self.buffer.pop_front();
        }
        if self.buffer.is_empty() && self.next.as_ref().is_some_and(|next| next.as_ref() < target) {
            self.next = Some(Bytes::copy_from_slice(target));
            self.chunk = CHUNK_MIN;
        }
        self.fill();
    }
}

impl RunSource {
    /// Makes the error for an entry of this run that cannot be decoded.
    fn corruption(&self, detail: impl ToString) -> ReadError {
        ReadError::Corrupt(Corruption {
            file: format!("key index of run {}", self.run.run.id),
            position: self.cursor.position(),
            detail: detail.to_string(),
        })
    }
}

impl EntrySource {
    /// Returns the encoded key of the current entry; `None` at the end.
    fn key(&self) -> Option<&[u8]> {
        match self {
            EntrySource::Memtable(source) => {
                source.buffer.front().map(|(key, _)| key.as_bytes().as_ref())
            }
            EntrySource::Run(source) => source.cursor.key(),
        }
    }

    /// Moves to the first entry at or above `target`.
    async fn seek(&mut self, target: &[u8]) -> Result<(), ReadError> {
        match self {
            EntrySource::Memtable(source) => source.seek(target),
            EntrySource::Run(source) => source.cursor.seek(target).await?,
        }
        Ok(())
    }

    /// Moves to the next entry; reads from the disk only at the end of a block.
    async fn advance(&mut self) -> Result<(), ReadError> {
        match self {
            EntrySource::Memtable(source) => {
                source.buffer.pop_front();
                source.fill();
            }
            EntrySource::Run(source) => {
                if !source.cursor.advance_within()? {
                    source.cursor.advance().await?;
                }
            }
        }
        Ok(())
    }
}

/// The current entry of a cursor, borrowed from the source.
pub struct CursorEntry<'a> {
    /// The parts of the sort key.
    pub key: EntryParts<'a>,
    encoded: &'a [u8],
    source: &'a EntrySource,
}

impl CursorEntry<'_> {
    /// Returns the statement as a copy. Fails with corruption when a run's value cannot be decoded.
    pub fn what(&self) -> Result<EntryData, ReadError> {
        match self.source {
            EntrySource::Memtable(source) => {
                let (_, statement) = source.buffer.front().expect("it stands at an entry");
                Ok(EntryData::Memtable(statement.clone()))
            }
            EntrySource::Run(source) => {
                let value = source.cursor.value().expect("it stands at an entry");
                Ok(EntryData::Run(
                    IndexValue::decode(value).map_err(|error| source.corruption(error))?,
                ))
            }
        }
    }

    /// Returns the kind of the statement, and true if the version is `null`, without decoding the rest of
    /// the value. Fails with corruption when a run's value has an unknown kind.
    pub fn kind(&self) -> Result<(IndexValueKind, bool), ReadError> {
        match self.source {
            EntrySource::Memtable(source) => {
                let (_, statement) = source.buffer.front().expect("it stands at an entry");
                Ok((IndexValueKind::of(statement), statement.is_null()))
            }
            EntrySource::Run(source) => {
                let bytes = source.cursor.bytes().expect("it stands at an entry");
                IndexValue::kind_of(bytes).map_err(|error| source.corruption(error))
            }
        }
    }

    /// Returns true if the entry comes from the oldest run, so that no older statement about its key exists
    /// outside that run.
    pub fn is_bottom(&self) -> bool {
        matches!(self.source, EntrySource::Run(RunSource { is_bottom: true, .. }))
    }

    /// Copies the entry out of the stream. Fails with corruption when key or value of a run's entry cannot
    /// be decoded.
    pub fn item(&self) -> Result<CursorItem, ReadError> {
        let key = EntryKey::from_bytes(Bytes::copy_from_slice(self.encoded));
        let key = key.map_err(|error| match self.source {
            EntrySource::Run(source) => source.corruption(error),
            EntrySource::Memtable(_) => unreachable!("the fold made this key itself"),
        })?;
        Ok(CursorItem { key, what: self.what()? })
    }
}

impl EntryCursor {
    /// Makes a cursor over the snapshot's memtables and over those key index tables of its runs that
    /// `wanted` selects. The cursor has no position before [`EntryCursor::seek`]. Fails with corruption if
    /// any of the tables could not be opened, selected or not.
    fn over(
        snapshot: &Snapshot,
        with_more: bool,
        wanted: impl Fn(&OpenRun, &Table) -> bool,
    ) -> Result<Self, ReadError> {
        let mut sources = Vec::new();
        for (memtable, at) in snapshot.memtables() {
            sources.push(EntrySource::Memtable(MemtableSource {
                memtable: memtable.clone(),
                at,
                buffer: Default::default(),
                next: Some(Bytes::new()),
                chunk: CHUNK_MIN,
            }));
        }
        // Newest source first. The order does not affect results, because no two sources have the same sort
        // key.
        for (index, run) in snapshot.view.sealed.runs.iter().enumerate().rev() {
            let tables = [Some(&run.keys), with_more.then_some(&run.more)];
            for table in tables.into_iter().flatten() {
                let table = table.as_ref().map_err(|c| ReadError::Corrupt(c.clone()))?;
                if table.entries() > 0 && wanted(run, table) {
                    sources.push(EntrySource::Run(RunSource {
                        run: run.clone(),
                        cursor: table.cursor(),
                        is_bottom: index == 0,
                    }));
                }
            }
        }
        Ok(Self { sources, lowest: None, second: None })
    }

    /// Makes a cursor over all entries of a snapshot. Fails if a key index table of any run could not be
    /// opened.
    pub fn over_all(snapshot: &Snapshot) -> Result<Self, ReadError> {
        Self::over(snapshot, true, |_, _| true)
    }

    /// Makes a cursor over the entries of one key, given by its hash: tables whose filter excludes the hash
    /// are left out. The cursor may also return entries of other keys. Fails if a key index table of any
    /// run could not be opened.
    pub fn over_key(snapshot: &Snapshot, hash: u64) -> Result<Self, ReadError> {
        Self::over(snapshot, true, |_, table| table.may_contain(hash))
    }

    /// Makes a cursor over all memtables and, for each run, the one entry that decides each key. See
    /// `docs/formats/table.md` for the entries that are left out. These can matter only for keys for which
    /// [`may_have_more`] returns true. Fails if a key index table cannot be used.
    pub fn over_heads(snapshot: &Snapshot) -> Result<Self, ReadError> {
        Self::over(snapshot, false, |_, _| true)
    }

    /// Makes a cursor over all entries except those of one run. Fails if a key index table of any run could
    /// not be opened.
    pub fn beside(snapshot: &Snapshot, left_out: RunId) -> Result<Self, ReadError> {
        Self::over(snapshot, true, |run, _| run.run.id != left_out)
    }

    /// Finds the sources with the lowest and the second-lowest key.
    fn settle(&mut self) {
        let mut lowest: Option<(usize, &[u8])> = None;
        let mut second: Option<(usize, &[u8])> = None;
        for (index, source) in self.sources.iter().enumerate() {
            let Some(key) = source.key() else { continue };
            if lowest.is_none_or(|(_, other)| key < other) {
                second = lowest;
                lowest = Some((index, key));
            } else if second.is_none_or(|(_, other)| key < other) {
                second = Some((index, key));
            }
        }
        (self.lowest, self.second) =
            (lowest.map(|(index, _)| index), second.map(|(index, _)| index));
    }

    /// Moves forward to the first entry at or above `target`, in the order of encoded sort keys; never
    /// moves backward. Must be called before any other method. Fails if a source cannot be read.
    pub async fn seek(&mut self, target: &[u8]) -> Result<(), ReadError> {
        for source in &mut self.sources {
            if source.key().is_none_or(|key| key < target) {
                source.seek(target).await?;
            }
        }
        self.settle();
        Ok(())
    }

    /// Returns the encoded sort key of the current entry; `None` at the end or before the first seek.
    pub fn key(&self) -> Option<&[u8]> {
        self.sources[self.lowest?].key()
    }

    /// Returns the current entry; `None` at the end or before the first seek. Fails with corruption if the
    /// key in a run is malformed.
    pub fn standing(&self) -> Result<Option<CursorEntry<'_>>, ReadError> {
        let Some(source) = self.lowest.map(|lowest| &self.sources[lowest]) else { return Ok(None) };
        let Some(encoded) = source.key() else { return Ok(None) };
        let Some(key) = entry_parts(encoded) else {
            return Err(match source {
                EntrySource::Run(source) => source.corruption("an entry's key is malformed"),
                EntrySource::Memtable(_) => unreachable!("the fold made this key itself"),
            });
        };
        Ok(Some(CursorEntry { key, encoded, source }))
    }

    /// Moves to the next entry in the order of sort keys; does nothing at the end. Fails if the current
    /// source cannot be read.
    pub async fn advance(&mut self) -> Result<(), ReadError> {
        let Some(lowest) = self.lowest else { return Ok(()) };
        self.sources[lowest].advance().await?;
        let stays = match (self.sources[lowest].key(), self.second) {
            (Some(key), Some(second)) => {
                self.sources[second].key().is_some_and(|other| key < other)
            }
            (key, None) => key.is_some(),
            (None, Some(_)) => false,
        };
        if !stays {
            self.settle();
        }
        Ok(())
    }

    /// Copies the current entry and moves on, in ascending order of sort keys; `None` at the end. Fails if
    /// an entry cannot be read or decoded.
    pub async fn next(&mut self) -> Result<Option<CursorItem>, ReadError> {
        let Some(item) = self.standing()?.map(|standing| standing.item()).transpose()? else {
            return Ok(None);
        };
        self.advance().await?;
        Ok(Some(item))
    }
}

/// The runs that are searched for more entries of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HistoryScope {
    /// All runs.
    All,
    /// Only the oldest run, below which no entries exist.
    Bottom,
}

/// Returns true if runs in scope may have entries of a key that [`EntryCursor::over_heads`] leaves out.
/// False is certain, true has the filter's error rate. Fails with corruption if a table in scope could not
/// be opened.
pub fn may_have_more(
    snapshot: &Snapshot,
    hash: u64,
    asked: HistoryScope,
) -> Result<bool, ReadError> {
    let runs = &snapshot.view.sealed.runs;
    let count = if asked == HistoryScope::All { runs.len() } else { runs.len().min(1) };
    for run in &runs[..count] {
        let more = run.more.as_ref().map_err(|c| ReadError::Corrupt(c.clone()))?;
        if more.entries() > 0 && more.may_contain(hash) {
            return Ok(true);
        }
    }
    Ok(false)
}
