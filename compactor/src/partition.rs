//! One partition at work: records go in, are folded in order, and answered.
//!
//! ```text
//!   submit ──admit, append──► log ──reader──► fold: resolve, apply ──► tail ──► outcome to submit
//!                                               │ CUT record
//!                                               └► freeze ──► sealer ──► merger ──► collector
//! ```
//!
//! A write is answered when it is durable *and* applied, with the outcome that `apply` gave it, so that
//! whoever reads after the answer sees it. There is no state beside the tail and the catalog: opening
//! reads the catalog, replays the log from its cut, and is done.

mod fold;
mod lane;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ingest::bulk::{BulkError, BulkFiles};
use ingest::env::{Env, Fut, Task, timeout};
use ingest::log::{AppendError, Log, ReadError};
use ingest::mutant::Mutant;
use ingest::record::{Body, Record};
use ingest::words::{CutNumber, PartitionId, StoreId};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::apply::{Rules, needs};
use crate::catalog::{self, Catalog, LoadError};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::publish::Publisher;
use crate::resolve::resolve;
use crate::state::Buckets;
use crate::tail::Tail;
use crate::view::{Sealed, Snapshot, View};

pub(crate) use fold::Frozen;
use lane::Lane;

/// How a partition is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What outcomes hang on.
    pub rules: Rules,
    /// When a cut is made by itself.
    pub cut: CutPolicy,
    /// Runs of one level that are merged into one of the next.
    pub merge_fan_in: usize,
    /// For how long a write waits for cuts that lag behind.
    pub overload_wait: Duration,
    /// Bytes of the device that are kept for cuts, merges and deletes: with fewer free, what makes the
    /// store larger is refused.
    pub reserve_bytes: u64,
}

/// When a cut is made by itself: at the first of these.
#[derive(Clone, Copy, Debug)]
pub struct CutPolicy {
    /// The tail stands for so many bytes.
    pub bytes: u64,
    /// The tail holds so many entries.
    pub entries: usize,
    /// The tail has held something for so long.
    pub age: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            cut: CutPolicy { bytes: 64 << 20, entries: 200_000, age: Duration::from_secs(60) },
            merge_fan_in: 4,
            overload_wait: Duration::from_secs(20),
            reserve_bytes: 0,
        }
    }
}

/// At most so many frozen tails wait to be sealed; then writes wait too.
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
    /// The log did not take it, or says that it does not know.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Cuts lag behind; nothing was appended. Try again later.
    #[error("too much waits to be folded; try again later")]
    Overloaded,
    /// The record is in the log, and the fold stopped before it came to it: the outcome is unknown.
    #[error("the fold has stopped: {0}")]
    Stopped(String),
}

/// What all parts of a partition share.
pub(crate) struct Shared {
    pub env: Env,
    pub log: Arc<dyn Log>,
    pub bulk: Arc<BulkFiles>,
    pub layout: Layout,
    pub store: StoreId,
    pub id: PartitionId,
    pub options: Options,
    /// Swapped whole by the fold (freeze) and by the publisher; cloned by every read.
    pub view: RwLock<Arc<View>>,
    /// Changed by the fold only.
    pub buckets: RwLock<Arc<Buckets>>,
    pub lane: Mutex<Lane>,
    /// What the fold knew at each freeze that waits to be sealed, oldest first.
    pub freezes: Mutex<std::collections::VecDeque<Frozen>>,
    pub publisher: Publisher,
    /// Wakes the sealer: a tail has been frozen.
    pub frozen: Notify,
    /// Wakes the merger: a run has been added.
    pub sealed: Notify,
    /// Wakes the sealer: runs have been merged.
    pub merged: Notify,
    /// The last cut that the catalog has.
    pub cut: watch::Sender<CutNumber>,
    /// The last cut that the fold has met.
    pub folded_cut: watch::Sender<CutNumber>,
    /// Wakes the cutter: the tail may have grown enough.
    pub grown: Notify,
    /// Why the fold stopped, once it has.
    pub stopped: watch::Sender<Option<String>>,
    /// Set when the log has been replayed; nothing is collected before.
    pub replayed: watch::Sender<bool>,
    /// Whether less than the reserve is free, as last seen by the task that watches space.
    is_short: AtomicBool,
}

