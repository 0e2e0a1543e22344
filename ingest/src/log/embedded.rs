//! The embedded log: crash-safe files on this machine. `docs/formats/log.md` specifies the bytes.
//!
//! ```text
//!   log/0000/0000000007.log   header | batch | batch | batch | zeros ...
//!            0000000008.log   (written with zeros ahead of need, or a file that was let go, renamed)
//!            mark             up to where the log was durable
//!   log-0000.mark             the same, where the loss of the folder above does not take it along
//! ```
//!
//! One writer task a partition takes what has queued up while the last sync ran, writes it as one batch,
//! syncs once, and wakes all who wait: group commit without a timer, one sync in flight. Files are
//! filled ahead of need, so a commit never extends one; a file whose records are all let go of is reused
//! under the next number.

mod batch;
#[cfg(test)]
mod layer;
mod mark;
mod reader;
mod recovery;
mod repair;
mod scan;
mod verify;
mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot, watch};

use super::{
    AppendError, AppendPermit, BarrierToken, CommittedRecord, Corruption, Log, LogLocation,
    LogReader, LogStatus, ReadError,
};
use crate::env::{DiskError, Env, File, FilePath, Fut, Task};
use crate::ids::{Offset, PartitionId, StoreId};
use crate::record::{RECORD_BYTES_MAX, Record};

use batch::{BLOCK, LogFileId};

pub use repair::{LossReport, LostRange, RepairError, repair};
pub use verify::{BatchPlace, read_batch, verify, verify_noting};

/// How an embedded log is kept.
#[derive(Clone, Debug)]
pub struct EmbeddedLogOptions {
    /// The folder below the data directory.
    pub folder: FilePath,
    /// The store that it belongs to.
    pub store: StoreId,
    /// Length of a log file in bytes; a multiple of 4 KiB.
    pub file_bytes: u64,
    /// Bytes that may be appended and not yet durable.
    pub queue_bytes: usize,
    /// Bytes of the device that a new log file must leave free.
    pub reserve_bytes: u64,
    /// True when the store has been written to before. Then a log must be there, even if nothing of it is
    /// folded yet: none at all is corruption.
    pub is_begun: bool,
}

impl EmbeddedLogOptions {
    fn partition_folder(&self, partition: PartitionId) -> FilePath {
        self.folder.join(format!("{:04}", partition.get()))
    }

    /// The most bytes that a batch takes: what is left of an empty file, and no more than one record of
    /// the largest kind needs.
    fn batch_bytes_max(&self) -> u64 {
        (RECORD_BYTES_MAX as u64 + 16 * BLOCK).min(self.file_bytes - BLOCK)
    }
}

fn file_path(folder: &FilePath, number: u64) -> FilePath {
    folder.join(format!("{number:010}.log"))
}

/// What recovery has to tell.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Partitions of which something durable is gone, with what is known of it.
    pub corruptions: BTreeMap<PartitionId, Corruption>,
    /// Bytes of unfinished batches that were cut off and kept in `.torn` files.
    pub torn_bytes: u64,
}

/// A log file with records.
struct LogFile {
    identity: LogFileId,
    /// The offset of the first record that is read from it.
    base: Offset,
    /// Position of the batch with that record.
    begin: u64,
    file: Arc<dyn File>,
    len: u64,
}

struct QueuedRecord {
    record: Record,
    encoded: Bytes,
    permit: AppendPermit,
    done: oneshot::Sender<Result<(), AppendError>>,
}

/// What may be admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AdmissionSpace {
    /// The next file is there: as much as the queue takes.
    Plenty,
    /// The next file is being made: so many bytes; whoever wants more waits.
    Awaited(u64),
    /// The next file cannot be made now: so many bytes; whoever wants more is refused.
    Short(u64),
}

/// Committed batches that are still in memory, for readers that keep up.
#[derive(Default)]
struct RecentBatches {
    batches: VecDeque<Arc<Vec<CommittedRecord>>>,
    bytes: usize,
}

/// What the handles and tasks of one partition share.
struct EmbeddedPartition {
    id: PartitionId,
    folder: FilePath,
    options: EmbeddedLogOptions,
    env: Env,
    room: Arc<Semaphore>,
    queue: Mutex<VecDeque<QueuedRecord>>,
    queued: Notify,
    /// Files with records, oldest first. A reader that has a file open holds its `Arc`.
    files: Mutex<VecDeque<Arc<LogFile>>>,
    /// Files to be reused, with their numbers.
    spare: Mutex<Vec<(u64, Arc<dyn File>)>>,
    /// Wakes the preparer: there is a file to reuse.
    spared: Notify,
    recent: Mutex<RecentBatches>,
    /// The offset after the last committed record.
    end: watch::Sender<Offset>,
    trimmed: Mutex<Offset>,
    refusing: Mutex<Option<AppendError>>,
    /// What may be admitted until the next file is there.
    space: watch::Sender<AdmissionSpace>,
    corruption: Option<Corruption>,
    closing: watch::Sender<bool>,
}

