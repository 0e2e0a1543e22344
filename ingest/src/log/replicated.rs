//! A log on brokers: the same log seen from every node.
//!
//! ```text
//!   append ──► client of the record's kind ──► partition's leader ══► its followers
//!   barrier ─► client of barriers ───────────┘        │ committed
//!   reader ◄── decode, spool payload ◄── consumer ◄───┘
//! ```
//!
//! The end of such a log is never known for certain: a broker may have been deposed without knowing it,
//! and an acknowledgement may get lost. Therefore
//! - an append that was not acknowledged in time is *unknown*, and only reading settles it;
//! - a barrier is a record of its own, met by its content, since nothing else proves that a read is fresh;
//! - a consumer that does not deliver records that this process knows to be acknowledged is replaced;
//! - duplicates and late records are possible (those of a replaced client), and the fold drops them.
//!
//! Bulk payload, records with outcomes and barriers have a client each, so that none waits behind another.

mod client;
mod message;
mod progress;
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

use client::ProducerClient;
use message::{LogIdentity, MessageContent};
use progress::PartitionProgress;
use spool::Spool;

pub use client::ProducerTimeouts;

/// Options of a log on brokers.
#[derive(Clone, Debug)]
pub struct ReplicatedLogOptions {
    /// The folder for spooled payload, below the data directory. Emptied by a start.
    pub folder: FilePath,
    /// The most bytes that may be admitted and not acknowledged, of large records and of small ones.
    pub queue_bytes: usize,
    /// Length in bytes at which a spool file is full.
    pub spool_file_bytes: u64,
    /// The time-outs after which a producer is replaced.
    pub patience: ProducerTimeouts,
    /// A consumer is replaced after this time without a delivery, while acknowledged records are unread.
    pub stall: Duration,
    /// Bytes of the device kept free for cuts, merges and deletes; spooling keeps half of them free.
    pub reserve_bytes: u64,
    /// The log counts as cut off after brokers have reported an end below the read offset for this time.
    /// For a shorter time a broker that is behind may report the same.
    pub lost: Duration,
}

impl ReplicatedLogOptions {
    /// The usual values. No bytes are kept in reserve before the caller sets the field for that.
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

/// The longest message in bytes: the usual limit of brokers, less their framing.
pub const MESSAGE_BYTES_MAX: usize = 1_000_000;

/// An error of opening or setting up a log on brokers.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The brokers did not answer in time, or refused the request. A retry may help.
    #[error("the brokers do not answer: {0}")]
    Brokers(#[from] BrokerError),
    /// A partition has no identity: it has not been set up, or is not the log of a store.
    #[error("partition {partition} of the log has no identity: {detail}")]
    NoIdentity {
        /// The partition.
        partition: PartitionId,
        /// The content that was found in its place.
        detail: String,
    },
    /// The log belongs to another store, or has another number of partitions.
    #[error("partition {partition} belongs to another log: {detail}")]
    Foreign {
        /// The partition.
        partition: PartitionId,
        /// The difference.
        detail: String,
    },
}

/// Counts of events since the log was opened; no count falls.
#[derive(Default, Debug)]
pub struct LogCounters {
    /// Appends that ended with an unknown outcome.
    pub unknown: AtomicU64,
    /// Barriers that were sent, acknowledged or not.
    pub barriers: AtomicU64,
    /// Consumers that were replaced, for any reason.
    pub consumers_replaced: AtomicU64,
}

/// A log on brokers, as one node uses it. See the module's description.
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
    /// The writer of this process's barriers, drawn at each start.
    barrier_writer: WriterId,
    barrier_sequence: AtomicU64,
    counters: LogCounters,
    closed: Mutex<bool>,
}

struct ReplicatedPartition {
    spool: Spool,
    progress: Mutex<PartitionProgress>,
}

/// Interval at which clients and consumers are checked.
const LOOK: Duration = Duration::from_millis(500);
/// Time for which an open waits for a first message where brokers report an empty partition.
const EMPTY_WAIT: Duration = Duration::from_secs(5);
/// Time for which an open waits for brokers.
const OPEN_WAIT: Duration = Duration::from_secs(30);

impl ReplicatedLog {
    /// Opens the log, verifies the identity of each partition, and empties the spool. The log of another
    /// store than `known` is refused; a new data directory passes none. Fails when brokers do not answer
    /// for 30 s, and for a partition without a valid identity.
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
            let progress = PartitionProgress::new(bounds.first, bounds.end);
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

    /// Writes the identity into each empty partition of a new log, and returns after the acknowledgement.
    /// May be repeated: an interrupted setup is completed for the store that it was begun for. Must never
    /// run on two machines at once. Fails when brokers do not answer, or a partition is another log's.
    pub async fn establish(
        env: &Env,
        brokers: &Arc<dyn Brokers>,
        partitions: u32,
        store: StoreId,
        cluster: &str,
    ) -> Result<(), OpenError> {
        let producer = brokers.producer(ProducerKind::Commits, 0)?;
        // Otherwise the partitions of an interrupted setup would name two stores.
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
                None => return Err(BrokerError("no acknowledgement in time".into()).into()),
            }
        }
        Ok(())
    }

    /// The store that the log belongs to, read from the log itself or known before it was opened.
    pub fn store(&self) -> StoreId {
        self.shared.store
    }

    /// The counts of events since the log was opened. Each may rise while another one is read.
    pub fn counters(&self) -> &LogCounters {
        &self.shared.counters
    }

    /// Number of producers of each kind replaced so far. Rises only while brokers fail to acknowledge.
    pub fn clients_replaced(&self) -> Vec<(ProducerKind, u32)> {
        self.shared.clients.iter().map(|(lane, client)| (*lane, client.replaced())).collect()
    }

    /// Returns the number of offsets between this process's reader and the end of the log, as one
    /// broker believes that end; zero when the broker is behind. Fails when no broker answers.
    pub async fn lag(&self, partition: PartitionId) -> Result<u64, BrokerError> {
        let bounds = self.shared.brokers.bounds(partition).await?;
        let read = self.shared.partition(partition).progress.lock().end;
        Ok(bounds.end.get().saturating_sub(read.get()))
    }

    /// Refuses further admissions and ends the task that replaces clients. Admitted appends are still sent.
    pub async fn close(&self) {
        *self.shared.closed.lock() = true;
        let watch = self.watch.lock().take();
        drop(watch);
    }
}

/// Repeats a request until brokers answer. Fails with the last error after [`OPEN_WAIT`].
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

/// Reads the identity of a partition and compares it. Where it is trimmed, the store must be known.
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
        // The identity has been trimmed; records are bound to the store by their checksums all the same.
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
        // Believed to be empty only when no message came either, since a broker may be behind.
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

    /// Sends a record by the client of its kind and notes the acknowledgement for the readers.
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
        // By the same producer as the stream's pieces, so that the record is behind them.
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
            // Large records have a capacity of their own, so that they never keep out small ones.
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
        record: Arc<Record>,
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

/// Records above this length in bytes are admitted as payload.
const BULKY: usize = 512 << 10;