/// A partition at work. Dropping it stops its tasks; what was acknowledged is in the log.
pub struct Partition {
    shared: Arc<Shared>,
    _tasks: Vec<Task>,
}

impl Partition {
    /// Reads a partition's catalog; `None` when it never had one.
    pub async fn catalog(
        env: &Env,
        store: StoreId,
        id: PartitionId,
    ) -> Result<Option<Catalog>, LoadError> {
        catalog::load(env, &Layout::new(id), store, id).await
    }

    /// Opens a partition: opens the catalog's files, replays the log, starts the background tasks.
    ///
    /// `catalog` is what [`Partition::catalog`] gave, or a first one.
    pub async fn open(
        env: Env,
        log: Arc<dyn Log>,
        bulk: Arc<BulkFiles>,
        catalog: Catalog,
        options: Options,
    ) -> Result<Self, OpenError> {
        let (store, id) = (catalog.store, catalog.partition);
        let layout = Layout::new(id);
        for folder in layout.folders().iter().chain([&layout.catalog_folder()]) {
            env.disk.create_folder(folder).await?;
        }
        env.disk.sync_folder(Some(layout.root())).await?;
        env.disk.sync_folder(None).await?;
        let next = catalog.next;
        let cut = catalog.cut;
        let publisher = Publisher::new(&catalog);
        let sealed = Sealed::open(&env.disk, &layout, store, catalog, None).await?;
        let tail = Arc::new(Tail::new(next));
        let view = View { partition: id, tail, frozen: Vec::new(), sealed: Arc::new(sealed) };
        let shared = Arc::new(Shared {
            lane: Mutex::new(Lane::new(&env)),
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
            cut: watch::Sender::new(cut),
            folded_cut: watch::Sender::new(cut),
            grown: Notify::new(),
            stopped: watch::Sender::new(None),
            replayed: watch::Sender::new(false),
            is_short: AtomicBool::new(false),
        });
        shared.look_at_space().await;
        if shared.env.mutated(Mutant::CollectDuringReplay) {
            crate::collect::collect(&shared).await;
        }
        let mut tasks = vec![fold::start(&shared).await?];
        crate::collect::remove_leftovers(&shared).await?;
        tasks.push(crate::seal::start(&shared));
        tasks.push(crate::merge::start(&shared));
        tasks.push(start_cutter(&shared));
        tasks.push(start_space_watch(&shared));
        lane::open_writer(&shared).await.map_err(|error| OpenError::Fold(error.to_string()))?;
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

    /// What a read sees that begins now: everything answered before.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// The buckets.
    pub fn buckets(&self) -> Arc<Buckets> {
        self.shared.buckets.read().clone()
    }

    /// Why the fold has stopped, if it has: then nothing is written until a restart, reads go on.
    pub fn stopped(&self) -> Option<String> {
        self.shared.stopped.borrow().clone()
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
        body: Body,
    ) -> Result<Outcome, SubmitError> {
        self.shared.submit(principal, request, body).await
    }

    /// Makes a cut and waits until its catalog is published; gives its number. Without anything to cut it
    /// gives the last one.
    pub async fn cut(&self) -> Result<CutNumber, SubmitError> {
        let shared = &self.shared;
        let mut stopped = shared.stopped.subscribe();
        let mut sealed = shared.cut.subscribe();
        if !shared.view.read().tail.is_empty() {
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

impl Shared {
    /// See [`Partition::snapshot`].
    pub fn snapshot(&self) -> Snapshot {
        // The view first, then how far its tail has come: whatever was answered before is in both.
        let view = self.view.read().clone();
        let at = view.tail.applied();
        Snapshot { view, at, buckets: self.buckets.read().clone() }
    }

    pub async fn submit(
        &self,
        principal: &str,
        request: &str,
        body: Body,
    ) -> Result<Outcome, SubmitError> {
        let mut record = Record {
            id: self.lane.lock().unnumbered(),
            principal: principal.to_owned(),
            request: request.to_owned(),
            body,
        };
        if !matches!(record.body, Body::Cut { .. }) {
            self.wait_for_room().await?;
        }
        let is_short =
            || self.is_short.load(Ordering::Relaxed) || self.log.status(self.id).is_short;
        if record.grows() && is_short() {
            let detail = "the device is nearly full; deletes are still taken".to_owned();
            return Err(AppendError::Full { partition: self.id, detail }.into());
        }
        // The fold must be able to read what it decides on. Here, before anything is appended, an
        // unreadable prior costs one request; met by the fold it would cost the partition.
        let wanted = needs(&self.buckets.read().clone(), &record);
        let prior = resolve(&self.snapshot(), &wanted).await.map_err(SubmitError::Unreadable)?;
        lane::judge_early(self, &mut record, &prior);
        lane::append(self, record).await
    }

    /// Sees how much of the device is free. A device that does not say is taken to have enough.
    pub async fn look_at_space(&self) {
        let reserve = self.options.reserve_bytes;
        let is_short = reserve > 0 && self.env.disk.free_bytes().await.is_ok_and(|b| b < reserve);
        if self.is_short.swap(is_short, Ordering::Relaxed) != is_short {
            if is_short {
                tracing::warn!(reserve, "the device is nearly full: only deletes are taken");
            } else {
                tracing::info!("the device has room again");
            }
        }
    }

    /// Waits while two frozen tails wait and the third is full.
    async fn wait_for_room(&self) -> Result<(), SubmitError> {
        let is_full = |shared: &Self| {
            let view = shared.view.read();
            view.frozen.len() >= FROZEN_MAX
                && (view.tail.bytes() >= shared.options.cut.bytes
                    || view.tail.len() >= shared.options.cut.entries)
        };
        if !is_full(self) {
            return Ok(());
        }
        let mut sealed = self.cut.subscribe();
        let room = async {
            while is_full(self) {
                if sealed.changed().await.is_err() {
                    return;
                }
            }
        };
        let waited = timeout(self.env.clock.as_ref(), self.options.overload_wait, room).await;
        waited.ok_or(SubmitError::Overloaded)
    }

    /// Appends a CUT record for the cut after the last one. Losing the race for it does no harm.
    pub async fn request_cut(&self) -> Result<(), SubmitError> {
        let number = self.folded_cut.borrow().next();
        self.submit("", "", Body::Cut { number }).await.map(|_| ())
    }

    fn wants_cut(&self) -> bool {
        let is_short = self.log.status(self.id).is_short;
        let view = self.view.read();
        let policy = &self.options.cut;
        // While the log is short of room every record counts, and only a cut makes room again: it must not
        // wait until none is left for itself.
        let entries = if is_short { policy.entries.min(SHORT_ENTRIES) } else { policy.entries };
        view.frozen.len() < FROZEN_MAX
            && (view.tail.bytes() >= policy.bytes || view.tail.len() >= entries)
    }
}

/// A cut is made of so few entries when the log is short of room.
const SHORT_ENTRIES: usize = 256;

/// Starts the task that makes cuts by the policy.
fn start_cutter(shared: &Arc<Shared>) -> Task {
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
                (!view.tail.is_empty(), view.frozen.len() < FROZEN_MAX)
            };
            if !is_dirty {
                dirty_since = None;
                continue;
            }
            let since = *dirty_since.get_or_insert(now);
            let is_old = now.since(since) >= shared.options.cut.age;
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
fn start_space_watch(shared: &Arc<Shared>) -> Task {
    let (shared, env) = (shared.clone(), shared.env.clone());
    let task: Fut<'static, ()> = Box::pin(async move {
        while shared.stopped.borrow().is_none() {
            shared.env.clock.sleep(SPACE_EVERY).await;
            shared.look_at_space().await;
        }
    });
    env.rt.spawn("space", task)
}
