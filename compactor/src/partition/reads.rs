//! Freshness of reads: how a read learns that its snapshot contains every acknowledged write.
//!
//! ```text
//!   reads that came while ──► wait for the next one ─┐
//!   a barrier is under way                           ▼
//!   barrier ──► log ──► met by this node's fold ──► all reads that waited for it begin
//! ```
//!
//! If several nodes write one log, the applied state of this node may be old. A *barrier* is a record that
//! is appended after the read began, and that this node's fold then meets: everything that was acknowledged
//! before the read is before the barrier. Each partition has one barrier under way at a time, which serves
//! all reads that began before it was sent. A log with a single writing process needs no barrier, because
//! acknowledged records are applied.

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

/// Barriers that this node's fold has met, and the demand of reads for new ones.
pub(crate) struct Barriers {
    demand: Mutex<BarrierDemand>,
    demanded: Notify,
    /// The last round that has ended.
    done: ProgressMark<u64>,
    /// The newest barrier that was met of each process.
    met: Mutex<BTreeMap<WriterId, Sequence>>,
    /// The applied offset, set after each batch; waiting reads then look for their barrier.
    moved: ProgressMark<Offset>,
}

/// A value that advances, and tasks that wait for it, woken in the order of their waits. A `watch` of tokio
/// wakes many tasks in an order that no seed determines, so simulated runs would not repeat.
struct ProgressMark<T> {
    at: Mutex<T>,
    moved: Notify,
}

impl<T: Copy> ProgressMark<T> {
    fn new(at: T) -> Self {
        Self { at: Mutex::new(at), moved: Notify::new() }
    }

    /// Sets the value and wakes every waiting task.
    fn set(&self, at: T) {
        *self.at.lock() = at;
        self.moved.notify_waiters();
    }

    /// Waits until the value satisfies the condition.
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
/// Rounds of barriers that were begun and requested.
struct BarrierDemand {
    /// The number of rounds that have begun.
    begun: u64,
    /// The highest round for which a read waits.
    wanted: u64,
}

/// The number of processes whose barriers are remembered; at the limit all are forgotten.
const MET_MAX: usize = 4096;

impl Barriers {
    /// Begins with a fold that has applied everything below `at`.
    pub fn new(at: Offset) -> Self {
        Self {
            demand: Mutex::default(),
            demanded: Notify::new(),
            done: ProgressMark::new(0),
            met: Mutex::default(),
            moved: ProgressMark::new(at),
        }
    }

    /// Notes a barrier that the fold has met: everything before it is applied. Called by the fold, which
    /// wakes waiting reads later, by [`Barriers::applied`].
    pub fn meet(&self, id: &RecordId) {
        let mut met = self.met.lock();
        if met.len() >= MET_MAX {
            met.clear();
        }
        let newest = met.entry(id.writer).or_default();
        *newest = (*newest).max(id.sequence);
    }

    /// Notes the offset below which the fold has applied everything, and wakes waiting reads. Called by the
    /// fold after each batch.
    pub fn applied(&self, at: Offset) {
        self.moved.set(at);
    }

    /// Returns true if the fold has met a token.
    fn has_met(&self, token: &BarrierToken, applied: Offset) -> bool {
        match token {
            BarrierToken::Below(offset) => applied >= *offset,
            BarrierToken::Record(id) => {
                self.met.lock().get(&id.writer).is_some_and(|newest| *newest >= id.sequence)
            }
        }
    }

    /// Waits until the fold has met a token, without a limit. May be cancelled.
    pub async fn wait(&self, token: BarrierToken) {
        self.moved.wait_for(|applied| self.has_met(&token, applied)).await;
    }

    /// Waits for the end of a round that begins after this call.
    async fn next_round(&self) {
        let round = {
            let mut demand = self.demand.lock();
            demand.wanted = demand.begun + 1;
            demand.wanted
        };
        self.demanded.notify_one();
        self.done.wait_for(|done| done >= round).await;
    }

    /// Waits until a read requests a round, and begins it; returns its number.
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

/// The pause before a barrier that could not be appended is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Serves snapshots that are as new as the options promise.
pub(crate) struct Reads {
    context: Arc<PartitionContext>,
    store: Arc<CatalogStore>,
    health: Arc<Health>,
    pub barriers: Barriers,
}

impl Reads {
    /// Begins with a fold that stands at the start of the store's memtable.
    pub fn new(store: Arc<CatalogStore>, health: Arc<Health>) -> Self {
        let barriers = Barriers::new(store.applied());
        Self { context: health.context().clone(), store, health, barriers }
    }

    /// Starts the task that appends barriers and waits until the fold meets them, one round at a time. A
    /// failed barrier is tried again after 100 ms.
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

    /// Appends one barrier and waits until the fold has met it, at most the wait of a read.
    async fn pass(&self) -> Result<(), String> {
        let token =
            self.context.log.barrier(self.context.id).await.map_err(|error| error.to_string())?;
        // An acknowledged barrier will be met, unless the fold has stopped, which reads check by
        // themselves.
        let met = self.barriers.wait(token);
        let limit = self.context.options.read_wait;
        timeout(self.context.env.clock.as_ref(), limit, met)
            .await
            .ok_or_else(|| "the fold did not meet it in time".into())
    }

    /// Returns a snapshot for a read that begins now, as new as [`ReadConsistency`] promises. Fails with
    /// [`ReadError::Unavailable`] if the copy is quarantined, the fold has stopped, or the wait exceeds
    /// [`super::PartitionOptions::read_wait`]. May be cancelled.
    pub async fn fresh(&self) -> Result<Snapshot, ReadError> {
        if let Some(reason) = self.health.quarantined() {
            return Err(self.context.unavailable(reason));
        }
        if self.context.env.mutated(Mutant::ReadWithoutBarrier) {
            return Ok(self.store.snapshot());
        }
        // A stopped fold meets no barrier, so no snapshot can be known to be fresh.
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

    /// Waits until everything below an offset is applied on this node. Fails with
    /// [`ReadError::Unavailable`] after [`super::PartitionOptions::read_wait`]. May be cancelled.
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
