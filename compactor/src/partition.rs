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
mod digests;
mod failure_count;
mod fold;
mod hold;
pub(crate) mod nodes;
mod payload;
mod readiness;
mod reads;
mod streams;
mod time_bound;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ingest::bulk::{BulkError, BulkFiles};
use ingest::codec::EncodeError;
use ingest::env::{Disk, DiskError, DiskErrorKind, Env, Fut, OpenMode, Task, timeout};
use ingest::ids::{BucketId, CutNumber, Offset, PartitionId, StoreId, WriterId};
use ingest::log::{AppendError, Log, ReadError};
use ingest::mutant::Mutant;
use ingest::record::{Record, RecordBody};
use ingest::time::WallTime;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::apply::{StoreRules, needs};
use crate::catalog::{self, Catalog, LoadError};
use crate::layout::PartitionLayout;
use crate::lookup::resolve;
use crate::memtable::Memtable;
use crate::merge::FullMerge;
use crate::outcome::{RecordOutcome, Rejection};
use crate::publish::Publisher;
use crate::state::Buckets;
use crate::view::{ReadView, SealedFiles, Snapshot};

pub(crate) use failure_count::FailureCount;
pub(crate) use fold::FrozenState;
pub use fold::hash_of;
use nodes::NodeRegistry;
pub use nodes::ThisNode;
pub use payload::{PayloadError, PayloadGuard, PayloadRoute, PayloadWriter, WrittenPayload};
pub use readiness::{CUTS_FAILED_MAX, ReadinessFacts, UnreadyReason, readiness};
use reads::Barriers;
pub use reads::ReadConsistency;
use time_bound::TimeBound;
pub use time_bound::{DOWN_MAX, TIME_SLACK};
use writer::Writer;

/// How a partition is run.
#[derive(Clone, Debug)]
pub struct PartitionOptions {
    /// What outcomes hang on.
    pub rules: StoreRules,
    /// When a cut is made by itself.
    pub cut: CutPolicy,
    /// Runs of one level that are merged into one of the next.
    pub merge_fan_in: usize,
    /// For how long a write waits for cuts that lag behind.
    pub overload_wait: Duration,
    /// For how long a write waits for its outcome; then it is told that nobody knows.
    pub write_wait: Duration,
    /// What reads promise.
    pub reads: ReadConsistency,
    /// For how long a read waits to learn what was written last.
    pub read_wait: Duration,
    /// Whether a cut that has been sealed here lets go of the log below it: where no other node folds it.
    pub trims: bool,
    /// Where large payload goes.
    pub payload: PayloadRoute,
    /// Which node of a cluster this is, if it is one.
    pub node: Option<ThisNode>,
    /// Bytes of the device that are kept for cuts, merges and deletes: with fewer free, what makes the
    /// store larger is refused.
    pub reserve_bytes: u64,
    /// Most segments, runs or bulk files, of each. From half of them on it is said; from nine tenths on what
    /// makes the store larger is refused, so that cuts, merges and deletes have room.
    pub files_max: usize,
}

/// When a cut is made by itself: at the first of these.
#[derive(Clone, Copy, Debug)]
pub struct CutPolicy {
    /// The memtable stands for so many bytes.
    pub bytes: u64,
    /// The memtable holds so many entries.
    pub entries: usize,
    /// The memtable has held something for so long.
    pub age: Duration,
    /// So many records stand above the last cut, whatever they are: a start replays them.
    pub records: u64,
}

impl Default for CutPolicy {
    fn default() -> Self {
        Self { bytes: 64 << 20, entries: 200_000, age: Duration::from_secs(60), records: 1_000_000 }
    }
}

impl Default for PartitionOptions {
    fn default() -> Self {
        Self {
            rules: StoreRules::default(),
            cut: CutPolicy::default(),
            merge_fan_in: 4,
            overload_wait: Duration::from_secs(20),
            write_wait: Duration::from_secs(60),
            reads: ReadConsistency::Applied,
            read_wait: Duration::from_secs(5),
            trims: true,
            payload: PayloadRoute::Bulk,
            node: None,
            reserve_bytes: 0,
            files_max: catalog::LIST_MAX,
        }
    }
}

/// A bucket that is to be deleted is looked through so many times while it is written to.
const EMPTINESS_LOOKS: usize = 4;

