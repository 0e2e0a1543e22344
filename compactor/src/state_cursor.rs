//! One ordered stream over the state of memtables and runs, with `seek`.
//!
//! The sources are merged by key; of one key the newest source decides, and what it says is removed is not
//! there. Memory: a page of each memtable and a block of each run. A source that cannot be read makes the
//! cursor fail: a stream is never silently short.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use ingest::ids::Offset;
use ingest::log::ReadError;

use crate::memtable::{Memtable, StateChange};
use crate::state::StateKey;
use crate::state_value::decode_state_value;
use crate::table::TableCursor;
use crate::view::Snapshot;

/// The live state entries up to an end, in order.
pub struct StateCursor {
    /// Newest first.
    sources: Vec<StateSourceCursor>,
    /// Above everything that is wanted.
    end: Bytes,
}

enum StateSourceCursor {
    Memtable {
        memtable: Arc<Memtable>,
        at: Offset,
        page: VecDeque<StateChange>,
        next: Option<Bytes>,
    },
    Run {
        cursor: TableCursor,
        run: u64,
    },
}

/// State entries that are taken from a memtable at a time.
const PAGE: usize = 256;

impl StateSourceCursor {
    fn head(&self) -> Option<&[u8]> {
        match self {
            StateSourceCursor::Memtable { page, .. } => page.front().map(|(key, _)| key.0.as_ref()),
            StateSourceCursor::Run { cursor, .. } => cursor.key(),
        }
    }

    /// Takes a memtable's next page when the last one is used up.
    fn fill(&mut self, end: &[u8]) {
        if let StateSourceCursor::Memtable { memtable, at, page, next } = self
            && page.is_empty()
            && let Some(from) = next.take()
        {
            let (found, after) = memtable.states_page(&from, end, *at, PAGE);
            (*page, *next) = (found.into(), after);
        }
    }

    async fn seek(&mut self, target: &[u8], end: &[u8]) -> Result<(), ReadError> {
        match self {
            StateSourceCursor::Memtable { page, next, .. } => {
                page.clear();
                *next = Some(Bytes::copy_from_slice(target));
            }
            StateSourceCursor::Run { cursor, .. } => cursor.seek(target).await?,
        }
        self.fill(end);
        Ok(())
    }

    /// Takes the value it stands at, none for a removal, and goes on.
    async fn take(&mut self, end: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let value = match self {
            StateSourceCursor::Memtable { page, .. } => {
                page.pop_front().and_then(|(_, value)| value)
            }
            StateSourceCursor::Run { cursor, run } => {
                let value = cursor.value_bytes().expect("a cursor with a key has a value");
                cursor.advance().await?;
                decode_state_value(value, *run)?
            }
        };
        self.fill(end);
        Ok(value)
    }
}

impl StateCursor {
    /// The entries with keys in `[from, end)`.
    pub async fn new(snapshot: &Snapshot, from: &[u8], end: &[u8]) -> Result<Self, ReadError> {
        let memtables = snapshot.memtables().map(|(memtable, at)| StateSourceCursor::Memtable {
            memtable: memtable.clone(),
            at,
            page: VecDeque::new(),
            next: None,
        });
        let mut sources: Vec<StateSourceCursor> = memtables.collect();
        for run in snapshot.view.sealed.runs.iter().rev() {
            let table = run.state.as_ref().map_err(|c| ReadError::Corrupt(c.clone()))?;
            let (cursor, run) = (table.cursor(), run.run.id.get());
            sources.push(StateSourceCursor::Run { cursor, run });
        }
        let mut all = Self { sources, end: Bytes::copy_from_slice(end) };
        all.seek(from).await?;
        Ok(all)
    }

    /// Goes to the first entry at or above `target`.
    pub async fn seek(&mut self, target: &[u8]) -> Result<(), ReadError> {
        for source in &mut self.sources {
            source.seek(target, &self.end).await?;
        }
        Ok(())
    }

    /// The next entry.
    pub async fn next(&mut self) -> Result<Option<(StateKey, Bytes)>, ReadError> {
        loop {
            let lowest = self.sources.iter().filter_map(StateSourceCursor::head).min();
            let Some(key) = lowest.filter(|key| *key < self.end.as_ref()) else { return Ok(None) };
            let key = Bytes::copy_from_slice(key);
            let mut newest: Option<Option<Bytes>> = None;
            for source in &mut self.sources {
                if source.head() == Some(key.as_ref()) {
                    let value = source.take(&self.end).await?;
                    newest.get_or_insert(value);
                }
            }
            if let Some(Some(value)) = newest {
                return Ok(Some((StateKey(key), value)));
            }
        }
    }
}
