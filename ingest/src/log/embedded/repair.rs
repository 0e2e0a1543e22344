//! Accepting a loss: makes a log that recovery refuses one that it takes, of everything that can be read.
//!
//! Batches describe themselves, so those behind a damaged one can be read. The log is written anew, from the
//! floor on, into one file under the next number: every record that can be read at the offset that it had,
//! since offsets are the names of versions and buckets, and records that mean nothing at offsets that are
//! lost. No offset is given out twice.
//!
//! A record counts only as the next of its writer. Behind a gap the rest of a writer's records would all be
//! refused, so they are numbered anew, as those of a writer that begins in the gap. Who wrote them has ended.
//!
//! Nothing is removed: the files that were found are kept under the ending `.lost`. They are renamed after
//! the new file has its name, so that a crash in between leaves a log that can be opened, or one that the
//! same repair can be made of again.

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

/// Records that mean nothing, in one batch.
const FILL_RECORDS: u64 = 4096;
/// The longest gap that is filled: one of 64 Mi records takes 3 GiB.
const GAP_MAX: u64 = 64 << 20;

/// A log could not be repaired.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RepairError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The loss is so large that filling its place would take the disk.
    #[error("offsets {from} to {below} are lost: more than can be passed over")]
    TooMuch {
        /// The first offset.
        from: Offset,
        /// The offset after the last.
        below: Offset,
    },
}

/// A stretch of records that is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostRange {
    /// The first offset.
    pub from: Offset,
    /// The offset after the last.
    pub below: Offset,
    /// Hashes of the keys that the last records of it were about, as far as the batch behind repeats them.
    pub key_hashes: Vec<u64>,
}

/// The lost records of a log, and those that can be kept. Nothing is changed before [`LossReport::accept`].
pub struct LossReport {
    /// The stretches that are gone, in order.
    pub lost: Vec<LostRange>,
    /// How many records above the floor can be kept.
    pub kept: u64,
    /// The files that will be set aside.
    pub files: Vec<FilePath>,
    options: EmbeddedLogOptions,
    partition: PartitionId,
    floor: Offset,
    steps: Vec<RepairStep>,
    end: Offset,
    next_number: u64,
}

/// The contents of the new file, in order.
enum RepairStep {
    Fill(Offset, Offset),
    /// A batch, from an offset on.
    Keep(FoundBatch, Offset),
}

#[derive(Clone)]
struct FoundBatch {
    file: Arc<dyn File>,
    identity: LogFileId,
    len: u64,
    header: BatchHeader,
}

impl FoundBatch {
    /// The batch's body, if it is whole and its records can be read.
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

/// Looks at what a partition's log has from `floor` on, whatever state it is in.
pub async fn repair(
    env: &Env,
    options: &EmbeddedLogOptions,
    partition: PartitionId,
    floor: Offset,
) -> Result<LossReport, RepairError> {
    // A batch that one read finds bad would be given up. So all is read twice, and the look that finds more
    // counts: a batch with its checksums is never found by mistake.
    let first = look_once(env, options, partition, floor).await?;
    let second = look_once(env, options, partition, floor).await?;
    Ok(if second.kept >= first.kept { second } else { first })
}

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
    /// Finds the log's files, and the headers of all batches that reach above the floor.
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

    /// Takes note of a gap that ends at an offset.
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

    /// Writes what can be kept as a new log, then sets the old files aside; gives the new names of those.
    /// `time` is the fold's at the floor.
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
            // On a full device, say: it must not take the room of the next try.
            let _ = disk.remove(&temporary).await;
            return Err(error.into());
        }
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
        // An empty batch calls all of it durable.
        copy.batch(&[]).await?;
        // Reused later, it must be as long as any other.
        copy.file.allocate(0..self.options.file_bytes).await?;
        copy.file.sync().await
    }
}

/// The new log file, as it is written.
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

    /// Writes so many records that mean nothing; the last begins the writer of what follows.
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

/// Names records behind a gap, so that each is the next of its writer.
#[derive(Default)]
struct FillerIds {
    /// The writer that began in the last gap, with its last record's name.
    last: Option<RecordId>,
    /// Writers that have begun since: theirs are whole.
    begun: BTreeSet<WriterId>,
}

impl FillerIds {
    /// Begins a writer; gives the record that says so.
    fn begin(&mut self, writer: WriterId) -> Record {
        let id = RecordId { writer, epoch: Epoch::new(1), sequence: Sequence::ZERO };
        self.last = Some(id);
        self.begun.clear();
        Record::of_the_store(id, RecordBody::OpenWriter)
    }

    fn number(&mut self, record: Record) -> Record {
        let Some(last) = &mut self.last else { return record };
        // Another instance of a writer that was known before goes on where that one had come to.
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
