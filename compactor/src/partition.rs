//! One partition at work: records go in, are folded in order, and answered.
//!
//! ```text
//!   submit ──admit, append──► log ──reader──► fold: resolve, apply ──► memtable ──► outcome to submit
//!                                               │ CUT record
//!                                               └► freeze ──► flush ──► merge ──► garbage collection
//! ```
//!
//! A write is answered when it is durable *and* applied, with the outcome that `apply` gave it, so that
//! whoever reads after the answer sees it. There is no state beside the memtable and the catalog: opening
//! reads the catalog, replays the log from its cut, and is done.

mod claims;
pub(crate) mod context;
pub(crate) mod cut_queue;
mod digests;
pub mod error;
mod failure_count;
mod fold;
pub(crate) mod health;
mod hold;
pub(crate) mod intake;
mod mutants;
pub(crate) mod nodes;
pub(crate) mod options;
mod payload;
mod readiness;
mod reads;
mod record_clock;
pub(crate) mod space;
mod streams;
mod time_bound;
pub(crate) mod writer;

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use ingest::bulk::BulkFiles;
use ingest::env::{Disk, Env, Task};
use ingest::ids::{BucketId, CutNumber, Offset, PartitionId, StoreId, WriterId};
use ingest::log::{Log, ReadError};
use ingest::mutant::Mutant;
use ingest::record::RecordBody;
use tokio::sync::watch;

use crate::catalog::store::CatalogStore;
use crate::catalog::{self, Catalog, LoadError};
use crate::jobs::board::{JobBoard, JobsStatus};
use crate::jobs::cutter::Cutter;
use crate::jobs::flush::FlushJob;
use crate::jobs::gc::GarbageCollector;
use crate::jobs::merge::Merger;
use crate::jobs::scheduler::Scheduler;
use crate::jobs::signals::{FullMerge, MergeSignals};
use crate::layout::PartitionLayout;
use crate::outcome::{RecordOutcome, Rejection};
use crate::state::Buckets;
use crate::view::{SealedFiles, Snapshot};

use context::PartitionContext;
pub use context::PartitionCounters;
use cut_queue::CutQueue;
pub use error::{MergeError, OpenError, SubmitError};
use fold::FoldParts;
pub use fold::hash_of;
use health::{Health, read_quarantine};
use intake::Intake;
use nodes::NodeRegistry;
pub use options::{
    CompactionPolicy, CutPolicy, FROZEN_MAX, PartitionOptions, PayloadRoute, ReadConsistency,
    ThisNode,
};
pub use payload::{PayloadError, PayloadGuard, PayloadWriter, WrittenPayload};
pub use readiness::{CUTS_FAILED_MAX, ReadinessFacts, UnreadyReason, readiness};
use reads::Reads;
use record_clock::RecordClock;
use space::SpaceWatch;
pub use time_bound::{DOWN_MAX, TIME_SLACK};
use writer::Writer;

/// A bucket that is to be deleted is looked through so many times while it is written to.
const EMPTINESS_LOOKS: usize = 4;

/// A partition at work. Dropping it stops its tasks; what was acknowledged is in the log.
pub struct Partition {
    context: Arc<PartitionContext>,
    store: Arc<CatalogStore>,
    health: Arc<Health>,
    clock: Arc<RecordClock>,
    nodes: Arc<NodeRegistry>,
    reads: Arc<Reads>,
    cuts: Arc<CutQueue>,
    merges: Arc<MergeSignals>,
    board: Arc<JobBoard>,
    intake: Arc<Intake>,
    _tasks: Vec<Task>,
}

impl Partition {
    /// Reads a partition's catalog; `None` when it never had one.
    pub async fn catalog(
        env: &Env,
        store: StoreId,
        id: PartitionId,
    ) -> Result<Option<Catalog>, LoadError> {
        catalog::load(env, &PartitionLayout::new(id), store, id).await
    }