/// At most so many frozen memtables wait to be sealed; then writes wait too.
pub const FROZEN_MAX: usize = 2;

/// A partition could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The catalog cannot be used.
    #[error(transparent)]
    Catalog(#[from] LoadError),
    /// The log or a file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] ingest::env::DiskError),
    /// The bulk files cannot be used.
    #[error(transparent)]
    Bulk(#[from] BulkError),
    /// The fold stopped while it replayed.
    #[error("the fold stopped: {0}")]
    Fold(String),
}

/// A record was not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// What the outcome hangs on cannot be read. Nothing was appended.
    #[error("what was there before cannot be read: {0}")]
    Unreadable(#[source] ReadError),
    /// The record is longer than a record may be. Nothing was appended.
    #[error("the request is larger than can be stored: {0}")]
    TooLarge(#[from] EncodeError),
    /// The log did not take it, or says that it does not know.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// It is not in the log and never will be. Try again.
    #[error("the log did not take it in time; nothing was done")]
    NotDone,
    /// This node's copy is not to be trusted.
    #[error("{0}")]
    Quarantined(String),
    /// This node could not tell the outcome in time; nothing was appended. Try again later, or another node.
    #[error("{0}")]
    NotNow(UnreadyReason),
    /// Cuts lag behind; nothing was appended. Try again later.
    #[error("too much waits to be folded; try again later")]
    Overloaded,
    /// The record is in the log, and the fold stopped before it came to it: the outcome is unknown.
    #[error("the fold has stopped: {0}")]
    Stopped(String),
}

/// Runs could not be merged. Nothing has changed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the runs could not be merged: {0}")]
pub struct MergeError(String);

/// What all parts of a partition share.
pub(crate) struct PartitionShared {
    pub env: Env,
    pub log: Arc<dyn Log>,
    pub bulk: Arc<BulkFiles>,
    pub layout: PartitionLayout,
    pub store: StoreId,
    pub id: PartitionId,
    pub options: PartitionOptions,
    /// Swapped whole by the fold (freeze) and by the publisher; cloned by every read.
    pub view: RwLock<Arc<ReadView>>,
    /// Changed by the fold only.
    pub buckets: RwLock<Arc<Buckets>>,
    pub writer: Mutex<Writer>,
    /// Wakes the fencer: the writer does not know where it stands.
    pub out_of_step: Notify,
    /// Wakes writes that wait for the writer.
    pub opened: Notify,
    pub barriers: Barriers,
    pub nodes: NodeRegistry,
    pub counters: PartitionCounters,
    /// Records since the last cut.
    pub records: AtomicU64,
    /// Why this node's copy serves nothing, once it does not.
    pub quarantined: watch::Sender<Option<String>>,
    /// What the fold knew at each freeze that waits to be sealed, oldest first.
    pub freezes: Mutex<std::collections::VecDeque<FrozenState>>,
    pub publisher: Publisher,
    /// Wakes the flush job: a memtable has been frozen.
    pub frozen: Notify,
    /// Wakes the merger: a run has been added.
    pub sealed: Notify,
    /// Wakes the flush job: runs have been merged.
    pub merged: Notify,
    /// Whether everything is to be merged into one run.
    pub whole_merge: watch::Sender<FullMerge>,
    /// The last cut that the catalog has.
    pub cut: watch::Sender<CutNumber>,
    /// The last cut that the fold has met.
    pub folded_cut: watch::Sender<CutNumber>,
    /// Wakes the cutter: the memtable may have grown enough.
    pub grown: Notify,
    /// Why the fold stopped, once it has.
    pub stopped: watch::Sender<Option<String>>,
    /// The reason why the fold waits, when that lasts; it goes on by itself.
    pub held: watch::Sender<Option<String>>,
    /// Bounds the time of records that this process writes.
    pub time: Mutex<TimeBound>,
    /// How sealing goes.
    pub cuts: FailureCount,
    /// How merging goes.
    pub merges: FailureCount,
    /// Set when the log has been replayed; nothing is collected before.
    pub replayed: watch::Sender<bool>,
    /// Whether less than the reserve is free, as last seen by the task that watches space.
    is_short: AtomicBool,
}

/// What has happened since a partition was opened.
#[derive(Default, Debug)]
pub struct PartitionCounters {
    /// Records that the log delivered again.
    pub duplicates: AtomicU64,
    /// Records of an older epoch, or out of turn.
    pub rejected: AtomicU64,
    /// Streams of payload under way.
    pub streams: AtomicU64,
    /// Streams that this node had no room for: their payload is missing here.
    pub streams_missing: AtomicU64,
    /// Epochs that this process's writer has opened because it was out of step with the log.
    pub epochs: AtomicU64,
    /// Barriers that reads have waited for.
    pub barriers_met: AtomicU64,
    /// How long these took, in microseconds, together.
    pub barrier_micros: AtomicU64,
    /// Cuts whose digests differed without a majority.
    pub digest_splits: AtomicU64,
    /// Entries and state values that the fold has looked at to decide outcomes.
    pub prior_looked_at: AtomicU64,
}

/// A partition at work. Dropping it stops its tasks; what was acknowledged is in the log.
pub struct Partition {
    shared: Arc<PartitionShared>,
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

    /// Opens a partition: opens the catalog's files, replays the log, starts the background tasks.
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
        for folder in layout.folders().iter().chain([&layout.catalog_folder()]) {
            env.disk.create_folder(folder).await?;
        }
        env.disk.sync_folder(Some(layout.root())).await?;
        env.disk.sync_folder(None).await?;
        let next = catalog.next;
        let cut = catalog.cut;
        let publisher = Publisher::new(&catalog);
        let quarantine = read_quarantine(&env, &layout).await?;
        let time = TimeBound::start(catalog.time, env.clock.wall(), env.clock.now());
        let sealed = open_sealed(&env, &layout, catalog).await?;
        let memtable = Arc::new(Memtable::new(next));
        let view =
            ReadView { partition: id, memtable, frozen: Vec::new(), sealed: Arc::new(sealed) };
        let shared = Arc::new(PartitionShared {
            writer: Mutex::new(Writer::new(&env)),
            out_of_step: Notify::new(),
            opened: Notify::new(),
            barriers: Barriers::new(next),
            nodes: NodeRegistry::new(
                options.node,
                WriterId(env.random_id()),
                id == PartitionId::ZERO,
            ),
            counters: PartitionCounters::default(),
            records: AtomicU64::new(0),
            quarantined: watch::Sender::new(quarantine),
            env,
            log,
            bulk,
            layout,
            store,
            id,
            options,
            view: RwLock::new(Arc::new(view)),
            buckets: RwLock::default(),
            freezes: Mutex::default(),
            publisher,
            frozen: Notify::new(),
            sealed: Notify::new(),
            merged: Notify::new(),
            whole_merge: watch::Sender::new(FullMerge::Done),
            cut: watch::Sender::new(cut),
            folded_cut: watch::Sender::new(cut),
            grown: Notify::new(),
            stopped: watch::Sender::new(None),
            held: watch::Sender::new(None),
            time: Mutex::new(time),
            cuts: FailureCount::default(),
            merges: FailureCount::default(),
            replayed: watch::Sender::new(false),
            is_short: AtomicBool::new(false),
        });
        shared.look_at_space().await;
        shared.look_at_files(0);
        if shared.env.mutated(Mutant::CollectDuringReplay) {
            crate::gc::collect_garbage(&shared).await;
        }
        let mut tasks = vec![fold::start(&shared).await?];
        crate::gc::remove_leftovers(&shared).await?;
        tasks.push(crate::flush::start(&shared));
        tasks.push(crate::merge::start(&shared));
        tasks.push(start_cutter(&shared));
        tasks.push(start_space_watch(&shared));
        tasks.push(reads::start(&shared));
        tasks.push(nodes::start(&shared));
        tasks.push(crate::gc::start_tidying(&shared));
        tasks.push(writer::start_fencer(&shared));
        writer::open_writer(&shared).await.map_err(|error| OpenError::Fold(error.to_string()))?;
        Ok(Self { shared, _tasks: tasks })
    }

    /// The partition's id.
    pub fn id(&self) -> PartitionId {
        self.shared.id
    }

    /// The log.
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.shared.log
    }

    /// The bulk payload files.
    pub fn bulk(&self) -> &Arc<BulkFiles> {
        &self.shared.bulk
    }

    /// The disk.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.shared.env.disk
    }

    /// Bytes of the device that must stay free for writes to be taken.
    pub fn reserve_bytes(&self) -> u64 {
        self.shared.options.reserve_bytes
    }

    /// What a read sees that begins now: everything answered before.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// What a read sees that begins now: everything acknowledged before, whichever node acknowledged it.
    pub async fn fresh(&self) -> Result<Snapshot, ReadError> {
        self.shared.fresh().await
    }

    /// Waits, as long as a read may, until everything below an offset is applied here.
    pub async fn reach(&self, offset: Offset) -> Result<(), ReadError> {
        self.shared.reach(offset).await
    }

    /// Begins to take payload of so many bytes that is too large for a record.
    pub async fn begin_payload(&self, len: u64) -> Result<PayloadWriter, PayloadError> {
        PayloadWriter::begin(&self.shared, len).await
    }

    /// Claims this node's id, on the partition that keeps account of them; gives whether it is ours.
    pub async fn claim_node(&self) -> bool {
        nodes::claim(&self.shared).await
    }

    /// Whether the node's id is this process's; false once another has it.
    pub fn holds_node(&self) -> watch::Receiver<Option<bool>> {
        self.shared.nodes.holds()
    }

    /// Why this node's copy serves nothing, if so.
    pub fn quarantined(&self) -> Option<String> {
        self.shared.quarantined.borrow().clone()
    }

    /// What has happened since the start.
    pub fn counters(&self) -> &PartitionCounters {
        &self.shared.counters
    }

    /// The buckets.
    pub fn buckets(&self) -> Arc<Buckets> {
        self.shared.buckets.read().clone()
    }

    /// Why the fold has stopped, if it has: then nothing is written until a restart, reads go on.
    pub fn stopped(&self) -> Option<String> {
        self.shared.stopped.borrow().clone()
    }

    /// Why what makes the store larger is refused, if the catalog names nearly as many files as it can.
    pub fn crowded(&self) -> Option<String> {
        self.shared.crowded()
    }

    /// How full the catalog's longest list is, from 0 to 1.
    pub fn catalog_fill(&self) -> f64 {
        let (count, _) = self.shared.view.read().sealed.catalog.longest_list();
        count as f64 / self.shared.options.files_max as f64
    }

    /// The reason why the fold waits, if that lasts: writes are refused, and it goes on by itself once it can.
    pub fn held(&self) -> Option<String> {
        self.shared.held.borrow().clone()
    }

    /// How often the cut that is being sealed has failed in a row.
    pub fn cuts_failed(&self) -> u32 {
        self.shared.cuts.failed().0
    }

    /// How often merges have failed in a row.
    pub fn merges_failed(&self) -> u32 {
        self.shared.merges.failed().0
    }

    /// Tells that a write would be taken, or why not.
    pub fn readiness(&self) -> Result<(), UnreadyReason> {
        readiness(&self.shared.facts())
    }

    /// Facts that an operator should know although writes are taken.
    pub fn warnings(&self) -> Vec<String> {
        self.shared.warnings()
    }

    /// How far the wall clock is ahead of the time that the monotonic clock allows, in seconds; below zero when
    /// it is behind. The second tells that it is so far ahead that it is not believed.
    pub fn clock_ahead(&self) -> (f64, bool) {
        let (clock, time) = (&self.shared.env.clock, *self.shared.time.lock());
        let (wall, now) = (clock.wall(), clock.now());
        (time.ahead_micros(wall, now) as f64 / 1e6, time.doubts(wall, now))
    }

    /// Believes the wall clock from now on: an operator has seen that it is right.
    pub fn believe_clock(&self) {
        let clock = &self.shared.env.clock;
        self.shared.time.lock().believe(clock.wall(), clock.now());
        tracing::warn!(partition = %self.shared.id, "the wall clock is believed: an operator says so");
    }

    /// The last cut that the catalog has.
    pub fn sealed_cut(&self) -> CutNumber {
        *self.shared.cut.borrow()
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
        Box::pin(self.shared.submit(principal, request, body)).await
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
        let shared = &self.shared;
        let mut whole = shared.whole_merge.subscribe();
        shared.whole_merge.send_replace(FullMerge::Wanted);
        shared.sealed.notify_one();
        let ended = whole.wait_for(|whole| *whole != FullMerge::Wanted).await;
        match ended.as_deref() {
            Ok(FullMerge::Failed(reason)) => Err(MergeError(reason.clone())),
            _ => Ok(()),
        }
    }

    /// Makes a cut and waits until its catalog is published; gives its number. Without anything to cut it
    /// gives the last one.
    pub async fn cut(&self) -> Result<CutNumber, SubmitError> {
        let shared = &self.shared;
        let mut stopped = shared.stopped.subscribe();
        let mut sealed = shared.cut.subscribe();
        if !shared.view.read().memtable.is_empty() {
            shared.request_cut().await?;
        }
        let wanted = *shared.folded_cut.borrow();
        let reached = std::pin::pin!(sealed.wait_for(|cut| *cut >= wanted));
        let halted = std::pin::pin!(stopped.wait_for(Option::is_some));
        match futures::future::select(reached, halted).await {
            futures::future::Either::Left(_) => Ok(wanted),
            futures::future::Either::Right((reason, _)) => {
                let reason = reason.ok().and_then(|reason| reason.clone()).unwrap_or_default();
                Err(SubmitError::Stopped(reason))
            }
        }
    }
}

