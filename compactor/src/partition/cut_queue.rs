//! Cuts between the fold, which meets them, the cutter, which asks for them, and the flush job.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ingest::ids::{CutNumber, Offset, WriterId};
use ingest::time::WallTime;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::memtable::{Memtable, StateChange};
use crate::state::WriterStates;

/// What the fold knew when a memtable was frozen: what the cut writes beside the memtable itself.
#[derive(Clone)]
pub(crate) struct FrozenState {
    pub memtable: Arc<Memtable>,
    pub cut: CutNumber,
    /// Everything below is folded.
    pub next: Offset,
    pub time: WallTime,
    pub writers: WriterStates,
    /// Writers that a state run may still hold and that are forgotten now.
    pub expired: Vec<WriterId>,
    /// Streams under way, and those that have ended.
    pub streams: Vec<StateChange>,
    /// Last writes of buckets since the cut before.
    pub last_writes: Vec<StateChange>,
    /// Hash of the record that made the cut; see [`crate::catalog::Catalog::last`].
    pub last: [u8; 16],
}

/// Memtables that a cut has frozen and that wait for their flush, oldest first.
pub(crate) struct CutQueue {
    waiting: Mutex<VecDeque<FrozenState>>,
    /// Wakes the flush job: a memtable has been frozen.
    has_frozen: Notify,
    /// Records since the last cut.
    records: AtomicU64,
    /// The last cut that the fold has met.
    folded: watch::Sender<CutNumber>,
    /// Wakes the cutter: the memtable may have grown enough, or a flush has made room for the next cut.
    has_grown: Notify,
}

impl CutQueue {
    /// An empty queue behind the catalog's last cut.
    pub fn new(cut: CutNumber) -> Self {
        Self {
            waiting: Mutex::default(),
            has_frozen: Notify::new(),
            records: AtomicU64::new(0),
            folded: watch::Sender::new(cut),
            has_grown: Notify::new(),
        }
    }

    /// Appends what a cut has frozen, and wakes the flush job.
    pub fn push(&self, frozen: FrozenState) {
        let cut = frozen.cut;
        self.waiting.lock().push_back(frozen);
        self.folded.send_replace(cut);
        self.has_frozen.notify_one();
    }

    /// Waits for the oldest frozen memtable. It stays in the queue until [`CutQueue::pop`].
    pub async fn oldest(&self) -> FrozenState {
        loop {
            let waiting = self.waiting.lock().front().cloned();
            match waiting {
                Some(frozen) => return frozen,
                None => self.has_frozen.notified().await,
            }
        }
    }

    /// Removes the oldest frozen memtable: its run is in the catalog.
    pub fn pop(&self) {
        self.waiting.lock().pop_front();
    }

    /// The last cut that the fold has met.
    pub fn folded(&self) -> CutNumber {
        *self.folded.borrow()
    }

    /// Counts one folded record.
    pub fn count_record(&self) {
        self.records.fetch_add(1, Ordering::Relaxed);
    }

    /// Begins to count again, at a cut.
    pub fn reset_records(&self) {
        self.records.store(0, Ordering::Relaxed);
    }

    /// Records since the last cut.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Wakes the cutter.
    pub fn note_growth(&self) {
        self.has_grown.notify_one();
    }

    /// Waits for [`CutQueue::note_growth`]. One call before the wait is remembered.
    pub async fn grown(&self) {
        self.has_grown.notified().await;
    }
}