/// See the module's description.
pub struct EmbeddedLog {
    partitions: BTreeMap<PartitionId, Arc<EmbeddedPartition>>,
    tasks: Mutex<Vec<Task>>,
}

impl EmbeddedLog {
    /// Opens a log, recovering it first. `floors` names the partitions, each with the offset below which
    /// nothing is needed any more.
    pub async fn open(
        env: &Env,
        options: EmbeddedLogOptions,
        floors: &BTreeMap<PartitionId, Offset>,
    ) -> Result<(Self, RecoveryReport), DiskError> {
        assert!(options.file_bytes.is_multiple_of(BLOCK) && options.file_bytes >= 4 * BLOCK);
        let mut report = RecoveryReport::default();
        let mut partitions = BTreeMap::new();
        let mut tasks = Vec::new();
        for (id, floor) in floors {
            let folder = options.partition_folder(*id);
            let found = recovery::recover(env, &options, *id, *floor).await?;
            report.torn_bytes += found.torn_bytes;
            match &found.corruption {
                Some(corruption) => {
                    tracing::error!(%corruption, partition = %id, "the log is read-only");
                    report.corruptions.insert(*id, corruption.clone());
                }
                None => {
                    env.disk_dedicated.create_folder(&folder).await?;
                    env.disk_dedicated.sync_folder(Some(&options.folder)).await?;
                    env.disk_dedicated.sync_folder(None).await?;
                }
            }
            let refusing = found.corruption.as_ref().map(|corruption| AppendError::Refused {
                partition: *id,
                reason: corruption.to_string(),
            });
            let partition = Arc::new(EmbeddedPartition {
                id: *id,
                folder,
                options: options.clone(),
                env: env.clone(),
                room: Arc::new(Semaphore::new(options.queue_bytes)),
                queue: Mutex::default(),
                queued: Notify::new(),
                files: Mutex::new(found.files.into()),
                spare: Mutex::new(found.spare),
                spared: Notify::new(),
                recent: Mutex::default(),
                end: watch::Sender::new(found.end),
                trimmed: Mutex::new(*floor),
                refusing: Mutex::new(refusing),
                space: watch::Sender::new(AdmissionSpace::Plenty),
                corruption: found.corruption,
                closing: watch::Sender::new(false),
            });
            if partition.corruption.is_none() {
                let start = writer::WriterStart {
                    position: found.position,
                    chain: found.chain,
                    hashes: found.hashes,
                    last_number: found.last_number,
                };
                tasks.extend(writer::start(&partition, start).await?);
            }
            partitions.insert(*id, partition);
        }
        Ok((Self { partitions, tasks: Mutex::new(tasks) }, report))
    }

    /// Stops taking records, writes what is queued, leaves a mark, and ends the tasks.
    pub async fn close(&self) {
        for partition in self.partitions.values() {
            let refused = partition.refused("the log is closed");
            partition.refusing.lock().get_or_insert(refused);
            partition.closing.send_replace(true);
            partition.queued.notify_one();
            partition.closing.closed().await;
        }
        self.tasks.lock().clear();
    }

    fn partition(&self, id: PartitionId) -> &Arc<EmbeddedPartition> {
        self.partitions.get(&id).expect("callers use the partitions that the log was opened with")
    }
}

impl EmbeddedPartition {
    fn refused(&self, reason: impl Into<String>) -> AppendError {
        AppendError::Refused { partition: self.id, reason: reason.into() }
    }

    /// No next file can be made, and less than a quarter of the current one is left.
    fn is_short(&self) -> bool {
        match *self.space.borrow() {
            AdmissionSpace::Short(left) => left < self.options.file_bytes / 4,
            AdmissionSpace::Plenty | AdmissionSpace::Awaited(_) => false,
        }
    }

    fn full(&self) -> AppendError {
        let detail = "no new log file can be made on the device".to_owned();
        AppendError::Full { partition: self.id, detail }
    }

    fn unavailable(&self, reason: impl Into<String>) -> ReadError {
        ReadError::Unavailable { partition: self.id, reason: reason.into() }
    }

    fn end(&self) -> Offset {
        *self.end.borrow()
    }

    /// Takes bytes from what may be admitted, waiting for a file that is being made.
    async fn take_space(&self, bytes: usize) -> Result<(), AppendError> {
        // A record may get a batch of its own.
        let needed = batch::span(bytes) + BLOCK;
        let mut space = self.space.subscribe();
        loop {
            let mut verdict = None;
            self.space.send_if_modified(|space| {
                let (AdmissionSpace::Awaited(left) | AdmissionSpace::Short(left)) = space else {
                    verdict = Some(Ok(()));
                    return false;
                };
                match left.checked_sub(needed) {
                    Some(rest) => {
                        *left = rest;
                        verdict = Some(Ok(()));
                    }
                    None if matches!(space, AdmissionSpace::Short(_)) => {
                        verdict = Some(Err(self.full()))
                    }
                    None => {}
                }
                false
            });
            if let Some(verdict) = verdict {
                return verdict;
            }
            if space.changed().await.is_err() {
                return Err(self.refused("the log is closed"));
            }
        }
    }

