//! A log on brokers: the same log seen from every node.
//!
//! ```text
//!   append ──► client of the lane ──► partition's leader ══► its followers
//!   barrier ─► client of barriers ─┘          │ committed
//!   reader ◄── decode, spool payload ◄── consumer
//! ```
//!
//! Nobody knows such a log's end for certain: a broker may have been deposed without knowing it, and an
//! acknowledgement may get lost. So
//! - an append that was not acknowledged in time is *unknown*, and only reading settles it;
//! - a barrier is a record of its own, met by its content; nothing else proves that a read is fresh;
//! - a consumer that does not deliver what this process knows to be acknowledged is replaced;
//! - duplicates and late records are possible (a replaced client's), and are the fold's to drop.
//!
//! Bulk payload, records with outcomes and barriers have a client each, so that none waits behind another.

mod client;
mod message;
mod reader;
mod spool;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::env::{DiskError, Env, FilePath, Fut, Task, timeout};
use crate::ids::{Epoch, Offset, PartitionId, Sequence, StoreId, WriterId};
use crate::log::brokers::{
    BrokerError, Brokers, CommittedMessage, ConsumeError, PartitionBounds, ProducerKind, SendError,
};
use crate::log::{
    AppendError, AppendPermit, BarrierToken, Log, LogLocation, LogReader, LogStatus, ReadError,
};
use crate::record::{Record, RecordBody, RecordId};
use crate::time::Tick;

use client::ProducerClient;
use message::{LogIdentity, MessageContent};
use spool::Spool;

pub use client::ProducerTimeouts;

/// How a log on brokers is used.
#[derive(Clone, Debug)]
pub struct ReplicatedLogOptions {
    /// Where payload that is not folded yet is spooled, below the data directory.
    pub folder: FilePath,
    /// Bytes that may be admitted and not acknowledged, for each lane.
    pub queue_bytes: usize,
    /// Length at which a spool file is full.
    pub spool_file_bytes: u64,
    /// For how long a producer is trusted.
    pub patience: ProducerTimeouts,
    /// A consumer is replaced when it has delivered nothing for so long although it should have.
    pub stall: Duration,
    /// Bytes of the device that are kept for cuts, merges and deletes; half of them from payload that is
    /// spooled, too.
    pub reserve_bytes: u64,
    /// What the log ends below must be so for so long before it is believed: a broker that is behind may
    /// say it, too.
    pub lost: Duration,
}

impl ReplicatedLogOptions {
    /// The usual values.
    pub fn new(folder: FilePath) -> Self {
        Self {
            folder,
            queue_bytes: 16 << 20,
            spool_file_bytes: 64 << 20,
            patience: ProducerTimeouts::default(),
            stall: Duration::from_secs(2),
            reserve_bytes: 0,
            lost: Duration::from_secs(60),
        }
    }
}

/// The longest message that brokers take unless they are told otherwise, less what their framing needs.
pub const MESSAGE_BYTES_MAX: usize = 1_000_000;

/// A log on brokers could not be opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The brokers could not be asked in time.
    #[error("the brokers do not answer: {0}")]
    Brokers(#[from] BrokerError),
    /// A partition has no identity: it has not been set up, or it is not a store's log.
    #[error("partition {partition} of the log has no identity: {detail}")]
    NoIdentity {
        /// The partition.
        partition: PartitionId,
        /// What was found in its place.
        detail: String,
    },
    /// The log is another one than expected.
    #[error("partition {partition} belongs to another log: {detail}")]
    Foreign {
        /// The partition.
        partition: PartitionId,
        /// What differs.
        detail: String,
    },
}

/// What has happened since the log was opened.
#[derive(Default, Debug)]
pub struct LogCounters {
    /// Appends whose outcome was not known.
    pub unknown: AtomicU64,
    /// Barriers that were appended.
    pub barriers: AtomicU64,
    /// Consumers that were replaced.
    pub consumers_replaced: AtomicU64,
}

/// A log on brokers.
pub struct ReplicatedLog {
    shared: Arc<LogShared>,
    watch: Mutex<Option<Task>>,
}

struct LogShared {
    env: Env,
    brokers: Arc<dyn Brokers>,
    options: ReplicatedLogOptions,
    store: StoreId,
    clients: BTreeMap<ProducerKind, Arc<ProducerClient>>,
    rooms: BTreeMap<ProducerKind, Arc<Semaphore>>,
    partitions: BTreeMap<PartitionId, ReplicatedPartition>,
    /// Names this process's barriers.
    barrier_writer: WriterId,
    barrier_sequence: AtomicU64,
    counters: LogCounters,
    closed: Mutex<bool>,
}

