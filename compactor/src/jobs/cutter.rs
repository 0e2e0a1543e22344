//! The cutter: requests a cut when the memtable is large or old, or when many records follow the last cut.

use std::sync::Arc;
use std::time::Duration;

use ingest::env::{Fut, Task, timeout};

use super::board::{JobBoard, JobKind};
use crate::catalog::store::CatalogStore;
use crate::partition::context::PartitionContext;
use crate::partition::cut_queue::CutQueue;
use crate::partition::error::SubmitError;
use crate::partition::health::Health;
use crate::partition::intake::Intake;
use crate::partition::options::FROZEN_MAX;

/// The number of entries from which on a cut is requested while the log is short of space.
const SHORT_ENTRIES: usize = 256;

/// Requests cuts for one partition.
pub(crate) struct Cutter {
    pub context: Arc<PartitionContext>,
    pub store: Arc<CatalogStore>,
    pub health: Arc<Health>,
    pub cuts: Arc<CutQueue>,
    pub intake: Arc<Intake>,
    pub board: Arc<JobBoard>,
}

impl Cutter {
    /// Starts the task that requests cuts by [`crate::partition::CutPolicy`] until the fold stops. A cut
    /// that cannot be requested is logged, and requested again at a later tick.
    pub fn start(self) -> Task {
        let env = self.context.env.clone();
        let task: Fut<'static, ()> = Box::pin(async move { self.run().await });
        env.rt.spawn("cutter", task)
    }

    /// Decides at each growth of the memtable, and at least eight times within the age limit.
    async fn run(&self) {
        let age = self.context.options.cut.age;
        let clock = &self.context.env.clock;
        let mut dirty_since = None;
        let tick = (age / 8).max(Duration::from_millis(10));
        loop {
            let _ = timeout(clock.as_ref(), tick, self.cuts.grown()).await;
            if self.health.is_stopped() {
                return;
            }
            let now = clock.now();
            let view = self.store.view();
            let (is_dirty, has_place) = (!view.memtable.is_empty(), view.frozen.len() < FROZEN_MAX);
            drop(view);
            dirty_since = is_dirty.then(|| dirty_since.unwrap_or(now));
            let is_old = dirty_since.is_some_and(|since| now.since(since) >= age);
            let reason = self.reason().or((is_old && has_place).then_some("age"));
            if let Some(reason) = reason
                && let Err(error) = self.cut(reason).await
            {
                tracing::warn!(%error, "a cut could not be requested");
            } else if is_old {
                dirty_since = None;
            }
        }
    }

    /// Requests a cut, and reports the request on the board with its reason.
    async fn cut(&self, reason: &str) -> Result<(), SubmitError> {
        let memtable = self.store.memtable();
        let size = (memtable.len() as u64, memtable.bytes());
        let job = self.board.begin(JobKind::Cut, reason.to_owned(), size);
        let requested = self.intake.request_cut().await;
        job.end(&requested);
        requested
    }

    /// Returns the reason for a cut now: the memtable has many bytes or entries, or a start would have to
    /// replay many records. `None` while the largest allowed number of frozen memtables waits for flushes.
    fn reason(&self) -> Option<&'static str> {
        let is_short = self.context.log.status(self.context.id).is_short;
        let view = self.store.view();
        let policy = &self.context.options.cut;
        // While the log is short of space, only a cut frees space again. The cut's own record needs space
        // too, so the cutter must not wait until none is left.
        let entries = if is_short { policy.entries.min(SHORT_ENTRIES) } else { policy.entries };
        if view.frozen.len() >= FROZEN_MAX {
            return None;
        }
        let reasons = [
            (view.memtable.bytes() >= policy.bytes, "bytes"),
            (view.memtable.len() >= entries, "entries"),
            (self.cuts.records() >= policy.records, "records"),
        ];
        reasons.into_iter().find(|(holds, _)| *holds).map(|(_, reason)| reason)
    }
}