    /// Lets go of files whose records have all been trimmed and that nobody has open.
    fn recycle(&self) {
        let trimmed = *self.trimmed.lock();
        let takes_needed = self.env.mutated(crate::mutant::Mutant::RecycleNeededFile);
        let mut files = self.files.lock();
        while files.len() > 1 {
            let is_needed = files[1].base > trimmed && !takes_needed;
            let is_pinned = Arc::strong_count(&files[0]) > 1;
            if is_needed || is_pinned {
                return;
            }
            if let Some(file) = files.pop_front() {
                self.spare.lock().push((file.identity.file, file.file.clone()));
                self.spared.notify_one();
                self.queued.notify_one();
            }
        }
    }
}

impl Log for EmbeddedLog {
    fn admit(
        &self,
        partition: PartitionId,
        bytes: usize,
    ) -> Fut<'_, Result<AppendPermit, AppendError>> {
        let partition = self.partition(partition).clone();
        Box::pin(async move {
            // Everything must fit, so a record larger than the queue takes all of it.
            let wanted = bytes.min(partition.options.queue_bytes) as u32;
            let room = partition.room.clone().acquire_many_owned(wanted).await;
            let room = room.map_err(|_| partition.refused("the log is closed"))?;
            if let Some(refusing) = partition.refusing.lock().clone() {
                return Err(refusing);
            }
            if bytes as u64 > partition.options.batch_bytes_max() - 2 * BLOCK {
                return Err(partition.refused(format!("a record of {bytes} bytes is too large")));
            }
            partition.take_space(bytes).await?;
            Ok(AppendPermit { partition: partition.id, bytes, room })
        })
    }

    fn append(
        &self,
        permit: AppendPermit,
        record: Record,
    ) -> Fut<'static, Result<(), AppendError>> {
        let partition = self.partition(permit.partition).clone();
        let encoded = record.encode();
        assert!(encoded.len() <= permit.bytes, "a permit covers its record");
        let (done, durable) = oneshot::channel();
        {
            let mut queue = partition.queue.lock();
            // Checked under the lock: the writer empties the queue under it when it stops.
            if let Some(refusing) = partition.refusing.lock().clone() {
                return Box::pin(std::future::ready(Err(refusing)));
            }
            queue.push_back(QueuedRecord { record, encoded, permit, done });
        }
        partition.queued.notify_one();
        Box::pin(async move {
            durable.await.unwrap_or_else(|_| {
                Err(AppendError::Unknown {
                    partition: partition.id,
                    reason: "the log stopped before it said".into(),
                })
            })
        })
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
    ) -> Fut<'_, Result<Box<dyn LogReader>, ReadError>> {
        let partition = self.partition(partition).clone();
        Box::pin(async move {
            if from < *partition.trimmed.lock() {
                return Err(ReadError::Trimmed { partition: partition.id, offset: from });
            }
            Ok(Box::new(reader::FileReader::new(partition, from)) as Box<dyn LogReader>)
        })
    }

    fn barrier(&self, partition: PartitionId) -> Fut<'_, Result<BarrierToken, AppendError>> {
        // One process writes this log, so its end is known for certain.
        let token = BarrierToken::Below(self.partition(partition).end());
        Box::pin(std::future::ready(Ok(token)))
    }

    fn end(&self, partition: PartitionId) -> Fut<'_, Result<Offset, ReadError>> {
        Box::pin(std::future::ready(Ok(self.partition(partition).end())))
    }

    fn fetch(
        &self,
        partition: PartitionId,
        location: LogLocation,
    ) -> Fut<'_, Result<Bytes, ReadError>> {
        let partition = self.partition(partition).clone();
        Box::pin(async move { reader::fetch(&partition, location).await })
    }

    fn release(&self, _partition: PartitionId, _below: Offset) -> Fut<'_, ()> {
        // Payload is fetched from the log itself; trimming lets go of it.
        Box::pin(std::future::ready(()))
    }

    fn trim(&self, partition: PartitionId, below: Offset) -> Fut<'_, Result<(), ReadError>> {
        let partition = self.partition(partition);
        {
            let mut trimmed = partition.trimmed.lock();
            *trimmed = (*trimmed).max(below.min(partition.end()));
        }
        partition.recycle();
        Box::pin(std::future::ready(Ok(())))
    }

    fn status(&self, partition: PartitionId) -> LogStatus {
        let partition = self.partition(partition);
        LogStatus {
            first: *partition.trimmed.lock(),
            end: partition.end(),
            refusing: partition.refusing.lock().clone(),
            is_short: partition.is_short(),
        }
    }
}
