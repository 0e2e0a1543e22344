//! A running partition: records are appended, folded in order, and answered.
//!
//! ```text
//!   submit ──admit, append──► log ──reader──► fold: resolve, apply ──► memtable ──► outcome to submit
//!                                               │ CUT record
//!                                               └► freeze ──► flush ──► merge ──► garbage collection
//! ```
//!
//! A write is answered after its record is durable *and* applied, with the outcome of `apply`, so that a
//! read after the answer sees it. All state is in the memtable, the catalog and the log: opening reads the
//! catalog and replays the log from the catalog's cut.

mod claims;
pub(crate) mod context;
pub(crate) mod cut_queue;
mod digests;
pub mod error;
pub(crate) mod event_board;
mod event_listeners;
mod event_queues;
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
pub(crate) mod reads;
pub(crate) mod record_clock;
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
use ingest::place::Place;
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
use event_board::EventBoard;
pub use event_listeners::EventListener;
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

/// The number of times that a bucket is searched before its deletion fails, if it is written to in between.
const EMPTINESS_LOOKS: usize = 4;

/// A running partition. Dropping it stops its tasks; acknowledged records are in the log and are folded at
/// the next start.
pub struct Partition {
    context: Arc<PartitionContext>,
    store: Arc<CatalogStore>,
    health: Arc<Health>,
    clock: Arc<RecordClock>,
    nodes: Arc<NodeRegistry>,
    reads: Arc<Reads>,
    cuts: Arc<CutQueue>,
    events: Arc<EventBoard>,
    merges: Arc<MergeSignals>,
    board: Arc<JobBoard>,
    intake: Arc<Intake>,
    /// The id under which this process delivers events; random.
    process: WriterId,
    _tasks: Vec<Task>,
}

impl Partition {
    /// Reads a partition's catalog; `None` if there never was one. Called before the log is recovered, which
    /// gives up files below its offsets, and before [`Partition::open`]. The generation is durable when this
    /// returns; no name and no byte on the disk changes. Fails as [`catalog::read_durable`] does.
    pub async fn catalog(
        env: &Env,
        store: StoreId,
        id: PartitionId,
    ) -> Result<Option<Catalog>, LoadError> {
        catalog::read_durable(env, &PartitionLayout::new(id), store, id).await
    }

