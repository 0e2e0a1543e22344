//! The writer task (group commit, file switch, durable mark), and the task that makes files ahead of need.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot, watch};

use super::batch::{self, BLOCK, BatchHeader, FileHeader, LogFileId};
use super::mark::Marker;
use super::{AdmissionSpace, EmbeddedPartition, LogFile, QueuedRecord, file_path};
use crate::env::{DiskError, DiskErrorKind, File, FilePath, OpenMode, Task, timeout};
use crate::ids::Offset;
use crate::log::{AppendError, CommittedRecord, LogLocation};
use crate::mutant::Mutant;
use crate::place::Place;
use crate::time::Tick;

/// Idle time after which an empty batch carries the durable mark.
const IDLE: Duration = Duration::from_millis(50);
/// Shortest time between two writes of the mark file under load.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// Wait before another attempt to make a file on a full device.
const SPACE_RETRY: Duration = Duration::from_secs(1);
/// The most files that are kept for reuse. All beyond are removed.
const SPARE_MAX: usize = 4;
/// Bytes of committed records that are kept in memory for readers that are close to the end.
const RECENT_BYTES_MAX: usize = 8 << 20;

/// The state in which recovery left the last file, at which the writer task continues.
pub(super) struct WriterStart {
    pub position: u64,
    pub chain: u128,
    pub hashes: Vec<u64>,
    pub last_number: u64,
}

/// The writer task's state. The task alone owns it, so no lock is needed.
struct BatchWriter {
    partition: Arc<EmbeddedPartition>,
    /// Files made ahead of need, with their numbers. At most one waits here.
    prepared: mpsc::Receiver<(u64, Arc<dyn File>)>,
    marker: Marker,
    marked_at: Tick,
    marked: Offset,
    current: Option<Arc<LogFile>>,
    position: u64,
    chain: u128,
    hashes: Vec<u64>,
    end: Offset,
    /// The callers of committed records who are not told yet.
    untold: Vec<oneshot::Sender<Result<(), AppendError>>>,
    /// True while the durability of the last batch is recorded nowhere on the disk.
    owes_mark: bool,
}

/// Opens the mark files and starts the two tasks of a partition, after recovery and before any
/// admission. Both mark files have a mark when this returns. Returns the tasks: dropping one cancels it.
/// Fails when the mark files cannot be opened, made or written.
pub(super) async fn start(
    partition: &Arc<EmbeddedPartition>,
    start: WriterStart,
) -> Result<Vec<Task>, DiskError> {
    let env = partition.env.clone();
    let mut marker = Marker::open(&env, &partition.options, partition.id).await?;
    // The store's identity soon says that the store has begun, and from then on a start without a readable mark is refused.
    // A life that goes on in the file of the life before writes no mark with its first batch, so the mark comes first.
    marker.settle(partition.end()).await?;
    let (sender, prepared) = mpsc::channel(1);
    // Before the next file is prepared, only bytes that fit into the current file may be admitted.
    let current = partition.files.lock().back().cloned();
    let left = current.as_ref().map_or(0, |file| file.len.saturating_sub(start.position));
    // The mark that a start leaves takes a batch of its own, so its space must not be admitted.
    let mark = batch::span(8 * start.hashes.len());
    let left = left.saturating_sub(mark);
    partition.space.send_replace(AdmissionSpace::Awaited(left));
    let end = partition.end();
    let writer = BatchWriter {
        partition: partition.clone(),
        prepared,
        marker,
        marked_at: env.clock.now(),
        marked: Offset::ZERO,
        current,
        position: start.position,
        chain: start.chain,
        hashes: start.hashes,
        end,
        untold: Vec::new(),
        // The recovered records are durable by now, and possibly no mark has that end yet.
        owes_mark: end > Offset::ZERO,
    };
    let preparer = prepare(partition.clone(), start.last_number, sender);
    let closing = partition.closing.subscribe();
    Ok(vec![
        env.rt.spawn_dedicated("log preparer", Box::pin(preparer)),
        env.rt.spawn_dedicated("log writer", Box::pin(writer.run(closing))),
    ])
}

