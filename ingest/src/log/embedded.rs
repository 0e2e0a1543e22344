//! The embedded log: crash-safe files on this machine. `docs/formats/log.md` specifies the bytes.
//!
//! ```text
//!   log/0000/0000000007.log   header | batch | batch | batch | zeros ...
//!            0000000008.log   (filled with zeros ahead of need, or a file with trimmed records, renamed)
//!            mark             the offset up to which the log was durable
//!   log-0000.mark             the same, in case the folder above is lost
//! ```
//!
//! One writer task for each partition takes the records that were queued during the last sync, writes
//! them as one batch, syncs once, and wakes their callers: group commit without a timer, one sync at a
//! time. Files are filled ahead of need, so that a commit never extends one. A file whose records are
//! all trimmed is reused under the next number.

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

/// Options of an embedded log. The same for all of its partitions.
#[derive(Clone, Debug)]
pub struct EmbeddedLogOptions {
    /// The log's folder below the data directory. Each partition has a folder of its own in it.
    pub folder: FilePath,
    /// The store that the log belongs to. Content of any other store is never read as this log's.
    pub store: StoreId,
    /// Length of a log file in bytes: a multiple of 4 KiB, and at least 16 KiB.
    pub file_bytes: u64,
    /// The most bytes that may be admitted and not yet durable, for each partition.
    pub queue_bytes: usize,
    /// Bytes of the device that must stay free after a new log file has been made.
    pub reserve_bytes: u64,
    /// True when the store has been written to before. Then a log must exist even if nothing of it is
    /// folded yet, and a missing one is corruption.
    pub is_begun: bool,
}

impl EmbeddedLogOptions {
    /// The folder of one partition's files.
    fn partition_folder(&self, partition: PartitionId) -> FilePath {
        self.folder.join(format!("{:04}", partition.get()))
    }

    /// The most bytes of one batch: one record of the greatest length with some blocks for its frame,
    /// but never more than an empty file takes.
    fn batch_bytes_max(&self) -> u64 {
        (RECORD_BYTES_MAX as u64 + 16 * BLOCK).min(self.file_bytes - BLOCK)
    }
}

/// The path of the log file with a number. Names sort in the order of the numbers.
fn file_path(folder: &FilePath, number: u64) -> FilePath {
    folder.join(format!("{number:010}.log"))
}

/// The result of a recovery, over all partitions.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// The partitions that have lost durable records, with the evidence. These are read-only.
    pub corruptions: BTreeMap<PartitionId, Corruption>,
    /// Bytes of unfinished batches that recovery overwrote with zeros, after copying them to `.torn`
    /// files where it could.
    pub torn_bytes: u64,
}

/// A log file with records. Readers and the list of files share it by `Arc`; a file that a reader holds
/// is not reused.
struct LogFile {
    identity: LogFileId,
    /// The offset of the first record that is read from the file.
    base: Offset,
    /// Position of the batch with that record.
    begin: u64,
    file: Arc<dyn File>,
    len: u64,
}

/// A record that waits for the writer task, with the capacity that it holds and the caller to wake.
struct QueuedRecord {
    record: Arc<Record>,
    encoded: Bytes,
    permit: AppendPermit,
    done: oneshot::Sender<Result<(), AppendError>>,
}

/// The number of bytes that may be admitted before the next log file exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AdmissionSpace {
    /// The next file exists: only the queue limits admission.
    Plenty,
    /// The next file is being made: this many bytes may be admitted, and callers that want more wait.
    Awaited(u64),
    /// The next file cannot be made now: this many bytes may be admitted, and callers that want more
    /// are refused.
    Short(u64),
}

/// Committed batches that are still in memory, at most about 8 MiB, for readers that are close to the
/// end.
#[derive(Default)]
struct RecentBatches {
    batches: VecDeque<Arc<Vec<CommittedRecord>>>,
    bytes: usize,
}

/// The state that the handles, readers and tasks of one partition share. No lock is held across an
/// `.await`.
struct EmbeddedPartition {
    id: PartitionId,
    folder: FilePath,
    options: EmbeddedLogOptions,
    env: Env,
    /// Bytes that may still be queued.
    room: Arc<Semaphore>,
    /// Records that wait for the writer task, in the order of their appends.
    queue: Mutex<VecDeque<QueuedRecord>>,
    /// Wakes the writer task after a record has been queued, or the log is closing.
    queued: Notify,
    /// Files with records, oldest first. Readers hold the `Arc` of the file that they read.
    files: Mutex<VecDeque<Arc<LogFile>>>,
    /// Files without needed records, with their numbers. The preparer reuses them.
    spare: Mutex<Vec<(u64, Arc<dyn File>)>>,
    /// Wakes the preparer when a file can be reused.
    spared: Notify,
    /// The newest committed batches.
    recent: Mutex<RecentBatches>,
    /// The offset after the last committed record.
    end: watch::Sender<Offset>,
    /// The trim point. Kept in memory only: the next start takes it from the catalog, as its floor.
    trimmed: Mutex<Offset>,
    /// The error of every append, once the log is closed, poisoned or corrupt. Never reset.
    refusing: Mutex<Option<AppendError>>,
    /// The bytes that may be admitted before the next file exists. Waiting admissions watch it.
    space: watch::Sender<AdmissionSpace>,
    /// The damage that recovery found. Readers report it after the last record that can be read.
    corruption: Option<Corruption>,
    /// True once the log is closing. The writer task holds the only receiver, so the sender sees that
    /// task end.
    closing: watch::Sender<bool>,
}