struct ReplicatedPartition {
    spool: Spool,
    progress: Mutex<PartitionProgress>,
}

/// What this process knows to be in a partition, and what it has read of it.
#[derive(Default)]
struct PartitionProgress {
    first: Offset,
    /// The offset after the last record delivered or known.
    end: Offset,
    /// The newest acknowledged record of each writer of this process.
    acknowledged: BTreeMap<WriterId, (Epoch, Sequence)>,
    /// The newest record of each of these that a reader has delivered.
    seen: BTreeMap<WriterId, (Epoch, Sequence)>,
    /// Since when something acknowledged has been unread.
    unread_since: Option<Tick>,
    /// When a reader delivered something last.
    delivered: Tick,
}

impl PartitionProgress {
    fn acknowledged(&mut self, id: &RecordId, now: Tick) {
        let newest = self.acknowledged.entry(id.writer).or_default();
        *newest = (*newest).max((id.epoch, id.sequence));
        if self.has_unread() {
            self.unread_since.get_or_insert(now);
        }
    }

    /// Before a record is sent: its writer is one of this process, whose records are looked out for. An
    /// acknowledgement may come after the record has been read.
    fn sends(&mut self, writer: WriterId) {
        self.seen.entry(writer).or_default();
    }

    fn delivered(&mut self, ids: impl Iterator<Item = RecordId>, next: Offset, now: Tick) {
        for id in ids {
            if let Some(newest) = self.seen.get_mut(&id.writer) {
                *newest = (*newest).max((id.epoch, id.sequence));
            }
        }
        self.end = self.end.max(next);
        self.delivered = now;
        if !self.has_unread() {
            self.unread_since = None;
        }
    }

    fn has_unread(&self) -> bool {
        self.acknowledged
            .iter()
            .any(|(writer, newest)| self.seen.get(writer).is_none_or(|seen| seen < newest))
    }

    /// Whether a consumer made at `born` delivers nothing although there is something.
    fn is_stalled(&self, born: Tick, stall: Duration, now: Tick) -> bool {
        let Some(unread) = self.unread_since else { return false };
        now.since(unread.max(self.delivered).max(born)) >= stall
    }
}

/// How often clients are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long an open waits for a first message where brokers say that there is none.
const EMPTY_WAIT: Duration = Duration::from_secs(5);
/// How long an open waits for brokers.
const OPEN_WAIT: Duration = Duration::from_secs(30);

