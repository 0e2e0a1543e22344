//! One ordered stream of state entries over memtables and runs, with `seek`.
//!
//! The sources are merged by key. For each key the newest source decides, and a removed key is left out.
//! Memory: a page of each memtable and a block of each run. A source that cannot be read makes the cursor
//! fail, so a stream never silently leaves out entries.

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

/// The live state entries below an end, in key order. After an error the cursor must not be used again.
pub struct StateCursor {
    /// The sources, newest first.
    sources: Vec<StateSourceCursor>,
    /// The key at which the stream ends, exclusive.
    end: Bytes,
}

/// One source of the merge.
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

/// State entries that are copied from a memtable at a time.
const PAGE: usize = 256;

impl StateSourceCursor {
    /// Returns the key of the current entry; `None` at the end.
    fn head(&self) -> Option<&[u8]> {
        match self {
            StateSourceCursor::Memtable { page, .. } => page.front().map(|(key, _)| key.0.as_ref()),
            StateSourceCursor::Run { cursor, .. } => cursor.key(),
        }
    }

    /// Copies a memtable's next page when the current one is used up.
    fn fill(&mut self, end: &[u8]) {
        if let StateSourceCursor::Memtable { memtable, at, page, next } = self
            && page.is_empty()
            && let Some(from) = next.take()
        {
            let (found, after) = memtable.states_page(&from, end, *at, PAGE);
            (*page, *next) = (found.into(), after);
        }
    }

    /// Moves to the first entry at or above `target`.
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

    /// Returns the current value, `None` for a removal, and moves on. A key must be present.
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
    /// Makes a cursor over the live entries with keys in `[from, end)`, at the first of them. Fails if the
    /// state table of any run is damaged or cannot be read.
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

    /// Moves to the first entry at or above `target`, forward or backward. Fails if a source cannot be
    /// read.
    pub async fn seek(&mut self, target: &[u8]) -> Result<(), ReadError> {
        for source in &mut self.sources {
            source.seek(target, &self.end).await?;
        }
        Ok(())
    }

    /// Returns the next live entry in ascending key order; `None` at the end. Fails if a source cannot be
    /// read, or a value cannot be decoded.
    pub async fn next(&mut self) -> Result<Option<(StateKey, Bytes)>, ReadError> {
        loop {
            let lowest = self.sources.iter().filter_map(StateSourceCursor::head).min();
            let Some(key) = lowest.filter(|key| *key < self.end.as_ref()) else { return Ok(None) };
            let key = Bytes::copy_from_slice(key);
            // Every source with the key moves on; only the first, which is the newest, decides.
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
