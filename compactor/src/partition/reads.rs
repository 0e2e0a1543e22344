//! How a read learns that what it sees is fresh enough.
//!
//! ```text
//!   reads that came while ──► wait for the next one ─┐
//!   a barrier is under way                           ▼
//!   barrier ──► log ──► met by this node's fold ──► all reads that waited for it begin
//! ```
//!
//! Where several nodes write one log, what this node has applied may be old. A *barrier* is a record
//! appended after the read came and met by content in this node's fold: everything acknowledged before the
//! read stands before it. One is under way per partition at a time and serves all reads that came before
//! it was sent. A log that one process writes needs none: what it has acknowledged it has applied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ingest::env::{Fut, Task, timeout};
use ingest::ids::{Offset, Sequence, WriterId};
use ingest::log::{BarrierToken, ReadError};
use ingest::mutant::Mutant;
use ingest::record::RecordId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::context::PartitionContext;
use super::health::Health;
use super::options::ReadConsistency;
use crate::catalog::store::CatalogStore;
use crate::view::Snapshot;

/// Barriers that this node's fold has met, and reads that wait.
pub(crate) struct Barriers {
    demand: Mutex<BarrierDemand>,
    demanded: Notify,
    /// The last round that is over.
    done: ProgressMark<u64>,
    /// The newest barrier met of each process.
    met: Mutex<BTreeMap<WriterId, Sequence>>,
    /// Raised with each barrier met and each batch applied.
    moved: ProgressMark<Offset>,
}

/// How far something has come, and those who wait for it, woken in the order in which they came. A
/// `watch` of tokio wakes many in an order of its own, drawn from no seed: runs would not repeat.
struct ProgressMark<T> {
    at: Mutex<T>,
    moved: Notify,
}

impl<T: Copy> ProgressMark<T> {
    fn new(at: T) -> Self {
        Self { at: Mutex::new(at), moved: Notify::new() }
    }

    fn set(&self, at: T) {
        *self.at.lock() = at;
        self.moved.notify_waiters();
    }

    async fn wait_for(&self, is_far_enough: impl Fn(T) -> bool) {
        loop {
            // Registered before the look, so that no change in between is missed.
            let moved = self.moved.notified();
            let at = *self.at.lock();
            if is_far_enough(at) {
                return;
            }
            moved.await;
        }
    }
}

#[derive(Default)]
struct BarrierDemand {
    /// Rounds that have begun.
    begun: u64,
    /// The highest round that somebody waits for.
    wanted: u64,
}

/// Barriers of so many processes are remembered; then only new ones are.
const MET_MAX: usize = 4096;

impl Barriers {
    pub fn new(at: Offset) -> Self {
        Self {
            demand: Mutex::default(),
            demanded: Notify::new(),
            done: ProgressMark::new(0),
            met: Mutex::default(),
            moved: ProgressMark::new(at),
        }
    }

    /// The fold has met a barrier: everything before it is applied.
    pub fn meet(&self, id: &RecordId) {
        let mut met = self.met.lock();
        if met.len() >= MET_MAX {
            met.clear();
        }
        let newest = met.entry(id.writer).or_default();
        *newest = (*newest).max(id.sequence);
    }

    /// The fold has come so far.
    pub fn applied(&self, at: Offset) {
        self.moved.set(at);
    }

    fn has_met(&self, token: &BarrierToken, applied: Offset) -> bool {
        match token {
            BarrierToken::Below(offset) => applied >= *offset,
            BarrierToken::Record(id) => {
                self.met.lock().get(&id.writer).is_some_and(|newest| *newest >= id.sequence)
            }
        }
    }

    /// Waits until the fold has met a token.
    pub async fn wait(&self, token: BarrierToken) {
        self.moved.wait_for(|applied| self.has_met(&token, applied)).await;
    }

    /// Waits for a round that begins after this was called.
    async fn next_round(&self) {
        let round = {
            let mut demand = self.demand.lock();
            demand.wanted = demand.begun + 1;
            demand.wanted
        };
        self.demanded.notify_one();
        self.done.wait_for(|done| done >= round).await;
    }

    async fn begin_round(&self) -> u64 {
        loop {
            {
                let mut demand = self.demand.lock();
                if demand.wanted > demand.begun {
                    demand.begun += 1;
                    return demand.begun;
                }
            }
            self.demanded.notified().await;
        }
    }
}

