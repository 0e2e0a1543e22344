//! Accepting a loss: turns a log that recovery refuses into one that it accepts, from every record that
//! can still be read.
//!
//! Batches describe themselves, so those behind a damaged one can be read. The log is written anew,
//! from the floor on, into one file under the next number. Each record that can be read keeps its
//! offset, since offsets are the names of versions and buckets; lost offsets get records without
//! meaning. No offset is used for two records.
//!
//! A record counts only as the next of its writer. Behind a gap all further records of a writer would
//! be refused, so they are numbered anew, as those of a writer that begins in the gap. The original
//! writers have ended.
//!
//! Nothing is removed: the files that were found are kept under the ending `.lost`, and renamed after
//! the new file has its name, so that a crash in between leaves a log that can be opened, or one that
//! the same repair can be made of again.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::batch::{self, BLOCK, BatchHeader, FileHeader, HEADER_BYTES, LogFileId};
use super::mark::{self, Marker};
use super::scan::{self, read};
use super::{EmbeddedLogOptions, file_path};
use crate::env::{DiskError, DiskErrorKind, Env, File, FilePath, OpenMode};
use crate::ids::{Epoch, Offset, PartitionId, Sequence, WriterId};
use crate::record::{Record, RecordBody, RecordId};
use crate::time::WallTime;

/// Records without meaning in one batch.
const FILL_RECORDS: u64 = 4096;
/// The longest gap that is filled, in records. A gap of 64 Mi records takes 3 GiB.
const GAP_MAX: u64 = 64 << 20;

/// An error of a repair. The log is unchanged, or the same repair can be made of it again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RepairError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A gap is too long: records without meaning in its place could fill the disk.
    #[error("offsets {from} to {below} are lost: more than can be passed over")]
    TooMuch {
        /// The first lost offset.
        from: Offset,
        /// The offset after the last lost one.
        below: Offset,
    },
}

/// A range of lost records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostRange {
    /// The first lost offset.
    pub from: Offset,
    /// The offset after the last lost one.
    pub below: Offset,
    /// Hashes of the keys of the last records in the range, as far as the batch right behind repeats
    /// them.
    pub key_hashes: Vec<u64>,
}

/// The lost records of a log, and those that can be kept. Nothing on the disk has changed before
/// [`LossReport::accept`].
pub struct LossReport {
    /// The lost ranges, in order.
    pub lost: Vec<LostRange>,
    /// The number of records above the floor that can be kept.
    pub kept: u64,
    /// The files that will be renamed.
    pub files: Vec<FilePath>,
    options: EmbeddedLogOptions,
    partition: PartitionId,
    floor: Offset,
    steps: Vec<RepairStep>,
    end: Offset,
    next_number: u64,
}

/// One part of the new file's content.
enum RepairStep {
    /// Records without meaning for the offsets from the first to below the second.
    Fill(Offset, Offset),
    /// A batch's records at and above an offset. Those below are in the new file already.
    Keep(FoundBatch, Offset),
}

/// A batch whose header is valid. The body is read and verified when it is needed.
#[derive(Clone)]
struct FoundBatch {
    file: Arc<dyn File>,
    identity: LogFileId,
    len: u64,
    header: BatchHeader,
}

impl FoundBatch {
    /// The batch's body, if its hash fits and every record in it can be decoded.
    async fn body(&self) -> Result<Option<Bytes>, DiskError> {
        let at = self.header.position + HEADER_BYTES as u64;
        let body = read(&self.file, at, self.header.body_len(), self.len).await?;
        Ok(body.filter(|body| {
            batch::body_fits(&self.header, body)
                && batch::frames(&self.header, body).is_some_and(|frames| {
                    frames.into_iter().all(|(_, bytes)| Record::decode(bytes).is_ok())
                })
        }))
    }
}

/// Examines a partition's log from `floor` on, in any state, and reports which records are lost and
/// which can be kept. Changes nothing on the disk. The log must not be open in any process.
///
/// Fails when the disk cannot be read now, and with [`RepairError::TooMuch`] when a gap is too long to
/// fill.
pub async fn repair(
    env: &Env,
    options: &EmbeddedLogOptions,
    partition: PartitionId,
    floor: Offset,
) -> Result<LossReport, RepairError> {
    // A batch that one bad read makes invalid would be lost for good, so all is read twice, and the
    // report that keeps more counts: a batch with valid checksums is never found by mistake.
    let first = look_once(env, options, partition, floor).await?;
    let second = look_once(env, options, partition, floor).await?;
    Ok(if second.kept >= first.kept { second } else { first })
}