impl PartitionShared {
    /// See [`Partition::snapshot`].
    pub fn snapshot(&self) -> Snapshot {
        // The view first, then how far its memtable has come: whatever was answered before is in both.
        let view = self.view.read().clone();
        let at = view.memtable.applied();
        Snapshot { view, at, buckets: self.buckets.read().clone() }
    }

    /// Ends what changes the partition: nothing is written any more before a restart, reads go on.
    pub fn stop(&self, reason: String) {
        self.stopped.send_replace(Some(reason));
        self.writer.lock().abandon();
    }

    /// Takes this node's copy out of service, over restarts too.
    pub fn quarantine(&self, reason: String) {
        if self.quarantined.send_replace(Some(reason.clone())).is_some() {
            return;
        }
        let (disk, path) = (self.env.disk.clone(), self.layout.quarantine());
        let keep: Fut<'static, ()> = Box::pin(async move {
            let written = async {
                let file = disk.open(&path, OpenMode::Create).await?;
                file.write_synced(0, Bytes::from(reason)).await?;
                disk.sync_folder(path.folder().as_ref()).await
            };
            if let Err(error) = written.await {
                tracing::error!(%error, "the quarantine will not outlast this process");
            }
        });
        self.env.rt.spawn("quarantine", keep).detach();
    }

    pub async fn submit(
        self: &Arc<Self>,
        principal: &str,
        request: &str,
        body: RecordBody,
    ) -> Result<RecordOutcome, SubmitError> {
        if let Some(reason) = self.quarantined.borrow().clone() {
            return Err(SubmitError::Quarantined(reason));
        }
        if let Some(reason) = self.refusal() {
            return Err(SubmitError::NotNow(reason));
        }
        let mut record = Record {
            id: self.writer.lock().unnumbered(),
            principal: principal.to_owned(),
            request: request.to_owned(),
            time: WallTime::default(),
            body,
        };
        // What could not be read again would stop the fold for good.
        record.check()?;
        if !matches!(record.body, RecordBody::Cut { .. }) {
            self.wait_for_room().await?;
        }
        let is_short =
            || self.is_short.load(Ordering::Relaxed) || self.log.status(self.id).is_short;
        if record.grows() {
            let short = || "the device is nearly full; deletes are still taken".to_owned();
            if let Some(detail) = is_short().then(short).or_else(|| self.crowded()) {
                return Err(AppendError::Full { partition: self.id, detail }.into());
            }
        }
        // The fold must be able to read what it decides on. Here, before anything is appended, an
        // unreadable prior costs one request; met by the fold it would cost the partition.
        let wanted = needs(&self.buckets.read().clone(), &record);
        let prior = resolve(&self.snapshot(), &wanted).await.map_err(SubmitError::Unreadable)?;
        if let Some(outcome) = writer::answer_early(self, &record, &prior) {
            return Ok(outcome);
        }
        writer::judge_early(self, &mut record, &prior);
        writer::append(self, record).await
    }

    /// Why the store must not grow, if the catalog names nearly as many files as it can.
    fn crowded(&self) -> Option<String> {
        let files_max = self.options.files_max;
        let (count, what) = self.view.read().sealed.catalog.longest_list();
        (count >= files_max - files_max / 10).then(|| {
            format!(
                "the catalog names {count} {what} of at most {files_max}; deletes are still taken"
            )
        })
    }

    /// Says that the catalog fills up, once for each twentieth of it.
    pub fn look_at_files(&self, before: usize) {
        let files_max = self.options.files_max;
        let (count, what) = self.view.read().sealed.catalog.longest_list();
        let step = |count: usize| count * 20 / files_max.max(1);
        if step(count) > step(before) && step(count) >= 10 {
            tracing::warn!(
                count,
                files_max,
                "the catalog fills up with {what}: at nine tenths only deletes are taken"
            );
        }
    }

    /// The time for a record that is appended now.
    pub fn time_for_a_record(&self) -> WallTime {
        let (wall, now) = (self.env.clock.wall(), self.env.clock.now());
        if self.env.mutated(Mutant::BelieveAnyClock) {
            return wall;
        }
        let mut bound = self.time.lock();
        let (time, has_changed) = bound.stamp(wall, now);
        if has_changed && bound.doubts(wall, now) {
            let ahead = bound.ahead_micros(wall, now) / 1_000_000;
            tracing::error!(partition = %self.id, ahead_seconds = ahead, "the wall clock has jumped ahead and is not believed: confirm it with `siltstone clock --believe` if it is right");
        } else if has_changed {
            tracing::info!(partition = %self.id, "the wall clock is believed again");
        }
        time
    }

    /// Why a write is refused before it is appended, if so. Asked by every write, so it looks at little.
    fn refusal(&self) -> Option<UnreadyReason> {
        let held = self.held.borrow().clone();
        let (waited, wait_max) = self.waiting();
        let facts = ReadinessFacts { held, waited, wait_max, ..ReadinessFacts::default() };
        readiness(&facts).err().filter(UnreadyReason::is_before_append)
    }

    /// How long the oldest record has waited for its outcome, and how long it may: whoever comes later waits as
    /// long, and is told after [`PartitionOptions::write_wait`] that nobody knows.
    fn waiting(&self) -> (Duration, Duration) {
        let oldest = self.writer.lock().oldest();
        let now = self.env.clock.now();
        (oldest.map_or(Duration::ZERO, |since| now.since(since)), self.options.write_wait / 2)
    }

    fn facts(&self) -> ReadinessFacts {
        let (waited, wait_max) = self.waiting();
        let status = self.log.status(self.id);
        ReadinessFacts {
            quarantined: self.quarantined.borrow().clone(),
            stopped: self.stopped.borrow().clone(),
            held: self.held.borrow().clone(),
            refusing: status.refusing.map(|error| error.to_string()),
            is_short: status.is_short || self.is_short.load(Ordering::Relaxed),
            crowded: self.crowded(),
            cuts_failed: self.cuts.failed(),
            is_full: self.is_full(),
            waited,
            wait_max,
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        let (failed, how) = self.merges.failed();
        if failed > 0 {
            found.push(format!("a merge has failed {failed} times in a row: {how}"));
        }
        let view = self.view.read().clone();
        let damaged = view.sealed.runs.iter().filter_map(|run| run.damage());
        found.extend(damaged.map(|corruption| format!("damaged: {corruption}")));
        let (wall, now) = (self.env.clock.wall(), self.env.clock.now());
        let time = *self.time.lock();
        if time.doubts(wall, now) {
            let ahead = time.ahead_micros(wall, now) / 1_000_000;
            found.push(format!("the wall clock is {ahead} s ahead and not believed; `siltstone clock --believe` if it is right"));
        }
        found
    }

    /// Sees how much of the device is free. A device that does not say is taken to have enough.
    pub async fn look_at_space(&self) {
        let reserve = self.options.reserve_bytes;
        let free = self.env.disk.free_bytes().await;
        if let Ok(free) = free {
            nodes::publish_room(self, free.saturating_sub(reserve));
        }
        let is_short = reserve > 0 && free.is_ok_and(|free| free < reserve);
        if self.is_short.swap(is_short, Ordering::Relaxed) != is_short {
            if is_short {
                tracing::warn!(reserve, "the device is nearly full: only deletes are taken");
            } else {
                tracing::info!("the device has room again");
            }
        }
    }

    /// Tells that two frozen memtables wait and the third is full.
    fn is_full(&self) -> bool {
        let view = self.view.read();
        view.frozen.len() >= FROZEN_MAX
            && (view.memtable.bytes() >= self.options.cut.bytes
                || view.memtable.len() >= self.options.cut.entries)
    }

    /// Waits while two frozen memtables wait and the third is full.
    async fn wait_for_room(&self) -> Result<(), SubmitError> {
        if !self.is_full() {
            return Ok(());
        }
        let mut sealed = self.cut.subscribe();
        let room = async {
            while self.is_full() {
                if sealed.changed().await.is_err() {
                    return;
                }
            }
        };
        let waited = timeout(self.env.clock.as_ref(), self.options.overload_wait, room).await;
        waited.ok_or(SubmitError::Overloaded)
    }

    /// Appends a CUT record for the cut after the last one. Losing the race for it does no harm.
    pub async fn request_cut(self: &Arc<Self>) -> Result<(), SubmitError> {
        let number = self.folded_cut.borrow().next();
        self.submit("", "", RecordBody::Cut { number }).await.map(|_| ())
    }

    fn wants_cut(&self) -> bool {
        let is_short = self.log.status(self.id).is_short;
        let view = self.view.read();
        let policy = &self.options.cut;
        // While the log is short of room every record counts, and only a cut makes room again: it must not
        // wait until none is left for itself.
        let entries = if is_short { policy.entries.min(SHORT_ENTRIES) } else { policy.entries };
        view.frozen.len() < FROZEN_MAX
            && (view.memtable.bytes() >= policy.bytes
                || view.memtable.len() >= entries
                || self.records.load(Ordering::Relaxed) >= policy.records)
    }
}