/// Makes log files ahead of need, one at a time: reuses a file without needed records, or fills a new
/// one with zeros. After an error it tries again after [`SPACE_RETRY`], or at once when a file can be
/// reused. Ends when the writer task has ended.
async fn prepare(
    partition: Arc<EmbeddedPartition>,
    last_number: u64,
    sender: mpsc::Sender<(u64, Arc<dyn File>)>,
) {
    let mut number = last_number + 1;
    loop {
        let Ok(place) = sender.reserve().await else { return };
        match make_file(&partition, number).await {
            Ok(file) => {
                number += 1;
                // In one step, because the writer task checks under this lock if another file is
                // prepared.
                partition.space.send_modify(|space| {
                    place.send((number - 1, file));
                    *space = AdmissionSpace::Plenty;
                });
            }
            Err(error) => {
                tracing::warn!(%error, partition = %partition.id, "no next log file; trying again");
                // An attempt that failed half way may have left a file with this number, so the next
                // attempt takes another.
                if error.kind != DiskErrorKind::NoSpace {
                    number += 1;
                }
                drop(place);
                partition.space.send_modify(|space| {
                    if let AdmissionSpace::Awaited(left) = *space {
                        *space = AdmissionSpace::Short(left);
                    }
                });
                let spared = partition.spared.notified();
                let _ = timeout(partition.env.clock.as_ref(), SPACE_RETRY, spared).await;
            }
        }
    }
}

/// Reuses a spare file under a new number, or makes one filled with zeros. The file's name is durable
/// when this returns. Spare files beyond [`SPARE_MAX`] are removed after that.
async fn make_file(partition: &EmbeddedPartition, number: u64) -> Result<Arc<dyn File>, DiskError> {
    let disk = &partition.env.disk_dedicated;
    let path = file_path(&partition.folder, number);
    let spare = {
        let mut spare = partition.spare.lock();
        spare.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        spare.pop()
    };
    let file = match spare {
        Some((old, _)) => {
            // The old content stays and is harmless: it names the old number, by which recovery
            // recognizes it.
            disk.rename(&file_path(&partition.folder, old), &path).await?;
            let file = disk.open(&path, OpenMode::Write).await?;
            // A spare file may be short: power was lost while it was made, or the files were smaller then.
            let len = file.len().await?;
            fill(partition, &path, file, len).await?
        }
        None => new_file(partition, number).await?,
    };
    if !partition.env.mutated(Mutant::SkipLogFolderSync) {
        disk.sync_folder(Some(&partition.folder)).await?;
    }
    let excess: Vec<u64> = {
        let mut spare = partition.spare.lock();
        let keep = spare.len().min(SPARE_MAX);
        spare.split_off(keep).into_iter().map(|(number, _)| number).collect()
    };
    for number in excess {
        disk.remove(&file_path(&partition.folder, number)).await?;
    }
    Ok(file)
}

/// Makes a file full of zeros. Fails as [`fill`] does.
async fn new_file(partition: &EmbeddedPartition, number: u64) -> Result<Arc<dyn File>, DiskError> {
    let path = file_path(&partition.folder, number);
    has_room(partition, &path, partition.options.file_bytes).await?;
    let file = partition.env.disk_dedicated.open(&path, OpenMode::Create).await?;
    fill(partition, &path, file, 0).await
}

/// Fails with `NoSpace` when the reserve would not stay free beside so many bytes of a file.
async fn has_room(
    partition: &EmbeddedPartition,
    path: &FilePath,
    bytes: u64,
) -> Result<(), DiskError> {
    let free = partition.env.disk_dedicated.free_bytes(Place::Hot).await?;
    if free >= bytes + partition.options.reserve_bytes {
        return Ok(());
    }
    Err(DiskError {
        kind: DiskErrorKind::NoSpace,
        operation: "make",
        path: path.clone(),
        detail: format!("{free} bytes are free, {bytes} and the reserve are needed"),
    })
}