/// Reads all files once and builds a report.
async fn look_once(
    env: &Env,
    options: &EmbeddedLogOptions,
    partition: PartitionId,
    floor: Offset,
) -> Result<LossReport, RepairError> {
    let marks = mark::read(env, options, partition).await?;
    let mut loss = LossReport {
        lost: Vec::new(),
        kept: 0,
        files: Vec::new(),
        options: options.clone(),
        partition,
        floor,
        steps: Vec::new(),
        end: floor,
        next_number: 1,
    };
    let mut durable = marks.durable.max(floor);
    let mut batches = loss.look(env, &mut durable).await?;
    batches.sort_by_key(|found| (found.header.base, found.identity.file, found.header.position));
    for found in batches {
        let base = found.header.base;
        let Some(end) = found.header.end().filter(|end| *end > loss.end) else { continue };
        let Some(body) = found.body().await? else { continue };
        if base > loss.end {
            let mut key_hashes = batch::hashes_before(&found.header, &body);
            key_hashes.retain(|hash| *hash != 0);
            loss.miss(base, key_hashes)?;
        }
        loss.kept += end.get() - loss.end.get();
        loss.steps.push(RepairStep::Keep(found, loss.end));
        loss.end = end;
    }
    if durable > loss.end {
        loss.miss(durable, Vec::new())?;
    }
    Ok(loss)
}

impl LossReport {
    /// Lists the log's files and the valid headers of all batches that reach above the floor, and
    /// raises `durable` to the highest durable mark among them.
    async fn look(
        &mut self,
        env: &Env,
        durable: &mut Offset,
    ) -> Result<Vec<FoundBatch>, DiskError> {
        let folder = self.options.partition_folder(self.partition);
        let listed = match env.disk.list(&folder).await {
            Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        let mut batches = Vec::new();
        for (path, len) in listed {
            let (name, ending) = path.name().split_once('.').unwrap_or_default();
            let Ok(number) = name.parse::<u64>() else { continue };
            self.next_number = self.next_number.max(number + 1);
            if ending != "log" || file_path(&folder, number) != path {
                continue;
            }
            let file = env.disk.open(&path, OpenMode::Read).await?;
            self.files.push(path);
            let identity =
                LogFileId { store: self.options.store, partition: self.partition, file: number };
            if let Some(head) = read(&file, 0, BLOCK as usize, len).await?
                && let Some(header) = FileHeader::decode(&head, &identity)
            {
                *durable = (*durable).max(header.durable);
            }
            let floor = self.floor;
            scan::headers(&file, &identity, BLOCK..len, |header| {
                *durable = (*durable).max(header.durable);
                if header.end().is_some_and(|end| end > floor) {
                    batches.push(FoundBatch { file: file.clone(), identity, len, header });
                }
                ControlFlow::Continue(())
            })
            .await?;
        }
        Ok(batches)
    }

    /// Notes a lost range from the present end to an offset. Fails when the range is too long to fill.
    fn miss(&mut self, below: Offset, key_hashes: Vec<u64>) -> Result<(), RepairError> {
        let from = self.end;
        if below.get() - from.get() > GAP_MAX {
            return Err(RepairError::TooMuch { from, below });
        }
        self.lost.push(LostRange { from, below, key_hashes });
        self.steps.push(RepairStep::Fill(from, below));
        self.end = below;
        Ok(())
    }

    /// Writes the records that can be kept as a new log, makes it durable, and only then renames the
    /// old files. Returns their new paths; the durable marks are written last. `time` is the fold's
    /// time at the floor, for records without meaning before the first kept batch.
    ///
    /// After an error or a crash the log can be opened, or the same repair can be made of it again.
    /// Fails when a batch that could be read before cannot be read now.
    pub async fn accept(self, env: &Env, time: WallTime) -> Result<Vec<FilePath>, RepairError> {
        let disk = &env.disk_dedicated;
        let folder = self.options.partition_folder(self.partition);
        disk.create_folder(&folder).await?;
        disk.sync_folder(Some(&self.options.folder)).await?;
        disk.sync_folder(None).await?;
        let temporary = folder.join("repair.new");
        match disk.remove(&temporary).await {
            Err(error) if error.kind == DiskErrorKind::NotFound => {}
            removed => removed?,
        }
        let file = disk.open(&temporary, OpenMode::Create).await?;
        if let Err(error) = self.write(env, file, time).await {
            // Removed, since on a full device it would take the space of the next attempt.
            let _ = disk.remove(&temporary).await;
            return Err(error.into());
        }
        // The new file gets its name before the old ones lose theirs: a crash in between must not leave
        // a store without a log.
        disk.rename(&temporary, &file_path(&folder, self.next_number)).await?;
        disk.sync_folder(Some(&folder)).await?;
        let mut aside = Vec::with_capacity(self.files.len());
        for path in &self.files {
            let name = path.name().strip_suffix(".log").unwrap_or(path.name());
            let kept = folder.join(format!("{name}.lost"));
            disk.rename(path, &kept).await?;
            aside.push(kept);
        }
        disk.sync_folder(Some(&folder)).await?;
        let mut marker = Marker::open(env, &self.options, self.partition).await?;
        marker.write_both(self.end).await?;
        Ok(aside)
    }

    /// Writes the content of the new file, in the order of the offsets, and syncs it.
    async fn write(&self, env: &Env, file: Arc<dyn File>, time: WallTime) -> Result<(), DiskError> {
        let identity = LogFileId {
            store: self.options.store,
            partition: self.partition,
            file: self.next_number,
        };
        let header = FileHeader { base: self.floor, previous: 0, durable: self.floor };
        file.write_at(0, header.encode(&identity).freeze()).await?;
        let mut copy = LogCopy {
            file,
            identity,
            position: BLOCK,
            base: self.floor,
            chain: 0,
            hashes: Vec::new(),
            time,
        };
        let mut numbers = FillerIds::default();
        for step in &self.steps {
            match step {
                RepairStep::Fill(from, below) => {
                    let opening = numbers.begin(WriterId(env.random_id()));
                    copy.fill(below.get() - from.get(), opening).await?;
                }
                RepairStep::Keep(found, from) => copy.keep(found, *from, &mut numbers).await?,
            }
        }
        // An empty batch, whose durable mark covers all records before it.
        copy.batch(&[]).await?;
        // As long as any other log file, so that it can be reused.
        copy.file.allocate(0..self.options.file_bytes).await?;
        copy.file.sync().await
    }
}

/// The new log file while it is written.
struct LogCopy {
    file: Arc<dyn File>,
    identity: LogFileId,
    position: u64,
    base: Offset,
    chain: u128,
    hashes: Vec<u64>,
    time: WallTime,
}

impl LogCopy {
    /// Appends one batch, without a sync.
    async fn batch(&mut self, records: &[Record]) -> Result<(), DiskError> {
        let encoded: Vec<Bytes> = records.iter().map(Record::encode).collect();
        let header = BatchHeader {
            position: self.position,
            time: self.time,
            base: self.base,
            count: 0,
            records_len: 0,
            hashes: 0,
            durable: self.base,
            previous: self.chain,
            body_hash: 0,
        };
        let (header, bytes, _) = batch::encode(&self.identity, header, &encoded, &self.hashes);
        self.file.write_at(self.position, bytes.freeze()).await?;
        self.position += header.span();
        self.chain = header.chain(&self.identity);
        self.base = header.end().unwrap_or(Offset::MAX);
        self.hashes = records.iter().map(Record::key_hash).collect();
        Ok(())
    }

