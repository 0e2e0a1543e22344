//! The queue of cuts between the fold, which freezes memtables, the cutter, which requests cuts, and the
//! flush job.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ingest::ids::{CutNumber, Offset, WriterId};
use ingest::time::WallTime;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::memtable::{Memtable, StateChange};
use crate::state::{EventFloors, WriterStates};

/// The fold's state at the freeze of a memtable, which the flush writes beside the memtable.
#[derive(Clone)]
pub(crate) struct FrozenState {
    pub memtable: Arc<Memtable>,
    pub cut: CutNumber,
    /// The offset below which every record is folded.
    pub next: Offset,
    pub time: WallTime,
    pub writers: WriterStates,
    /// Writers that a state table may still have and that expire with this cut.
    pub expired: Vec<WriterId>,
    /// Open streams, and removals of those that have ended.
    pub streams: Vec<StateChange>,
    /// The last writes of buckets since the cut before.
    pub last_writes: Vec<StateChange>,
    /// The queues of events that have changed since the cut before.
    pub event_queues: Vec<StateChange>,
    /// The positions below which events are not needed any more.
    pub event_floors: EventFloors,
    /// The hash of the record that made the cut; see [`crate::catalog::Catalog::last`].
    pub last: [u8; 16],
}

/// Frozen memtables that wait for their flush, oldest first.
pub(crate) struct CutQueue {
    waiting: Mutex<VecDeque<FrozenState>>,
    /// Wakes the flush job after a memtable has been frozen.
    has_frozen: Notify,
    /// Records since the last cut.
    records: AtomicU64,
    /// The last cut that the fold has met.
    folded: watch::Sender<CutNumber>,
    /// Wakes the cutter after the memtable has grown or a flush has freed a place in the queue.
    has_grown: Notify,
}

impl CutQueue {
    /// Makes an empty queue after the catalog's last cut.
    pub fn new(cut: CutNumber) -> Self {
        Self {
            waiting: Mutex::default(),
            has_frozen: Notify::new(),
            records: AtomicU64::new(0),
            folded: watch::Sender::new(cut),
            has_grown: Notify::new(),
        }
    }

    /// Appends the state that a cut has frozen, and wakes the flush job. Called by the fold only, in the
    /// order of cuts.
    pub fn push(&self, frozen: FrozenState) {
        let cut = frozen.cut;
        self.waiting.lock().push_back(frozen);
        self.folded.send_replace(cut);
        self.has_frozen.notify_one();
    }

    /// Waits for the oldest frozen memtable, which stays in the queue until [`CutQueue::pop`], so that a
    /// failed flush meets it again. May be cancelled. Called by the flush job only.
    pub async fn oldest(&self) -> FrozenState {
        loop {
            let waiting = self.waiting.lock().front().cloned();
            match waiting {
                Some(frozen) => return frozen,
                None => self.has_frozen.notified().await,
            }
        }
    }

    /// Removes the oldest frozen memtable. Called by the flush job only, after the catalog with its run is
    /// published.
    pub fn pop(&self) {
        self.waiting.lock().pop_front();
    }

    /// Returns the last cut that the fold has met, published or not.
    pub fn folded(&self) -> CutNumber {
        *self.folded.borrow()
    }

    /// Counts one folded record; repeated and rejected records count too, since a start replays them.
    pub fn count_record(&self) {
        self.records.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the count of records to 0. Called by the fold only, at a cut.
    pub fn reset_records(&self) {
        self.records.store(0, Ordering::Relaxed);
    }

    /// Returns the number of records that were folded since the last cut.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Wakes the cutter, after records were applied or a flush has ended. Never blocks; several calls may
    /// wake it once.
    pub fn note_growth(&self) {
        self.has_grown.notify_one();
    }

    /// Waits for [`CutQueue::note_growth`]. One call before the wait is remembered. May be cancelled.
    /// Called by the cutter only.
    pub async fn grown(&self) {
        self.has_grown.notified().await;
    }
}
