//! One ordered stream over memtables and runs, with `seek`.
//!
//! The sources are merged by sort key; judging visibility is the caller's (it needs whole groups, and
//! reads, merges and emptiness checks want different things of them). A source that cannot be read
//! makes the cursor fail: a stream is never silently short.
//!
//! The cursor stands at an entry, whose parts are looked at in place: a listing looks at millions of keys and
//! keeps few of them.

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

/// An entry, taken out of the stream.
#[derive(Clone, Debug)]
pub struct CursorItem {
    /// Its sort key.
    pub key: EntryKey,
    /// What it states.
    pub what: EntryData,
}

impl CursorItem {
    /// Its shape, for [`crate::visibility::Visibility`].
    pub fn shape(&self) -> EntryShape {
        self.what.shape()
    }

    /// Whether it is an object (and not a marker or a removal).
    pub fn is_object(&self) -> bool {
        self.what.kind() == IndexValueKind::Object
    }
}

/// The ordered stream.
pub struct EntryCursor {
    sources: Vec<EntrySource>,
    /// The source whose entry comes first; none at the end.
    lowest: Option<usize>,
    /// Of the others the one whose entry comes first: as long as the lowest stays below it, the rest need
    /// not be asked.
    second: Option<usize>,
}

enum EntrySource {
    Memtable(MemtableSource),
    Run(RunSource),
}

struct MemtableSource {
    memtable: Arc<Memtable>,
    at: Offset,
    buffer: std::collections::VecDeque<(EntryKey, EntryValue)>,
    /// Where the next chunk begins; none at the end.
    next: Option<Bytes>,
    /// Seeks may fall densely, so a chunk begins small and grows while reading goes straight on.
    chunk: usize,
}

struct RunSource {
    run: Arc<OpenRun>,
    cursor: TableCursor,
    /// Whether nothing lies below the run.
    is_bottom: bool,
}

const CHUNK_MIN: usize = 8;
const CHUNK_MAX: usize = 256;

impl MemtableSource {
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
    fn corruption(&self, detail: impl ToString) -> ReadError {
        ReadError::Corrupt(Corruption {
            file: format!("key index of run {}", self.run.run.id),
            position: self.cursor.position(),
            detail: detail.to_string(),
        })
    }
}

impl EntrySource {
    fn key(&self) -> Option<&[u8]> {
        match self {
            EntrySource::Memtable(source) => {
                source.buffer.front().map(|(key, _)| key.as_bytes().as_ref())
            }
            EntrySource::Run(source) => source.cursor.key(),
        }
    }

    async fn seek(&mut self, target: &[u8]) -> Result<(), ReadError> {
        match self {
            EntrySource::Memtable(source) => source.seek(target),
            EntrySource::Run(source) => source.cursor.seek(target).await?,
        }
        Ok(())
    }

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

/// The entry that a cursor stands at.
pub struct CursorEntry<'a> {
    /// Its sort key, taken apart.
    pub key: EntryParts<'a>,
    encoded: &'a [u8],
    source: &'a EntrySource,
}

impl CursorEntry<'_> {
    /// What it states, copied.
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

    /// What kind of statement it is, and whether about version `null`, without looking at the rest.
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

    /// Whether nothing lies below the run that it stands in.
    pub fn is_bottom(&self) -> bool {
        matches!(self.source, EntrySource::Run(RunSource { is_bottom: true, .. }))
    }

    /// The entry, to keep.
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
    /// Makes a cursor over the snapshot's memtables and those tables of its runs' key indexes that `wanted`
    /// picks. It stands nowhere until [`EntryCursor::seek`].
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

    /// Makes a cursor over everything.
    pub fn over_all(snapshot: &Snapshot) -> Result<Self, ReadError> {
        Self::over(snapshot, true, |_, _| true)
    }

    /// Makes a cursor over what may say something about a key, by its hash.
    pub fn over_key(snapshot: &Snapshot, hash: u64) -> Result<Self, ReadError> {
        Self::over(snapshot, true, |_, table| table.may_contain(hash))
    }

    /// Makes a cursor over the entry that decides each key in each run, and all of the memtables. See
    /// `docs/formats/table.md`: what it leaves out matters only where [`may_have_more`] says so.
    pub fn over_heads(snapshot: &Snapshot) -> Result<Self, ReadError> {
        Self::over(snapshot, false, |_, _| true)
    }

    /// Makes a cursor over everything but one run.
    pub fn beside(snapshot: &Snapshot, left_out: RunId) -> Result<Self, ReadError> {
        Self::over(snapshot, true, |run, _| run.run.id != left_out)
    }

    /// Finds the lowest and the second.
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

    /// Goes forward to the first entry at or above `target`; never backward.
    pub async fn seek(&mut self, target: &[u8]) -> Result<(), ReadError> {
        for source in &mut self.sources {
            if source.key().is_none_or(|key| key < target) {
                source.seek(target).await?;
            }
        }
        self.settle();
        Ok(())
    }

    /// The encoded sort key of the entry that it stands at; none at the end.
    pub fn key(&self) -> Option<&[u8]> {
        self.sources[self.lowest?].key()
    }

    /// The entry that it stands at; none at the end.
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

    /// Goes to the next entry.
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

    /// Takes the next entry.
    pub async fn next(&mut self) -> Result<Option<CursorItem>, ReadError> {
        let Some(item) = self.standing()?.map(|standing| standing.item()).transpose()? else {
            return Ok(None);
        };
        self.advance().await?;
        Ok(Some(item))
    }
}

/// Which runs are asked whether they say more of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HistoryScope {
    /// All.
    All,
    /// The one below which nothing lies.
    Bottom,
}

/// Whether runs may say more about a key than [`EntryCursor::over_heads`] shows.
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