    /// Writes `count` records in place of lost ones: barriers, and last the record that opens the
    /// writer of the records behind the gap.
    async fn fill(&mut self, count: u64, opening: Record) -> Result<(), DiskError> {
        let barrier =
            Record { id: RecordId::default(), body: RecordBody::Barrier, ..opening.clone() };
        let mut left = count;
        while left > 0 {
            let step = left.min(FILL_RECORDS);
            left -= step;
            let mut records = vec![barrier.clone(); step as usize];
            if let Some(last) = records.last_mut().filter(|_| left == 0) {
                *last = opening.clone();
            }
            self.batch(&records).await?;
        }
        Ok(())
    }

    /// Copies a batch's records from an offset on, numbered anew where necessary. Fails when the batch
    /// cannot be read as it was before.
    async fn keep(
        &mut self,
        found: &FoundBatch,
        from: Offset,
        numbers: &mut FillerIds,
    ) -> Result<(), DiskError> {
        let changed = |detail: &str| DiskError {
            kind: DiskErrorKind::Io,
            operation: "read again",
            path: found.file.path().clone(),
            detail: detail.to_owned(),
        };
        let body = found.body().await?.ok_or_else(|| changed("a batch has changed"))?;
        let frames = batch::frames(&found.header, &body).unwrap_or_default();
        let skipped = (from.get() - found.header.base.get()) as usize;
        let mut records = Vec::with_capacity(frames.len().saturating_sub(skipped));
        for (_, bytes) in frames.into_iter().skip(skipped) {
            let record = Record::decode(bytes).map_err(|error| changed(&error.to_string()))?;
            records.push(numbers.number(record));
        }
        self.time = found.header.time;
        self.batch(&records).await
    }
}

/// Assigns ids to the records behind a gap, so that each is the next of its writer.
#[derive(Default)]
struct FillerIds {
    /// The writer that began in the last gap, with its last record's id. None before the first gap.
    last: Option<RecordId>,
    /// Writers that have begun since the last gap. Their records are complete and keep their ids.
    begun: BTreeSet<WriterId>,
}

impl FillerIds {
    /// Begins a writer in a gap and returns the record that opens it.
    fn begin(&mut self, writer: WriterId) -> Record {
        let id = RecordId { writer, epoch: Epoch::new(1), sequence: Sequence::ZERO };
        self.last = Some(id);
        self.begun.clear();
        Record::of_the_store(id, RecordBody::OpenWriter)
    }

    /// Returns a record with the id that it must have in the new log: unchanged before the first gap,
    /// for writers that began after it, and for records without a number.
    fn number(&mut self, record: Record) -> Record {
        let Some(last) = &mut self.last else { return record };
        // A writer's first instance opens with sequence zero. A later one continues an instance from
        // before the gap, so its records are numbered anew like those.
        if matches!(record.body, RecordBody::OpenWriter) && record.id.sequence == Sequence::ZERO {
            self.begun.insert(record.id.writer);
        }
        if !record.is_numbered() || self.begun.contains(&record.id.writer) {
            return record;
        }
        last.sequence = last.sequence.next();
        Record { id: *last, ..record }
    }
}

#[cfg(test)]
mod tests;