/// Writes zeros behind the present length of a file, until the file has the length of a log file, and syncs it, so that
/// no commit extends a file or finds the device full. Fails with `NoSpace` when the reserve would not stay free. A file
/// that cannot be filled is removed.
async fn fill(
    partition: &EmbeddedPartition,
    path: &FilePath,
    file: Arc<dyn File>,
    present: u64,
) -> Result<Arc<dyn File>, DiskError> {
    let len = partition.options.file_bytes;
    if present >= len {
        return Ok(file);
    }
    let made = async {
        has_room(partition, path, len - present).await?;
        file.allocate(present..len).await?;
        let mut position = present;
        while position < len {
            let step = (len - position).min(1 << 20);
            file.write_at(position, Bytes::from(vec![0; step as usize])).await?;
            position += step;
        }
        file.sync().await
    };
    match made.await {
        Ok(()) => Ok(file),
        Err(error) => {
            partition.env.disk_dedicated.remove(path).await?;
            Err(error)
        }
    }
}

impl BatchWriter {
    /// Commits batches until the log is closed and the queue is empty, or until a write or sync fails.
    /// Records that are queued while one batch is synced make the next batch.
    async fn run(mut self, mut closing: watch::Receiver<bool>) {
        let partition = self.partition.clone();
        loop {
            let batch = self.take();
            if batch.is_empty() {
                self.tell();
            }
            let done = if !batch.is_empty() {
                self.commit(batch).await
            // Only with an empty queue, so that every queued record gets its outcome before the end.
            } else if *closing.borrow_and_update() {
                let _ = self.leave_mark().await;
                return;
            } else if self.owes_mark {
                let clock = partition.env.clock.clone();
                match timeout(clock.as_ref(), IDLE, partition.queued.notified()).await {
                    Some(()) => Ok(()),
                    None => self.leave_mark().await,
                }
            } else {
                partition.queued.notified().await;
                Ok(())
            };
            if let Err(error) = done {
                self.tell();
                self.poison(&error);
                return;
            }
        }
    }

    /// Takes queued records in order, as many as fit into one batch but at least one if there is any.
    /// Takes no more than one batch, so that a batch never exceeds the longest stretch that recovery
    /// looks at.
    fn take(&mut self) -> Vec<QueuedRecord> {
        let mut queue = self.partition.queue.lock();
        let limit = self.partition.options.batch_bytes_max() as usize;
        let mut bytes = batch::HEADER_BYTES + 8 * self.hashes.len();
        let mut taken = Vec::new();
        while let Some(next) = queue.front() {
            bytes += next.encoded.len() + batch::FRAME_BYTES;
            if !taken.is_empty() && bytes > limit {
                break;
            }
            taken.extend(queue.pop_front());
        }
        taken
    }

