//! One ordered stream over tails and runs, with `seek`.
//!
//! The sources are merged by sort key; judging visibility is the caller's (it needs whole groups, and
//! reads, merges and emptiness checks want different things of them). A source that cannot be read
//! makes the cursor fail: a stream is never silently short.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use ingest::codec::Decoder;
use ingest::entry::{EntryKey, Statement};
use ingest::log::{Corruption, ReadError};
use ingest::words::Offset;

use crate::listed::{Kind, Listed};
use crate::table::TableCursor;
use crate::tail::Tail;
use crate::view::{OpenRun, Snapshot, What};
use crate::visible::Shape;

/// One entry of the stream.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its sort key.
    pub key: EntryKey,
    /// What it states.
    pub what: What,
}

impl Item {
    /// Its shape, for [`crate::visible::Visibility`].
    pub fn shape(&self) -> Shape {
        match &self.what {
            What::Tail(statement) => Shape::of(statement),
            What::Run(listed) => match listed.kind {
                Kind::Object | Kind::Marker => Shape::Version(listed.is_null),
                Kind::Removed => Shape::Removed,
                Kind::NullRemoved => Shape::NullRemoved,
            },
        }
    }

    /// Whether it is an object (and not a marker or a removal).
    pub fn is_object(&self) -> bool {
        match &self.what {
            What::Tail(statement) => matches!(statement, Statement::Object(_)),
            What::Run(listed) => listed.kind == Kind::Object,
        }
    }
}

/// The ordered stream.
pub struct Cursor {
    sources: Vec<Source>,
}

enum Source {
    Tail(TailSource),
    Run(RunSource),
}

struct TailSource {
    tail: Arc<Tail>,
    at: Offset,
    buffer: VecDeque<(EntryKey, Statement)>,
    /// Where the next chunk begins; none at the end.
    next: Option<Bytes>,
    /// Seeks may fall densely, so a chunk begins small and grows while reading goes straight on.
    chunk: usize,
}

struct RunSource {
    run: Arc<OpenRun>,
    cursor: TableCursor,
    head: Option<EntryKey>,
}

const CHUNK_MIN: usize = 8;
const CHUNK_MAX: usize = 256;

impl TailSource {
    fn fill(&mut self) {
        while self.buffer.is_empty() {
            let Some(from) = self.next.take() else { return };
            let (found, next) = self.tail.entries(&from, self.at, self.chunk);
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
    fn read_head(&mut self) -> Result<(), ReadError> {
        self.head = match self.cursor.key() {
            Some(key) => Some(EntryKey::from_bytes(key).map_err(|e| self.corruption(&e))?),
            None => None,
        };
        Ok(())
    }

    fn corruption(&self, error: &ingest::codec::DecodeError) -> ReadError {
        ReadError::Corrupt(Corruption {
            file: format!("key index of run {}", self.run.run.id),
            position: self.cursor.position(),
            detail: error.to_string(),
        })
    }
}

impl Source {
    fn head(&self) -> Option<&EntryKey> {
        match self {
            Source::Tail(source) => source.buffer.front().map(|(key, _)| key),
            Source::Run(source) => source.head.as_ref(),
        }
    }

    async fn seek(&mut self, target: &[u8]) -> Result<(), ReadError> {
        match self {
            Source::Tail(source) => source.seek(target),
            Source::Run(source) => {
                source.cursor.seek(target).await?;
                source.read_head()?;
            }
        }
        Ok(())
    }

    async fn take(&mut self) -> Result<Option<Item>, ReadError> {
        match self {
            Source::Tail(source) => {
                let taken = source.buffer.pop_front();
                source.fill();
                Ok(taken.map(|(key, statement)| Item { key, what: What::Tail(statement) }))
            }
            Source::Run(source) => {
                let Some(key) = source.head.take() else { return Ok(None) };
                let value = source.cursor.value().expect("a cursor with a key has a value");
                let listed =
                    Listed::decode(&mut Decoder::new(value)).map_err(|e| source.corruption(&e))?;
                source.cursor.advance().await?;
                source.read_head()?;
                Ok(Some(Item { key, what: What::Run(listed) }))
            }
        }
    }
}

impl Cursor {
    /// Makes a cursor over the snapshot's tails and those of its runs that `wanted` picks. It stands
    /// nowhere until [`Cursor::seek`].
    pub fn new(
        snapshot: &Snapshot,
        wanted: impl Fn(&OpenRun) -> Result<bool, ReadError>,
    ) -> Result<Self, ReadError> {
        let mut sources = Vec::new();
        for (tail, at) in snapshot.tails() {
            sources.push(Source::Tail(TailSource {
                tail: tail.clone(),
                at,
                buffer: VecDeque::new(),
                next: Some(Bytes::new()),
                chunk: CHUNK_MIN,
            }));
        }
        for run in snapshot.view.sealed.runs.iter().rev() {
            if !wanted(run)? {
                continue;
            }
            let keys = run.keys.as_ref().map_err(|c| ReadError::Corrupt(c.clone()))?;
            sources.push(Source::Run(RunSource {
                run: run.clone(),
                cursor: keys.cursor(),
                head: None,
            }));
        }
        Ok(Self { sources })
    }

    /// Makes a cursor over everything.
    pub fn over_all(snapshot: &Snapshot) -> Result<Self, ReadError> {
        Self::new(snapshot, |_| Ok(true))
    }

    /// Goes forward to the first entry at or above `target`; never backward.
    pub async fn seek(&mut self, target: &[u8]) -> Result<(), ReadError> {
        for source in &mut self.sources {
            if source.head().is_none_or(|head| head.as_bytes().as_ref() < target) {
                source.seek(target).await?;
            }
        }
        Ok(())
    }

    /// The key that [`Cursor::next`] will give.
    pub fn peek(&self) -> Option<&EntryKey> {
        self.sources.iter().filter_map(Source::head).min()
    }

    /// Takes the next entry.
    pub async fn next(&mut self) -> Result<Option<Item>, ReadError> {
        let heads = self.sources.iter().enumerate();
        let lowest = heads
            .filter_map(|(index, source)| source.head().map(|head| (head, index)))
            .min_by(|(a, _), (b, _)| a.cmp(b))
            .map(|(_, index)| index);
        match lowest {
            Some(index) => self.sources[index].take().await,
            None => Ok(None),
        }
    }
}