/// A cut is made of so few entries when the log is short of room.
const SHORT_ENTRIES: usize = 256;

/// Starts the task that makes cuts by the policy.
fn start_cutter(shared: &Arc<PartitionShared>) -> Task {
    let shared = shared.clone();
    let env = shared.env.clone();
    let task: Fut<'static, ()> = Box::pin(async move {
        let mut dirty_since = None;
        let tick = (shared.options.cut.age / 8).max(Duration::from_millis(10));
        loop {
            let _ = timeout(shared.env.clock.as_ref(), tick, shared.grown.notified()).await;
            if shared.stopped.borrow().is_some() {
                return;
            }
            let now = shared.env.clock.now();
            let (is_dirty, has_place) = {
                let view = shared.view.read();
                (!view.memtable.is_empty(), view.frozen.len() < FROZEN_MAX)
            };
            dirty_since = is_dirty.then(|| dirty_since.unwrap_or(now));
            let is_old =
                dirty_since.is_some_and(|since| now.since(since) >= shared.options.cut.age);
            if (shared.wants_cut() || (is_old && has_place))
                && let Err(error) = shared.request_cut().await
            {
                tracing::warn!(%error, "a cut could not be requested");
            } else if is_old {
                dirty_since = None;
            }
        }
    });
    env.rt.spawn("cutter", task)
}