    /// Writes one batch, syncs it, shows it to readers, and tells the callers with the end of the next batch, or at
    /// once without a next one: a caller never learns of success before readers can deliver its record. Most callers
    /// wait for their record's outcome, which the fold has given by then, and need not be woken twice. On failure
    /// every caller gets [`AppendError::Unknown`], since the device may hold the batch.
    async fn commit(&mut self, queued: Vec<QueuedRecord>) -> Result<(), DiskError> {
        let env = self.partition.env.clone();
        let records: Vec<Bytes> = queued.iter().map(|queued| queued.encoded.clone()).collect();
        let mut waiting = Vec::with_capacity(queued.len());
        let mut committed = Vec::with_capacity(queued.len());
        for queued in queued {
            waiting.push((queued.done, queued.permit));
            committed.push(queued.record);
        }
        if env.mutated(Mutant::AcknowledgeBeforeSync) {
            for (done, permit) in std::mem::take(&mut waiting) {
                let _ = done.send(Ok(()));
                drop(permit);
            }
        }
        let written = self.write(&records).await;
        self.tell();
        let (header, positions) = match written {
            Ok(written) => written,
            Err(error) => {
                for (done, permit) in waiting {
                    let _ = done.send(Err(self.unknown(&error)));
                    drop(permit);
                }
                return Err(error);
            }
        };
        let file = self.current.as_ref().map_or(0, |file| file.identity.file);
        // Repeated by the next batch, so that the keys of this one are known if it is lost.
        self.hashes = committed.iter().map(|record| record.key_hash()).collect();
        let committed = committed.into_iter().zip(positions).zip(&records).enumerate();
        let committed: Vec<CommittedRecord> = committed
            .map(|(index, ((record, position), bytes))| CommittedRecord {
                offset: Offset::new(header.base.get() + index as u64),
                time: header.time,
                location: LogLocation {
                    file,
                    position,
                    len: (bytes.len() + batch::FRAME_BYTES) as u32,
                },
                record,
            })
            .collect();
        self.publish(committed, header.records_len as usize);
        self.untold.extend(waiting.into_iter().map(|(done, _)| done));
        self.owes_mark = true;
        if env.clock.now().since(self.marked_at) >= MARK_EVERY {
            self.write_mark().await?;
        }
        Ok(())
    }

    /// Tells the callers of committed records.
    fn tell(&mut self) {
        for done in self.untold.drain(..) {
            // The caller may have dropped its future; the record stays committed.
            let _ = done.send(Ok(()));
        }
    }

    /// Adds committed records to those in memory, then moves the end, which wakes readers. The order
    /// matters: a reader that sees the new end must find the records in memory or in a file.
    fn publish(&mut self, committed: Vec<CommittedRecord>, bytes: usize) {
        self.end = Offset::new(self.end.get() + committed.len() as u64);
        {
            let mut recent = self.partition.recent.lock();
            recent.bytes += bytes;
            recent.batches.push_back(Arc::new(committed));
            while recent.bytes > RECENT_BYTES_MAX && recent.batches.len() > 1 {
                let gone = recent.batches.pop_front();
                let bytes = gone.iter().flat_map(|batch| batch.iter());
                let bytes: usize = bytes.map(|record| record.location.len as usize).sum();
                recent.bytes = recent.bytes.saturating_sub(bytes);
            }
        }
        self.partition.end.send_replace(self.end);
    }

    /// Writes one batch and syncs it, in the next file when the current one has no room for it. The
    /// header of a new file goes out in the same write as its first batch. Returns the batch's header
    /// and the positions of the record frames; both marks are durable as well when a file was begun.
    async fn write(&mut self, records: &[Bytes]) -> Result<(BatchHeader, Vec<u64>), DiskError> {
        let body: usize = records.iter().map(|record| record.len() + batch::FRAME_BYTES).sum();
        let body = body + 8 * self.hashes.len();
        let fits =
            self.current.as_ref().is_some_and(|file| self.position + batch::span(body) <= file.len);
        let mut front = BytesMut::new();
        let mut begun = None;
        let file = match (&self.current, fits) {
            (Some(file), true) => file.clone(),
            _ => {
                let (file, head) = self.begin_file().await?;
                front = head;
                begun = Some(file.clone());
                file
            }
        };
        let position = if begun.is_some() { BLOCK } else { self.position };
        let header = BatchHeader {
            position,
            time: self.partition.env.clock.wall(),
            base: self.end,
            count: 0,
            records_len: 0,
            hashes: 0,
            // Batches are written one at a time, so all records before this one are synced.
            durable: self.end,
            previous: self.chain,
            body_hash: 0,
        };
        let (header, bytes, positions) =
            batch::encode(&file.identity, header, records, &self.hashes);
        let at = if begun.is_some() { 0 } else { position };
        front.unsplit(bytes);
        if self.partition.env.mutated(Mutant::SkipLogSync) {
            file.file.write_at(at, front.freeze()).await?;
        } else {
            file.file.write_synced(at, front.freeze()).await?;
        }
        self.position = position + header.span();
        self.chain = header.chain(&file.identity);
        if let Some(file) = begun {
            self.partition.files.lock().push_back(file.clone());
            self.current = Some(file);
            // Before any of its records is acknowledged: should the new file be lost, both marks are
            // evidence of it.
            self.marked_at = self.partition.env.clock.now();
            self.marked = header.end().unwrap_or(self.end);
            self.marker.write_both(self.marked).await?;
            self.partition.recycle();
        }
        Ok((header, positions))
    }