impl ReplicatedLog {
    /// Opens the log of a store with so many partitions. `known` is the store that the data directory
    /// belongs to; a log of any other is refused.
    pub async fn open(
        env: &Env,
        brokers: Arc<dyn Brokers>,
        partitions: u32,
        known: Option<StoreId>,
        options: ReplicatedLogOptions,
    ) -> Result<Self, OpenError> {
        let mut store = known;
        let mut found = BTreeMap::new();
        for id in (0..partitions).map(PartitionId::new) {
            let bounds = retry(env, || brokers.bounds(id)).await?;
            store = Some(check_identity(env, &brokers, id, partitions, bounds, store).await?);
            let spool_folder = options.folder.join(format!("p{:04}", id.get()));
            let spool = Spool::open(env.clone(), spool_folder, id, options.spool_file_bytes);
            let progress = PartitionProgress {
                first: bounds.first,
                end: bounds.end,
                ..PartitionProgress::default()
            };
            found.insert(
                id,
                ReplicatedPartition { spool: spool.await?, progress: Mutex::new(progress) },
            );
        }
        let client = |lane| {
            let client = ProducerClient::new(env, brokers.clone(), lane, options.patience)?;
            Ok::<_, BrokerError>((lane, Arc::new(client)))
        };
        let room = |lane| (lane, Arc::new(Semaphore::new(options.queue_bytes)));
        let shared = Arc::new(LogShared {
            env: env.clone(),
            clients: ProducerKind::ALL.into_iter().map(client).collect::<Result<_, _>>()?,
            rooms: ProducerKind::ALL.into_iter().map(room).collect(),
            brokers,
            options,
            store: store.unwrap_or_default(),
            partitions: found,
            barrier_writer: WriterId(env.random_id()),
            barrier_sequence: AtomicU64::new(0),
            counters: LogCounters::default(),
            closed: Mutex::new(false),
        });
        let watched = shared.clone();
        let watch: Fut<'static, ()> = Box::pin(async move {
            loop {
                watched.env.clock.sleep(LOOK).await;
                for client in watched.clients.values() {
                    client.look();
                }
            }
        });
        let watch = Mutex::new(Some(env.rt.spawn("broker clients", watch)));
        Ok(Self { shared, watch })
    }

    /// Sets a new log up: writes the identity of each partition that is empty. Repeating it does no harm.
    pub async fn establish(
        env: &Env,
        brokers: &Arc<dyn Brokers>,
        partitions: u32,
        store: StoreId,
        cluster: &str,
    ) -> Result<(), OpenError> {
        let producer = brokers.producer(ProducerKind::Commits, 0)?;
        // One that was interrupted is finished for the store that it was begun for.
        let mut store = store;
        let mut found = Vec::new();
        for partition in (0..partitions).map(PartitionId::new) {
            found.push((partition, retry(env, || brokers.bounds(partition)).await?));
        }
        let is_begun = |bounds: &PartitionBounds| bounds.end > Offset::ZERO;
        if let Some((partition, bounds)) =
            found.iter().find(|(_, bounds)| bounds.first == Offset::ZERO && is_begun(bounds))
        {
            store = check_identity(env, brokers, *partition, partitions, *bounds, None).await?;
        }
        for (partition, _) in found.into_iter().filter(|(_, bounds)| !is_begun(bounds)) {
            let cluster = cluster.to_owned();
            let identity = LogIdentity { store, partition, partitions, cluster };
            let message = message::encode_identity(&identity);
            let message = message.map_err(|error| BrokerError(error.to_string()))?;
            let sent = producer.send(partition, message);
            match timeout(env.clock.as_ref(), OPEN_WAIT, sent).await {
                Some(Ok(())) => {}
                Some(Err(error)) => return Err(BrokerError(error.to_string()).into()),
                None => return Err(BrokerError("no acknowledgement came".into()).into()),
            }
        }
        Ok(())
    }

    /// Whose log it is.
    pub fn store(&self) -> StoreId {
        self.shared.store
    }

    /// What has happened so far.
    pub fn counters(&self) -> &LogCounters {
        &self.shared.counters
    }

    /// How many clients of each lane have been replaced.
    pub fn clients_replaced(&self) -> Vec<(ProducerKind, u32)> {
        self.shared.clients.iter().map(|(lane, client)| (*lane, client.replaced())).collect()
    }

    /// How far behind the end of the log, as some broker believes it to be, this process's reader is.
    pub async fn lag(&self, partition: PartitionId) -> Result<u64, BrokerError> {
        let bounds = self.shared.brokers.bounds(partition).await?;
        let read = self.shared.partition(partition).progress.lock().end;
        Ok(bounds.end.get().saturating_sub(read.get()))
    }

    /// Takes no more records and ends the tasks.
    pub async fn close(&self) {
        *self.shared.closed.lock() = true;
        let watch = self.watch.lock().take();
        drop(watch);
    }
}

/// Asks brokers until they answer, for as long as an open may wait.
async fn retry<'a, T>(
    env: &Env,
    ask: impl Fn() -> Fut<'a, Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    let began = env.clock.now();
    loop {
        let error = match timeout(env.clock.as_ref(), OPEN_WAIT, ask()).await {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(error)) => error,
            None => BrokerError("no answer came in time".into()),
        };
        if env.clock.now().since(began) >= OPEN_WAIT {
            return Err(error);
        }
        env.clock.sleep(LOOK).await;
    }
}