    /// Opens a partition: opens the catalog's files, replays the log, starts the background tasks. Returns
    /// when everything acknowledged before is applied. A write is taken from then on.
    ///
    /// `catalog` is what [`Partition::catalog`] gave, or a first one.
    pub async fn open(
        env: Env,
        log: Arc<dyn Log>,
        bulk: Arc<BulkFiles>,
        catalog: Catalog,
        options: PartitionOptions,
    ) -> Result<Self, OpenError> {
        let (store, id) = (catalog.store, catalog.partition);
        let layout = PartitionLayout::new(id);
        create_folders(&env, &layout).await?;
        let (cut, time) = (catalog.cut, catalog.time);
        let quarantine = read_quarantine(&env, &layout).await?;
        let sealed = open_sealed(&env, &layout, catalog).await?;
        let counters = PartitionCounters::default();
        let context = PartitionContext { env, log, bulk, layout, store, id, options, counters };
        let context = Arc::new(context);
        let store = Arc::new(CatalogStore::new(context.clone(), sealed));
        let health = Arc::new(Health::new(context.clone(), quarantine));
        let clock = Arc::new(RecordClock::new(context.clone(), time));
        let writer = Arc::new(Writer::new(health.clone(), clock.clone()));
        let process = WriterId(context.env.random_id());
        let nodes = Arc::new(NodeRegistry::new(health.clone(), process));
        let reads = Arc::new(Reads::new(store.clone(), health.clone()));
        let cuts = Arc::new(CutQueue::new(cut));
        let merges = Arc::new(MergeSignals::new());
        let board = Arc::new(JobBoard::new(context.clone()));
        let space = Arc::new(SpaceWatch::new(context.clone(), nodes.clone()));
        let intake = Arc::new(Intake {
            context: context.clone(),
            store: store.clone(),
            health: health.clone(),
            space: space.clone(),
            writer: writer.clone(),
            cuts: cuts.clone(),
        });
        let mut partition = Self {
            context,
            store,
            health,
            clock,
            nodes,
            reads,
            cuts,
            merges,
            board,
            intake,
            _tasks: Vec::new(),
        };
        partition.start(&writer, &space).await?;
        Ok(partition)
    }

    /// Replays the log, then starts the tasks. Files that an interrupted flush or merge left behind are removed
    /// in between: earlier, the memtable would not know all that it refers to.
    async fn start(
        &mut self,
        writer: &Arc<Writer>,
        space: &Arc<SpaceWatch>,
    ) -> Result<(), OpenError> {
        space.look().await;
        self.store.warn_when_crowded(0);
        if self.context.env.mutated(Mutant::CollectDuringReplay) {
            self.garbage_collector(space).collect().await;
        }
        let parts = FoldParts {
            context: self.context.clone(),
            store: self.store.clone(),
            health: self.health.clone(),
            clock: self.clock.clone(),
            writer: writer.clone(),
            nodes: self.nodes.clone(),
            reads: self.reads.clone(),
            cuts: self.cuts.clone(),
        };
        let fold = fold::start(&parts).await?;
        let gc = self.garbage_collector(space);
        gc.remove_leftovers().await?;
        self._tasks = vec![fold];
        self._tasks.extend(self.start_jobs(writer, space));
        self._tasks.extend([
            space.start(&self.health),
            self.reads.start(),
            self.nodes.start(),
            gc.start_tidying(),
            writer.start_fencer(),
        ]);
        writer.open().await.map_err(|error| OpenError::Fold(error.to_string()))
    }

    fn start_jobs(&self, writer: &Arc<Writer>, space: &Arc<SpaceWatch>) -> [Task; 3] {
        let flush = FlushJob {
            context: self.context.clone(),
            store: self.store.clone(),
            health: self.health.clone(),
            space: space.clone(),
            cuts: self.cuts.clone(),
            writer: writer.clone(),
            nodes: self.nodes.clone(),
            merges: self.merges.clone(),
            board: self.board.clone(),
        };
        let merger = Merger {
            context: self.context.clone(),
            store: self.store.clone(),
            space: space.clone(),
        };
        let scheduler = Scheduler {
            context: self.context.clone(),
            store: self.store.clone(),
            health: self.health.clone(),
            signals: self.merges.clone(),
            board: self.board.clone(),
            merger: Arc::new(merger),
            gc: self.garbage_collector(space),
        };
        let cutter = Cutter {
            context: self.context.clone(),
            store: self.store.clone(),
            health: self.health.clone(),
            cuts: self.cuts.clone(),
            intake: self.intake.clone(),
            board: self.board.clone(),
        };
        [flush.start(), scheduler.start(), cutter.start()]
    }