    /// Waits for the next prepared file and returns it with the bytes of its header, which the caller
    /// writes together with the first batch. Fails only when the preparer has ended.
    async fn begin_file(&mut self) -> Result<(Arc<LogFile>, BytesMut), DiskError> {
        let taken = self.prepared.recv().await;
        let (number, file) = taken.ok_or_else(|| DiskError {
            kind: DiskErrorKind::Io,
            operation: "begin",
            path: self.partition.folder.clone(),
            detail: "no log file can be made".into(),
        })?;
        let len = self.partition.options.file_bytes;
        let prepared = &self.prepared;
        let partition = &self.partition;
        partition.space.send_modify(|space| {
            if prepared.is_empty() {
                // Until the file after this one exists, only bytes that fit into this one may be
                // admitted, less those that are admitted already. Each of these may need a batch of its
                // own, hence twice their sum.
                let promised = partition.options.queue_bytes - partition.room.available_permits();
                let left = (len - BLOCK).saturating_sub(2 * promised as u64 + 2 * BLOCK);
                *space = AdmissionSpace::Awaited(left);
            }
        });
        let identity = LogFileId {
            store: self.partition.options.store,
            partition: self.partition.id,
            file: number,
        };
        let header = FileHeader { base: self.end, previous: self.chain, durable: self.end };
        let front = header.encode(&identity);
        Ok((Arc::new(LogFile { identity, base: self.end, begin: BLOCK, file, len }), front))
    }

    /// Writes an empty batch that carries the durable mark, then the mark file. Does nothing when the
    /// mark is on the disk already.
    async fn leave_mark(&mut self) -> Result<(), DiskError> {
        if !self.owes_mark {
            return Ok(());
        }
        self.owes_mark = false;
        // An empty batch is not worth a new file; the mark file alone is enough then.
        let fits = self
            .current
            .as_ref()
            .is_some_and(|file| self.position + batch::span(8 * self.hashes.len()) <= file.len);
        if fits {
            self.write(&[]).await?;
            self.hashes.clear();
        }
        self.write_mark().await
    }

    /// Writes the mark file unless it has the current end already.
    async fn write_mark(&mut self) -> Result<(), DiskError> {
        self.marked_at = self.partition.env.clock.now();
        if self.marked == self.end {
            return Ok(());
        }
        self.marked = self.end;
        self.marker.write(self.end).await
    }

    /// The outcome of records whose batch failed on its way to the device.
    fn unknown(&self, error: &DiskError) -> AppendError {
        AppendError::Unknown { partition: self.partition.id, reason: error.to_string() }
    }

    /// Refuses all appends from now on, until a restart. After a failed write or sync the content of
    /// the device is in doubt, and a second sync that succeeds would prove nothing (fsyncgate).
    /// Committed records stay readable.
    fn poison(&mut self, error: &DiskError) {
        tracing::error!(
            %error, partition = %self.partition.id,
            "the log failed and takes no more records until a restart"
        );
        // Under the lock under which appends check `refusing`: no record may be queued after the task
        // has ended.
        let mut queue = self.partition.queue.lock();
        let refused = self.partition.refused(format!("it failed and needs a restart: {error}"));
        *self.partition.refusing.lock() = Some(refused.clone());
        for queued in queue.drain(..) {
            let _ = queued.done.send(Err(refused.clone()));
        }
    }
}