/// A log in files on this machine, which one process writes. See the module's description.
pub struct EmbeddedLog {
    partitions: BTreeMap<PartitionId, Arc<EmbeddedPartition>>,
    tasks: Mutex<Vec<Task>>,
}

impl EmbeddedLog {
    /// Opens the log and recovers each partition before it starts the tasks. `floors` names the
    /// partitions, each with the offset below which all records are flushed and published. When this
    /// returns, the records that readers will deliver are durable, even those whose sync failed before
    /// the stop.
    ///
    /// A partition that has lost durable records is opened read-only and named in the report. Fails
    /// when the disk fails for a reason other than damage; a retry may then help. Only one process may
    /// open a log at a time.
    ///
    /// Panics when the length of a log file is not a multiple of 4 KiB, or below 16 KiB.
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

    /// Closes the log: refuses new records, commits those that are queued, writes the durable mark, and
    /// ends the tasks. Returns after the last batch is synced or has failed; only the callers of
    /// [`Log::append`] learn of a failure. Records queued before this call keep their order and get an
    /// outcome.
    pub async fn close(&self) {
        for partition in self.partitions.values() {
            let refused = partition.refused("the log is closed");
            partition.refusing.lock().get_or_insert(refused);
            partition.closing.send_replace(true);
            partition.queued.notify_one();
            // Resolves once the writer task has ended, since that task holds the only receiver.
            partition.closing.closed().await;
        }
        self.tasks.lock().clear();
    }

    /// The state of a partition. Panics for one that the log was not opened with.
    fn partition(&self, id: PartitionId) -> &Arc<EmbeddedPartition> {
        self.partitions.get(&id).expect("callers use the partitions that the log was opened with")
    }
}

impl EmbeddedPartition {
    /// The error of an append that this log refuses.
    fn refused(&self, reason: impl Into<String>) -> AppendError {
        AppendError::Refused { partition: self.id, reason: reason.into() }
    }

    /// True when the next file cannot be made and less than a quarter of a file may still be admitted.
    fn is_short(&self) -> bool {
        match *self.space.borrow() {
            AdmissionSpace::Short(left) => left < self.options.file_bytes / 4,
            AdmissionSpace::Plenty | AdmissionSpace::Awaited(_) => false,
        }
    }

    /// The error of an admission that the device has no space for.
    fn full(&self) -> AppendError {
        let detail = "no new log file can be made on the device".to_owned();
        AppendError::Full { partition: self.id, detail }
    }

    /// The error of a read that a retry may resolve.
    fn unavailable(&self, reason: impl Into<String>) -> ReadError {
        ReadError::Unavailable { partition: self.id, reason: reason.into() }
    }

    /// The offset after the last committed record.
    fn end(&self) -> Offset {
        *self.end.borrow()
    }

    /// Takes the space of one record from the bytes that may be admitted, waiting while the next file
    /// is being made. Fails when that file cannot be made. Space that was taken is not returned; the
    /// next file resets the count.
    async fn take_space(&self, bytes: usize) -> Result<(), AppendError> {
        // Counted as a batch of its own, with one block more: the admission must hold however records
        // are batched.
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

    /// Makes files reusable whose records are all trimmed and that no reader holds. Oldest first: a
    /// file that is still needed or held keeps all later ones. The last file always stays, since the
    /// writer task appends to it.
    fn recycle(&self) {
        let trimmed = *self.trimmed.lock();
        let takes_needed = self.env.mutated(crate::mutant::Mutant::RecycleNeededFile);
        let mut files = self.files.lock();
        while files.len() > 1 {
            let is_needed = files[1].base > trimmed && !takes_needed;
            // Counted under the lock of `files`: a new reader would have to take it to get the file.
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
            // A record larger than the queue could never be admitted, so it waits for the whole queue
            // instead.
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
        record: Arc<Record>,
    ) -> Fut<'static, Result<(), AppendError>> {
        let partition = self.partition(permit.partition).clone();
        // Encoded by the caller, outside the lock and before the writer task needs the bytes.
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
                    reason: "the log stopped before the outcome was known".into(),
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
        // The log keeps no copies: payload is fetched from the log's own files, until they are trimmed.
        Box::pin(std::future::ready(()))
    }

    fn trim(&self, partition: PartitionId, below: Offset) -> Fut<'_, Result<(), ReadError>> {
        let partition = self.partition(partition);
        {
            let mut trimmed = partition.trimmed.lock();
            // Bounded by the end, so that a reader at the end is never below the trim point.
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