    fn garbage_collector(&self, space: &Arc<SpaceWatch>) -> GarbageCollector {
        GarbageCollector {
            context: self.context.clone(),
            store: self.store.clone(),
            health: self.health.clone(),
            space: space.clone(),
            board: self.board.clone(),
        }
    }

    /// The partition's id.
    pub fn id(&self) -> PartitionId {
        self.context.id
    }

    /// The log.
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.context.log
    }

    /// The bulk payload files.
    pub fn bulk(&self) -> &Arc<BulkFiles> {
        &self.context.bulk
    }

    /// The disk.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.context.env.disk
    }

    /// Bytes of the device that must stay free for writes to be taken.
    pub fn reserve_bytes(&self) -> u64 {
        self.context.options.reserve_bytes
    }

    /// What a read sees that begins now: everything answered before.
    pub fn snapshot(&self) -> Snapshot {
        self.store.snapshot()
    }

    /// What a read sees that begins now: everything acknowledged before, whichever node acknowledged it.
    pub async fn fresh(&self) -> Result<Snapshot, ReadError> {
        self.reads.fresh().await
    }

    /// Waits, as long as a read may, until everything below an offset is applied here.
    pub async fn reach(&self, offset: Offset) -> Result<(), ReadError> {
        self.reads.reach(offset).await
    }

    /// Begins to take payload of so many bytes that is too large for a record.
    pub async fn begin_payload(&self, len: u64) -> Result<PayloadWriter, PayloadError> {
        PayloadWriter::begin(&self.clock, &self.nodes, len).await
    }

    /// Claims this node's id, on the partition that keeps account of them; gives whether it is ours.
    pub async fn claim_node(&self) -> bool {
        self.nodes.claim().await
    }

    /// Whether the node's id is this process's; false once another has it.
    pub fn holds_node(&self) -> watch::Receiver<Option<bool>> {
        self.nodes.holds()
    }

    /// Why this node's copy serves nothing, if so.
    pub fn quarantined(&self) -> Option<String> {
        self.health.quarantined()
    }

    /// What has happened since the start.
    pub fn counters(&self) -> &PartitionCounters {
        &self.context.counters
    }

    /// The buckets.
    pub fn buckets(&self) -> Arc<Buckets> {
        self.store.buckets()
    }

    /// Why the fold has stopped, if it has: then nothing is written until a restart, reads go on.
    pub fn stopped(&self) -> Option<String> {
        self.health.stopped()
    }

    /// Why what makes the store larger is refused, if the catalog names nearly as many files as it can.
    pub fn crowded(&self) -> Option<String> {
        self.store.crowded()
    }

    /// How full the catalog's longest list is, from 0 to 1.
    pub fn catalog_fill(&self) -> f64 {
        self.store.fill()
    }

    /// The reason why the fold waits, if that lasts: writes are refused, and it goes on by itself once it can.
    pub fn held(&self) -> Option<String> {
        self.health.held()
    }

    /// How often the cut that is being sealed has failed in a row.
    pub fn cuts_failed(&self) -> u32 {
        self.health.flushes.failed().0
    }

    /// How often merges have failed in a row.
    pub fn merges_failed(&self) -> u32 {
        self.health.merges.failed().0
    }

    /// The background jobs: those under way with their reasons, and how the last ones ended.
    pub fn jobs(&self) -> JobsStatus {
        self.board.status()
    }

    /// Tells that a write would be taken, or why not.
    pub fn readiness(&self) -> Result<(), UnreadyReason> {
        readiness(&self.intake.facts())
    }

    /// Facts that an operator should know although writes are taken.
    pub fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        let (failed, how) = self.health.merges.failed();
        if failed > 0 {
            found.push(format!("a merge has failed {failed} times in a row: {how}"));
        }
        let view = self.store.view();
        let damaged = view.sealed.runs.iter().filter_map(|run| run.damage());
        found.extend(damaged.map(|corruption| format!("damaged: {corruption}")));
        let (ahead, is_doubted) = self.clock.ahead();
        if is_doubted {
            let ahead = ahead as i64;
            found.push(format!("the wall clock is {ahead} s ahead and not believed; `siltstone clock --believe` if it is right"));
        }
        found
    }

    /// How far the wall clock is ahead of the time that the monotonic clock allows, in seconds; below zero when
    /// it is behind. The second tells that it is so far ahead that it is not believed.
    pub fn clock_ahead(&self) -> (f64, bool) {
        self.clock.ahead()
    }

    /// Believes the wall clock from now on: an operator has seen that it is right.
    pub fn believe_clock(&self) {
        self.clock.believe();
    }

    /// Writes a record and waits for its outcome.
    ///
    /// Dropping the future does not undo the write; it may still be done.
    pub async fn submit(
        &self,
        principal: &str,
        request: &str,
        body: RecordBody,
    ) -> Result<RecordOutcome, SubmitError> {
        // On the heap: within the caller's future, its several kilobytes would be moved with every request,
        // those that only read included.
        Box::pin(self.intake.submit(principal, request, body)).await
    }

    /// Deletes a bucket if it is empty.
    ///
    /// The walk through what was removed from it is done here, where nobody else waits for it. The record
    /// carries the offset of that look, and the fold refuses it when something was written to the bucket
    /// since; then it is looked through again, a few times. A bucket that is written to all the while gets
    /// [`Rejection::BucketWritten`].
    pub async fn delete_bucket(
        &self,
        principal: &str,
        request: &str,
        bucket: BucketId,
    ) -> Result<RecordOutcome, SubmitError> {
        for _ in 0..EMPTINESS_LOOKS {
            let snapshot = self.fresh().await.map_err(SubmitError::Unreadable)?;
            let is_empty = crate::lookup::is_empty(&snapshot, bucket).await;
            if !is_empty.map_err(SubmitError::Unreadable)? {
                return Ok(RecordOutcome::Rejected(Rejection::BucketNotEmpty));
            }
            let body = RecordBody::DeleteBucket { bucket, seen: snapshot.at };
            // Files that only this look needs may go.
            drop(snapshot);
            let outcome = self.submit(principal, request, body).await?;
            if outcome != RecordOutcome::Rejected(Rejection::BucketWritten) {
                return Ok(outcome);
            }
        }
        Ok(RecordOutcome::Rejected(Rejection::BucketWritten))
    }

    /// Merges everything that is sealed into one run, and waits until its catalog is published. Runs that
    /// are cut meanwhile stand beside it.
    pub async fn merge(&self) -> Result<(), MergeError> {
        match self.merges.request_whole().await {
            FullMerge::Failed(reason) => Err(MergeError(reason)),
            _ => Ok(()),
        }
    }

    /// Makes a cut and waits until its catalog is published; gives its number. Without anything to cut it
    /// gives the last one.
    pub async fn cut(&self) -> Result<CutNumber, SubmitError> {
        let mut published = self.store.follow_cut();
        if !self.store.memtable().is_empty() {
            self.intake.request_cut().await?;
        }
        let wanted = self.cuts.folded();
        let reached = std::pin::pin!(published.wait_for(|cut| *cut >= wanted));
        let stopped = std::pin::pin!(self.health.until_stopped());
        match select(reached, stopped).await {
            Either::Left(_) => Ok(wanted),
            Either::Right((reason, _)) => Err(SubmitError::Stopped(reason)),
        }
    }
}

/// Creates the partition's folders and makes their names durable.
async fn create_folders(env: &Env, layout: &PartitionLayout) -> Result<(), OpenError> {
    for folder in layout.folders().iter().chain([&layout.catalog_folder()]) {
        env.disk.create_folder(folder).await?;
    }
    env.disk.sync_folder(Some(layout.root())).await?;
    Ok(env.disk.sync_folder(None).await?)
}

/// A start waits so long for files that cannot be opened now.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);
/// And tries so often.
const OPEN_RETRY: Duration = Duration::from_millis(200);

/// Opens what the catalog names. That handles or memory have run out must not make a run damaged for as long as
/// the process lives.
async fn open_sealed(
    env: &Env,
    layout: &PartitionLayout,
    catalog: Catalog,
) -> Result<SealedFiles, ReadError> {
    let began = env.clock.now();
    loop {
        let opened =
            SealedFiles::open(&env.disk, layout, catalog.store, catalog.clone(), None).await;
        match opened {
            Err(error) if error.is_transient() && env.clock.now().since(began) < OPEN_PATIENCE => {
                tracing::warn!(%error, "a sealed file cannot be opened now; trying again");
                env.clock.sleep(OPEN_RETRY).await;
            }
            opened => return opened,
        }
    }
}