    /// Opens a partition: mends the copies of the catalog, opens the catalog's files, replays the log, and
    /// starts the background tasks.
    /// Returns after every record that was acknowledged before is applied. Writes are accepted from then
    /// on, unless the log is read-only.
    ///
    /// `catalog` must be the result of [`Partition::catalog`], or a first catalog. Errors are those of
    /// [`OpenError`]; files that cannot be opened at present are tried again for 30 seconds, state and
    /// records for 60 seconds.
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
        let catalog = catalog::mend(&env, &layout, store, id).await?.unwrap_or(catalog);
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
            events: Arc::new(EventBoard::new()),
            merges,
            board,
            intake,
            process,
            _tasks: Vec::new(),
        };
        partition.start(&writer, &space).await?;
        Ok(partition)
    }

    /// Replays the log, then starts the tasks. Files that an interrupted flush or merge has left behind are
    /// removed in between: before replay has ended, the memtable does not have all references.
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
            events: self.events.clone(),
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
            events: self.events.clone(),
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

    /// Makes a garbage collector with the partition's parts.
    fn garbage_collector(&self, space: &Arc<SpaceWatch>) -> GarbageCollector {
        GarbageCollector {
            context: self.context.clone(),
            store: self.store.clone(),
            health: self.health.clone(),
            space: space.clone(),
            board: self.board.clone(),
        }
    }

    /// Returns the partition's id.
    pub fn id(&self) -> PartitionId {
        self.context.id
    }

    /// Returns the log to which this partition's records are appended.
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.context.log
    }

    /// Returns the bulk files with this partition's large payload.
    pub fn bulk(&self) -> &Arc<BulkFiles> {
        &self.context.bulk
    }

    /// Returns the disk of the partition's environment.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.context.env.disk
    }

    /// Returns the reason why no payload can be taken for the cold place; `None` while it is ready.
    pub fn cold_refusal(&self) -> Option<String> {
        self.intake.space.cold_refusal()
    }

    /// Returns the number of bytes that must stay free on the device; with less, only deletes are accepted.
    pub fn reserve_bytes(&self) -> u64 {
        self.context.options.reserve_bytes
    }

    /// Returns a snapshot for a read that begins now, without a wait. Every write that this node answered
    /// before is visible; writes of other nodes may be missing, see [`Partition::fresh`].
    pub fn snapshot(&self) -> Snapshot {
        self.store.snapshot()
    }

    /// Returns a snapshot for a read that begins now, with everything that any node acknowledged before, as
    /// far as [`ReadConsistency`] promises. Waits at most [`PartitionOptions::read_wait`], then fails with
    /// [`ReadError::Unavailable`]; so does a quarantined copy.
    pub async fn fresh(&self) -> Result<Snapshot, ReadError> {
        self.reads.fresh().await
    }

    /// Waits until every record below an offset is applied on this node. Fails with
    /// [`ReadError::Unavailable`] after [`PartitionOptions::read_wait`].
    pub async fn reach(&self, offset: Offset) -> Result<(), ReadError> {
        self.reads.reach(offset).await
    }

    /// Begins to write payload of exactly `len` bytes that is too large for a record, to a place; payload that
    /// goes through the log is always in the hot one. Must be finished before the record that names it is
    /// submitted. Fails with [`PayloadError::Bulk`] if the place's device, or as far as known another node's,
    /// has no room or is not there.
    pub async fn begin_payload(
        &self,
        place: Place,
        len: u64,
    ) -> Result<PayloadWriter, PayloadError> {
        PayloadWriter::begin(&self.clock, &self.nodes, place, len).await
    }

    /// Begins to write payload of at most `len_max` bytes, whose length only its end tells; must be shortened there, as
    /// [`PayloadWriter::shorten`] says. Fails as [`Self::begin_payload`] does; on one machine only the bytes that come
    /// need room, and a write fails where it ends.
    pub async fn begin_unannounced_payload(
        &self,
        place: Place,
        len_max: u64,
    ) -> Result<PayloadWriter, PayloadError> {
        PayloadWriter::begin_unannounced(&self.clock, &self.nodes, place, len_max).await
    }

    /// Claims this node's id; returns true if the id belongs to this process. Must be called on partition
    /// 0, which keeps the claims. A process that has not held the id before waits 5 seconds for an
    /// objection, then without a limit until the log has decided. Returns true at once without a node id.
    pub async fn claim_node(&self) -> bool {
        self.nodes.claim().await
    }

    /// Returns a receiver that shows if the node's id belongs to this process: `None` while undecided,
    /// false once another process has it. The process must stop then.
    pub fn holds_node(&self) -> watch::Receiver<Option<bool>> {
        self.nodes.holds()
    }

    /// Returns the reason for quarantine; `None` while this node's copy is healthy.
    pub fn quarantined(&self) -> Option<String> {
        self.health.quarantined()
    }

    /// Returns the counters of events since the partition was opened.
    pub fn counters(&self) -> &PartitionCounters {
        &self.context.counters
    }

    /// Returns the buckets as of the last applied record. A read with a snapshot must use the buckets of
    /// the snapshot.
    pub fn buckets(&self) -> Arc<Buckets> {
        self.store.buckets()
    }

    /// Returns the reason why the fold has stopped; `None` while it runs. Without the fold no write is
    /// accepted until a restart, while reads of applied state continue.
    pub fn stopped(&self) -> Option<String> {
        self.health.stopped()
    }

    /// Returns the reason why writes that make the store larger are refused; `None` unless the catalog
    /// names nine tenths of the files that it may name.
    pub fn crowded(&self) -> Option<String> {
        self.store.crowded()
    }

    /// Returns the length of the catalog's longest list as a share of the limit, from 0 to 1.
    pub fn catalog_fill(&self) -> f64 {
        self.store.fill()
    }

    /// Returns the reason why the fold waits, once it has waited for a second or met damage; writes are
    /// refused meanwhile. The fold continues by itself after the cause has gone.
    pub fn held(&self) -> Option<String> {
        self.health.held()
    }

    /// Returns the number of times that the current flush has failed in a row; 0 after a success.
    pub fn cuts_failed(&self) -> u32 {
        self.health.flushes.failed().0
    }

    /// Returns the number of merges that have failed in a row; 0 after a success.
    pub fn merges_failed(&self) -> u32 {
        self.health.merges.failed().0
    }

    /// Returns the background jobs: running ones with their reasons, and the last ones that ended, newest
    /// first.
    pub fn jobs(&self) -> JobsStatus {
        self.board.status()
    }

    /// Returns `Ok` if a write would be accepted now, otherwise the gravest reason against it. Called by the
    /// readiness probe and by metrics.
    pub fn readiness(&self) -> Result<(), UnreadyReason> {
        readiness(&self.intake.facts())
    }

    /// Returns facts that an operator should know although writes are accepted: failed merges, damaged
    /// files, a wall clock that is not trusted. Empty in a healthy partition.
    pub fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        let (failed, how) = self.health.merges.failed();
        if failed > 0 {
            found.push(format!("a merge has failed {failed} times in a row: {how}"));
        }
        found.extend(self.intake.space.cold_refusal());
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

    /// Returns the seconds by which the wall clock is ahead of the time that the monotonic clock allows,
    /// negative if it is behind; true if it is so far ahead that it is not trusted.
    pub fn clock_ahead(&self) -> (f64, bool) {
        self.clock.ahead()
    }

    /// Trusts the wall clock from now on. Called only after an operator has confirmed that it is right,
    /// because the times of records never go back.
    pub fn believe_clock(&self) {
        self.clock.believe();
    }

    /// Appends a record and waits for its outcome. On return the record is durable and applied on this
    /// node, and later reads see it.
    ///
    /// Errors: see [`SubmitError`], whose docs name for each variant if the record may still be applied.
    /// Waits at most [`PartitionOptions::write_wait`] for the outcome. Dropping the future does not undo
    /// the write, which may still be done.
    pub async fn submit(
        &self,
        principal: &str,
        request: &str,
        body: RecordBody,
    ) -> Result<RecordOutcome, SubmitError> {
        // Boxed: within the caller's future, its several kilobytes would be moved with every request, reads
        // included.
        Box::pin(self.intake.submit(principal, request, body)).await
    }

    /// Deletes a bucket if it is empty.
    ///
    /// The search for a visible version is done here and not by the fold, where all other writes would
    /// wait. The record carries the offset of the search, and the fold rejects it if the bucket was written
    /// to since; the search is then repeated, up to four times in all.
    ///
    /// Outcomes include [`Rejection::BucketNotEmpty`], and [`Rejection::BucketWritten`] for a bucket that
    /// is written to all the time. Fails as [`Partition::submit`], and with [`SubmitError::Unreadable`] if
    /// an entry cannot be read.
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
            // Files that only this search needs may be removed before the outcome comes.
            drop(snapshot);
            let outcome = self.submit(principal, request, body).await?;
            if outcome != RecordOutcome::Rejected(Rejection::BucketWritten) {
                return Ok(outcome);
            }
        }
        Ok(RecordOutcome::Rejected(Rejection::BucketWritten))
    }

    /// Merges all published runs into one, and waits until its catalog is published. Runs that are flushed
    /// meanwhile are not included. A call while such a merge is running ends together with that merge;
    /// dropping the future does not cancel it.
    ///
    /// Fails with [`MergeError`] if the merge failed; readers then see no change.
    pub async fn merge(&self) -> Result<(), MergeError> {
        match self.merges.request_whole().await {
            FullMerge::Failed(reason) => Err(MergeError(reason)),
            _ => Ok(()),
        }
    }

    /// Makes a cut and waits until its catalog is published; returns the cut's number. With an empty
    /// memtable no cut is made, and the last cut is awaited instead.
    ///
    /// Fails as [`Partition::submit`] if the CUT record is not accepted, and with [`SubmitError::Stopped`]
    /// if the fold stops. The wait has no other limit; dropping the future does not cancel the cut.
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
    for root in Place::ALL.map(|place| layout.root().within(place)) {
        env.disk.sync_folder(Some(&root)).await?;
        env.disk.sync_folder(root.folder().as_ref()).await?;
    }
    Ok(env.disk.sync_folder(None).await?)
}

/// The longest time that a start waits for files that cannot be opened at present.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);
/// The pause between two tries.
const OPEN_RETRY: Duration = Duration::from_millis(200);

/// Opens the catalog's files. Exhausted handles or memory are waited for, because they must not make a run
/// count as damaged for the life of the process.
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