/// Reads a partition's first message, which says whose it is.
async fn check_identity(
    env: &Env,
    brokers: &Arc<dyn Brokers>,
    partition: PartitionId,
    partitions: u32,
    bounds: PartitionBounds,
    known: Option<StoreId>,
) -> Result<StoreId, OpenError> {
    let no_identity = |detail: String| OpenError::NoIdentity { partition, detail };
    if bounds.first > Offset::ZERO {
        // What lies below has been let go; records are bound to the store by their checksums all the same.
        return known.ok_or_else(|| {
            no_identity(format!(
                "it begins at offset {}, and the data directory is new",
                bounds.first
            ))
        });
    }
    let first = first_messages(env, brokers, partition).await?;
    let value = first.first().map(|message| message.value.clone()).unwrap_or_default();
    let identity = match message::decode(StoreId::default(), partition, &value) {
        Ok(MessageContent::Identity(identity)) => identity,
        Ok(MessageContent::Record(_)) => return Err(no_identity("it begins with a record".into())),
        Err(detail) => return Err(no_identity(detail)),
    };
    let foreign = |detail: String| Err(OpenError::Foreign { partition, detail });
    if identity.partition != partition || identity.partitions != partitions {
        return foreign(format!(
            "it is partition {} of {}, expected {partition} of {partitions}",
            identity.partition, identity.partitions
        ));
    }
    if let Some(known) = known.filter(|known| *known != identity.store) {
        return foreign(format!(
            "its store is {}, expected {}: the topic was made anew, or the data directory is another cluster's",
            hex(&identity.store),
            hex(&known)
        ));
    }
    Ok(identity.store)
}

/// Reads a partition from its first message on. An empty partition is believed only after a while without any
/// message, since a broker may be behind; fails when no broker delivers anything for long.
async fn first_messages(
    env: &Env,
    brokers: &Arc<dyn Brokers>,
    partition: PartitionId,
) -> Result<Vec<CommittedMessage>, OpenError> {
    let mut attempt = 0;
    let began = env.clock.now();
    loop {
        let mut consumer = brokers.consumer(partition, Offset::ZERO, attempt)?;
        match timeout(env.clock.as_ref(), OPEN_WAIT / 6, consumer.next()).await {
            Some(Ok(messages)) => return Ok(messages),
            Some(Err(ConsumeError::Refused(reason))) => return Err(BrokerError(reason).into()),
            Some(Err(error)) if env.clock.now().since(began) >= OPEN_WAIT => {
                return Err(BrokerError(error.to_string()).into());
            }
            None if env.clock.now().since(began) >= OPEN_WAIT => {
                return Err(BrokerError("the first message does not come".into()).into());
            }
            Some(Err(_)) | None => attempt += 1,
        }
        // That nothing is there is believed only when nothing came either: a broker may be behind.
        let bounds = retry(env, || brokers.bounds(partition)).await?;
        if bounds.end == Offset::ZERO && env.clock.now().since(began) >= EMPTY_WAIT {
            let detail = "it is empty; set the cluster up with `siltstone init`".into();
            return Err(OpenError::NoIdentity { partition, detail });
        }
        env.clock.sleep(LOOK).await;
    }
}

fn hex(id: &StoreId) -> String {
    id.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl LogShared {
    fn partition(&self, id: PartitionId) -> &ReplicatedPartition {
        self.partitions.get(&id).expect("callers use the partitions that the log was opened with")
    }

    fn client(&self, lane: ProducerKind) -> &Arc<ProducerClient> {
        self.clients.get(&lane).expect("every lane has a client")
    }

    /// Sends a record in its lane and keeps account of what comes back.
    fn send(
        self: &Arc<Self>,
        partition: PartitionId,
        record: &Record,
    ) -> Fut<'static, Result<(), AppendError>> {
        let (id, lane) = (record.id, lane_of(record));
        let value = message::encode_record(self.store, partition, record);
        if value.len() > MESSAGE_BYTES_MAX {
            let reason = format!("a record of {} bytes is too large", value.len());
            return Box::pin(std::future::ready(Err(AppendError::Refused { partition, reason })));
        }
        if lane != ProducerKind::Data {
            self.partition(partition).progress.lock().sends(id.writer);
        }
        let sent = self.client(lane).send(partition, value);
        let shared = self.clone();
        Box::pin(async move {
            match sent.await {
                Ok(()) => {
                    if lane != ProducerKind::Data {
                        let now = shared.env.clock.now();
                        shared.partition(partition).progress.lock().acknowledged(&id, now);
                    }
                    Ok(())
                }
                Err(SendError::NotSent(detail)) => Err(AppendError::Full { partition, detail }),
                Err(SendError::Unknown(reason)) => {
                    shared.counters.unknown.fetch_add(1, Ordering::Relaxed);
                    Err(AppendError::Unknown { partition, reason })
                }
            }
        })
    }
}