/// How often free space is looked at, besides after every cut and merge.
const SPACE_EVERY: Duration = Duration::from_secs(1);

/// Starts the task that watches free space.
fn start_space_watch(shared: &Arc<PartitionShared>) -> Task {
    let (shared, env) = (shared.clone(), shared.env.clone());
    let task: Fut<'static, ()> = Box::pin(async move {
        while shared.stopped.borrow().is_none() {
            shared.env.clock.sleep(SPACE_EVERY).await;
            shared.look_at_space().await;
        }
    });
    env.rt.spawn("space", task)
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

/// Why an earlier life took this node's copy out of service, if one did.
async fn read_quarantine(env: &Env, layout: &PartitionLayout) -> Result<Option<String>, DiskError> {
    let unread =
        || "this node's copy was taken out of service; remove it and start again".to_owned();
    let file = match env.disk.open(&layout.quarantine(), OpenMode::Read).await {
        Ok(file) => file,
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(None),
        // That handles are short says nothing of the copy, and the start is tried again;
        Err(error) if !error.kind.is_of_the_bytes() => return Err(error),
        // one that may have been taken out of service is not served.
        Err(_) => return Ok(Some(unread())),
    };
    let len = file.len().await.unwrap_or_default() as usize;
    Ok(Some(match file.read_at(0, len).await {
        Ok(bytes) if !bytes.is_empty() => String::from_utf8_lossy(&bytes).into_owned(),
        _ => unread(),
    }))
}