/// How long to wait before a barrier that could not be appended is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Reads of one partition: gives a snapshot that is as new as the options promise.
pub(crate) struct Reads {
    context: Arc<PartitionContext>,
    store: Arc<CatalogStore>,
    health: Arc<Health>,
    pub barriers: Barriers,
}

impl Reads {
    /// Begins with a fold that stands where the store's memtable begins.
    pub fn new(store: Arc<CatalogStore>, health: Arc<Health>) -> Self {
        let barriers = Barriers::new(store.applied());
        Self { context: health.context().clone(), store, health, barriers }
    }

    /// Starts the task that appends barriers and waits until they are met.
    pub fn start(self: &Arc<Self>) -> Task {
        let reads = self.clone();
        let task: Fut<'static, ()> = Box::pin(async move {
            loop {
                let round = reads.barriers.begin_round().await;
                let began = reads.context.env.clock.now();
                while let Err(error) = reads.pass().await {
                    tracing::warn!(%error, partition = %reads.context.id, "a barrier was not met");
                    reads.context.env.clock.sleep(RETRY).await;
                }
                let took = reads.context.env.clock.now().since(began).as_micros() as u64;
                reads.context.counters.barriers_met.fetch_add(1, Ordering::Relaxed);
                reads.context.counters.barrier_micros.fetch_add(took, Ordering::Relaxed);
                reads.barriers.done.set(round);
            }
        });
        self.context.env.rt.spawn("barriers", task)
    }

    /// Appends one barrier and waits until the fold has met it.
    async fn pass(&self) -> Result<(), String> {
        let token =
            self.context.log.barrier(self.context.id).await.map_err(|error| error.to_string())?;
        // Acknowledged, it will come; a fold that has stopped never meets it, and says so elsewhere.
        let met = self.barriers.wait(token);
        let limit = self.context.options.read_wait;
        timeout(self.context.env.clock.as_ref(), limit, met)
            .await
            .ok_or_else(|| "it did not come".into())
    }

    /// What a read sees that began now; see [`ReadConsistency`].
    pub async fn fresh(&self) -> Result<Snapshot, ReadError> {
        if let Some(reason) = self.health.quarantined() {
            return Err(self.context.unavailable(reason));
        }
        if self.context.env.mutated(Mutant::ReadWithoutBarrier) {
            return Ok(self.store.snapshot());
        }
        // A fold that has stopped meets no barrier any more, so nothing here can be known to be fresh.
        if self.context.options.reads != ReadConsistency::Applied
            && let Some(reason) = self.health.stopped()
        {
            return Err(self.context.unavailable(reason));
        }
        let waited = match self.context.options.reads {
            ReadConsistency::Applied => return Ok(self.store.snapshot()),
            ReadConsistency::Barrier => {
                let round = self.barriers.next_round();
                timeout(self.context.env.clock.as_ref(), self.context.options.read_wait, round)
                    .await
            }
            ReadConsistency::HighWatermark => {
                let caught_up = async {
                    let end = self.context.log.end(self.context.id).await?;
                    self.barriers.wait(BarrierToken::Below(end)).await;
                    Ok::<_, ReadError>(())
                };
                match timeout(
                    self.context.env.clock.as_ref(),
                    self.context.options.read_wait,
                    caught_up,
                )
                .await
                {
                    Some(caught_up) => Some(caught_up?),
                    None => None,
                }
            }
        };
        match waited {
            Some(()) => Ok(self.store.snapshot()),
            None => {
                let stopped = self.health.stopped();
                let held = || self.health.held();
                Err(self.context.unavailable(stopped.or_else(held).unwrap_or_else(|| {
                    "this node could not learn in time what was written last".into()
                })))
            }
        }
    }

    /// Waits until everything below an offset is applied here.
    pub async fn reach(&self, offset: Offset) -> Result<(), ReadError> {
        let reached = self.barriers.wait(BarrierToken::Below(offset));
        let reached =
            timeout(self.context.env.clock.as_ref(), self.context.options.read_wait, reached).await;
        let late = || {
            self.context.unavailable(format!("this node has not come to offset {offset} in time"))
        };
        reached.ok_or_else(late)
    }
}