fn lane_of(record: &Record) -> ProducerKind {
    match record.body {
        // Behind the stream's pieces.
        RecordBody::Data(_) | RecordBody::Abandon { .. } => ProducerKind::Data,
        RecordBody::Barrier => ProducerKind::Barriers,
        _ => ProducerKind::Commits,
    }
}

impl Log for ReplicatedLog {
    fn admit(
        &self,
        partition: PartitionId,
        bytes: usize,
    ) -> Fut<'_, Result<AppendPermit, AppendError>> {
        Box::pin(async move {
            let wanted = bytes.min(self.shared.options.queue_bytes) as u32;
            // Payload has a room of its own: what is large must not keep out what is small.
            let lane = if bytes > BULKY { ProducerKind::Data } else { ProducerKind::Commits };
            let room = self.shared.rooms.get(&lane).expect("every lane has room").clone();
            let refused =
                |reason: &str| AppendError::Refused { partition, reason: reason.to_owned() };
            let room = room.acquire_many_owned(wanted).await;
            let room = room.map_err(|_| refused("the log is closed"))?;
            if *self.shared.closed.lock() {
                return Err(refused("the log is closed"));
            }
            Ok(AppendPermit { partition, bytes, room })
        })
    }

    fn append(
        &self,
        permit: AppendPermit,
        record: Record,
    ) -> Fut<'static, Result<(), AppendError>> {
        let sent = self.shared.send(permit.partition, &record);
        Box::pin(async move {
            let ended = sent.await;
            drop(permit);
            ended
        })
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
    ) -> Fut<'_, Result<Box<dyn LogReader>, ReadError>> {
        let reader = reader::TailReader::new(self.shared.clone(), partition, from);
        Box::pin(std::future::ready(Ok(Box::new(reader) as Box<dyn LogReader>)))
    }

    fn review(
        &self,
        partition: PartitionId,
        from: Offset,
    ) -> Fut<'_, Result<Box<dyn LogReader>, ReadError>> {
        let reader = reader::TailReader::reviewing(self.shared.clone(), partition, from);
        Box::pin(std::future::ready(Ok(Box::new(reader) as Box<dyn LogReader>)))
    }

    fn barrier(&self, partition: PartitionId) -> Fut<'_, Result<BarrierToken, AppendError>> {
        let shared = &self.shared;
        let sequence = shared.barrier_sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let id = RecordId {
            writer: shared.barrier_writer,
            epoch: Epoch::new(1),
            sequence: Sequence::new(sequence),
        };
        let record = Record::of_the_store(id, RecordBody::Barrier);
        shared.counters.barriers.fetch_add(1, Ordering::Relaxed);
        let sent = shared.send(partition, &record);
        Box::pin(async move { sent.await.map(|()| BarrierToken::Record(id)) })
    }

    fn end(&self, partition: PartitionId) -> Fut<'_, Result<Offset, ReadError>> {
        Box::pin(async move {
            let bounds = self.shared.brokers.bounds(partition).await;
            bounds
                .map(|bounds| bounds.end)
                .map_err(|error| ReadError::Unavailable { partition, reason: error.to_string() })
        })
    }

    fn fetch(
        &self,
        partition: PartitionId,
        location: LogLocation,
    ) -> Fut<'_, Result<Bytes, ReadError>> {
        match spool::offset_in_the_log(&location) {
            Some(offset) => Box::pin(reader::fetch(self.shared.clone(), partition, offset)),
            None => Box::pin(self.shared.partition(partition).spool.fetch(location)),
        }
    }

    fn release(&self, partition: PartitionId, below: Offset) -> Fut<'_, ()> {
        Box::pin(self.shared.partition(partition).spool.release(below))
    }

    fn trim(&self, partition: PartitionId, below: Offset) -> Fut<'_, Result<(), ReadError>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let deleted = shared.brokers.delete_below(partition, below).await;
            deleted
                .map_err(|error| ReadError::Unavailable { partition, reason: error.to_string() })?;
            let mut progress = shared.partition(partition).progress.lock();
            progress.first = progress.first.max(below);
            Ok(())
        })
    }

    fn status(&self, partition: PartitionId) -> LogStatus {
        let progress = self.shared.partition(partition).progress.lock();
        let refusing = self
            .shared
            .closed
            .lock()
            .then(|| AppendError::Refused { partition, reason: "the log is closed".into() });
        LogStatus { first: progress.first, end: progress.end, refusing, is_short: false }
    }
}

/// Records above this size are taken for payload.
const BULKY: usize = 512 << 10;
