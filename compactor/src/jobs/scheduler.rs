//! The scheduler of merges and garbage collection: starts the merges that the policy chooses, within the
//! budget.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ingest::env::{Fut, Task, timeout};
use ingest::ids::RunId;
use ingest::place::Place;
use ingest::time::Tick;
use parking_lot::Mutex;

use super::board::{JobBoard, JobKind};
use super::error::JobError;
use super::gc::GarbageCollector;
use super::merge::Merger;
use super::policy::{MergeBudget, MergeChoice, choose, choose_whole};
use super::signals::{FullMerge, MergeSignals};
use crate::catalog::store::CatalogStore;
use crate::partition::context::PartitionContext;
use crate::partition::health::Health;

/// The longest wait for a new run before garbage collection runs again: a reader may have released a file
/// without a signal.
const TICK: Duration = Duration::from_secs(5);
/// The time for which runs rest after their merge failed.
const RETRY: Duration = Duration::from_secs(10);

/// Schedules the merges and the garbage collection of one partition.
pub(crate) struct Scheduler {
    pub context: Arc<PartitionContext>,
    pub store: Arc<CatalogStore>,
    pub health: Arc<Health>,
    pub signals: Arc<MergeSignals>,
    pub board: Arc<JobBoard>,
    pub merger: Arc<Merger>,
    pub gc: GarbageCollector,
}

/// Merges that have ended since the scheduler's last look, with their results.
type EndedMerges = Arc<Mutex<Vec<(Vec<RunId>, Result<(), JobError>)>>>;

#[derive(Default)]
/// The scheduler's merges.
struct Merges {
    running: Vec<(MergeChoice, Task)>,
    /// The runs of the requested merge of all runs, while it runs.
    whole: Option<Vec<RunId>>,
    /// Runs whose merge failed, and the time at which they began to rest.
    resting: Vec<(Vec<RunId>, Tick)>,
    ended: EndedMerges,
}

impl Scheduler {
    /// Starts the scheduler's task, on its own thread if the runtime has threads. Dropping the task cancels
    /// the merges that it has started; the next start removes their files.
    pub fn start(self) -> Task {
        let env = self.context.env.clone();
        let task: Fut<'static, ()> = Box::pin(async move { self.run().await });
        env.rt.spawn_dedicated("compaction", task)
    }

    /// Starts merges while the policy chooses any; otherwise collects garbage and waits for a signal.
    async fn run(&self) {
        let mut merges = Merges::default();
        loop {
            self.take_ended(&mut merges).await;
            if self.start_merges(&mut merges).await == 0 {
                if merges.running.is_empty() && merges.resting.is_empty() {
                    self.health.merges.done();
                }
                self.store.reopen_damaged().await;
                self.gc.collect().await;
                let clock = self.context.env.clock.as_ref();
                let _ = timeout(clock, TICK, self.signals.changed()).await;
            }
        }
    }

    /// Removes ended merges from the running ones. The runs of a failed merge rest. The files of the failed
    /// merge are collected at once, since a full device needs the space for the next try.
    async fn take_ended(&self, merges: &mut Merges) {
        let now = self.context.env.clock.now();
        merges.resting.retain(|(_, since)| now.since(*since) < RETRY);
        let ended = std::mem::take(&mut *merges.ended.lock());
        for (runs, result) in ended {
            merges.running.retain(|(choice, _)| choice.plan.runs != runs);
            if merges.whole.as_ref() == Some(&runs) {
                merges.whole = None;
                self.signals.end_whole(match &result {
                    Ok(()) => FullMerge::Done,
                    Err(error) => FullMerge::Failed(error.to_string()),
                });
            } else if let Err(error) = &result {
                tracing::error!(%error, ?runs, "runs could not be merged; trying again later");
                self.health.merges.fail(error);
                merges.resting.push((runs, now));
            } else {
                self.health.merges.done();
            }
            if result.is_err() {
                self.store.reopen_damaged().await;
                self.gc.collect().await;
            }
        }
    }

    /// Starts the merges that the policy chooses now; returns their number. A requested merge of all runs
    /// goes first.
    async fn start_merges(&self, merges: &mut Merges) -> usize {
        let options = &self.context.options;
        let runs = self.store.view().sealed.catalog.runs.clone();
        if self.signals.wants_whole() && merges.whole.is_none() {
            // The requested merge reads all runs, so running merges must end before.
            if !merges.running.is_empty() {
                return 0;
            }
            let Some(choice) = choose_whole(options.merge_fan_in, &runs) else {
                self.signals.end_whole(FullMerge::Done);
                return 0;
            };
            merges.whole = Some(choice.plan.runs.clone());
            self.start_merge(merges, choice);
            return 1;
        }
        let running: Vec<MergeChoice> =
            merges.running.iter().map(|(choice, _)| choice.clone()).collect();
        let resting: BTreeSet<RunId> =
            merges.resting.iter().flat_map(|(runs, _)| runs.iter().copied()).collect();
        // One merge may always run; the free space matters only for a second one.
        let free_bytes = match running.is_empty() {
            true => None,
            false => self.context.env.disk.free_bytes(Place::Hot).await.ok(),
        };
        let budget = MergeBudget { merges_max: options.merges_max, free_bytes };
        let (policy, fan_in) = (options.compaction, options.merge_fan_in);
        let chosen = choose(policy, fan_in, &runs, &running, &resting, budget);
        let count = chosen.len();
        for choice in chosen {
            self.start_merge(merges, choice);
        }
        count
    }

    /// Starts one merge on its own thread if the runtime has threads.
    fn start_merge(&self, merges: &mut Merges, choice: MergeChoice) {
        let job = self.board.begin(
            JobKind::Compaction,
            choice.reason.clone(),
            (choice.entries, choice.bytes),
        );
        let (merger, signals) = (self.merger.clone(), self.signals.clone());
        let (plan, ended) = (choice.plan.clone(), merges.ended.clone());
        let task: Fut<'static, ()> = Box::pin(async move {
            let result = merger.merge(&plan).await;
            job.end(&result);
            ended.lock().push((plan.runs, result));
            signals.note_merge();
        });
        let task = self.context.env.rt.spawn_dedicated("merge", task);
        merges.running.push((choice, task));
    }
}
