//! Reading the log: from memory close to the end, otherwise from the files, where every batch is
//! verified again.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::batch::{self, BatchHeader, FRAME_BYTES, HEADER_BYTES, LogFileId};
use super::{EmbeddedPartition, LogFile, scan};
use crate::env::Fut;
use crate::ids::Offset;
use crate::log::{CommittedRecord, Corruption, LogLocation, LogReader, ReadError, confirm};
use crate::mutant::Mutant;
use crate::record::Record;

/// Reads committed records in order. Pins the log file that it is reading.
pub(super) struct FileReader {
    partition: Arc<EmbeddedPartition>,
    next: Offset,
    /// The file and position of the batch with `next`, when they are known.
    place: Option<(Arc<LogFile>, u64)>,
}

impl FileReader {
    /// A reader that delivers the record with offset `next` first. Reads nothing before the first call
    /// of [`LogReader::next`].
    pub fn new(partition: Arc<EmbeddedPartition>, next: Offset) -> Self {
        Self { partition, next, place: None }
    }

    /// Waits for records at or above `next` and returns those of one batch. `next` moves only when
    /// records are returned, so an error or a dropped future leaves no gap. At the end of a log with
    /// damage, fails with that damage instead of waiting.
    async fn take(&mut self) -> Result<Vec<CommittedRecord>, ReadError> {
        // Subscribed before the first look, so that no change of the end is missed.
        let mut end = self.partition.end.subscribe();
        loop {
            if self.next < *end.borrow_and_update() {
                let found = match self.take_from_memory() {
                    Some(found) => found,
                    None => self.take_from_file().await?,
                };
                if let Some(last) = found.last() {
                    self.next = last.offset.next();
                    return Ok(found);
                }
                continue;
            }
            if let Some(corruption) = &self.partition.corruption {
                return Err(ReadError::Corrupt(corruption.clone()));
            }
            if end.changed().await.is_err() {
                return Err(self.partition.unavailable("the log is closed"));
            }
        }
    }

    /// The records of the batch with `next`, if that batch is in memory.
    fn take_from_memory(&mut self) -> Option<Vec<CommittedRecord>> {
        let recent = self.partition.recent.lock();
        let first = recent.batches.front().and_then(|batch| batch.first())?;
        if self.next < first.offset {
            return None;
        }
        let holds = |batch: &Arc<Vec<CommittedRecord>>| {
            batch.last().is_some_and(|last| last.offset >= self.next)
        };
        let index = recent.batches.partition_point(|batch| !holds(batch));
        let batch = recent.batches.get(index)?.clone();
        drop(recent);
        // The place in the file would be stale when the reader falls behind memory again.
        self.place = None;
        Some(batch.iter().filter(|record| record.offset >= self.next).cloned().collect())
    }

    /// Reads the next batch from the files. Empty when the batch had no record at or above `next`, or
    /// when the next batch is in the following file; the caller then calls again.
    async fn take_from_file(&mut self) -> Result<Vec<CommittedRecord>, ReadError> {
        let (file, position) = match self.place.take() {
            Some(place) => place,
            None => self.place_of(self.next).await?,
        };
        let read = confirm(|| read_batch(&self.partition, &file, position)).await;
        let (header, body) = match read {
            Ok(batch) => batch,
            Err(ReadError::Corrupt(corruption)) => {
                // The current file may simply end here; then the batch is in the file that begins at or
                // below `next`.
                let next = self.file_of(self.next)?;
                if next.identity.file == file.identity.file {
                    let detail = format!(
                        "the batch with offset {} cannot be read: {}",
                        self.next, corruption.detail
                    );
                    return Err(Corruption { detail, ..corruption }.into());
                }
                self.place = Some((next.clone(), next.begin));
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let corrupt = |position, detail| {
            let file = file.file.path().to_string();
            ReadError::Corrupt(Corruption { file, position, detail })
        };
        let records = decode(&file.identity, &header, &body, corrupt)?;
        self.place = Some((file, position + header.span()));
        Ok(records.into_iter().filter(|record| record.offset >= self.next).collect())
    }

    /// Finds the file and position of the batch with an offset. Bytes before that batch are not read,
    /// so damage there does not matter.
    async fn place_of(&self, offset: Offset) -> Result<(Arc<LogFile>, u64), ReadError> {
        let file = self.file_of(offset)?;
        if file.base == offset {
            return Ok((file.clone(), file.begin));
        }
        let stretch = file.begin..file.len;
        let found = scan::seek(&file.file, &file.identity, stretch, offset).await;
        let found = found.map_err(|error| self.partition.unavailable(error.to_string()))?;
        // When no header covers the offset, reading from the beginning meets the damage and reports its
        // place.
        let position = found.map_or(file.begin, |header| match header.end() == Some(offset) {
            true => header.position + header.span(),
            false => header.position,
        });
        Ok((file, position))
    }

    /// The last file that begins at or below an offset. Fails with [`ReadError::Trimmed`] when none
    /// does.
    fn file_of(&self, offset: Offset) -> Result<Arc<LogFile>, ReadError> {
        let files = self.partition.files.lock();
        let found = files.iter().rev().find(|file| file.base <= offset).cloned();
        found.ok_or(ReadError::Trimmed { partition: self.partition.id, offset })
    }
}

impl LogReader for FileReader {
    fn next(&mut self) -> Fut<'_, Result<Vec<CommittedRecord>, ReadError>> {
        Box::pin(self.take())
    }
}

/// Reads bytes of a log file, and classifies an error as damage or as "not now".
async fn read(
    partition: &EmbeddedPartition,
    file: &LogFile,
    position: u64,
    len: usize,
) -> Result<Bytes, ReadError> {
    let read = file.file.read_at(position, len).await;
    read.map_err(|error| ReadError::of_disk(partition.id, position, &error))
}

/// Reads and verifies the batch at a place. The caller knows that a batch must be there, so a missing
/// one is corruption.
async fn read_batch(
    partition: &EmbeddedPartition,
    file: &LogFile,
    position: u64,
) -> Result<(BatchHeader, Bytes), ReadError> {
    let nothing = || {
        let file = file.file.path().to_string();
        ReadError::from(Corruption { file, position, detail: "no valid batch is here".into() })
    };
    if position + HEADER_BYTES as u64 > file.len {
        return Err(nothing());
    }
    let bytes = read(partition, file, position, HEADER_BYTES).await?;
    let Some(header) = BatchHeader::decode(&bytes, &file.identity, position, false) else {
        return Err(nothing());
    };
    if position + header.span() > file.len {
        return Err(nothing());
    }
    let body = read(partition, file, position + HEADER_BYTES as u64, header.body_len()).await?;
    if batch::body_fits(&header, &body) { Ok((header, body)) } else { Err(nothing()) }
}

/// Decodes the records of a verified batch, in order, with their offsets and locations. `corrupt`
/// builds the error for frames or records that contradict the batch's header.
pub(super) fn decode(
    identity: &LogFileId,
    header: &BatchHeader,
    body: &Bytes,
    corrupt: impl Fn(u64, String) -> ReadError,
) -> Result<Vec<CommittedRecord>, ReadError> {
    let frames = batch::frames(header, body)
        .ok_or_else(|| corrupt(header.position, "the records of a batch do not add up".into()))?;
    let mut found = Vec::with_capacity(frames.len());
    for (index, (position, bytes)) in frames.into_iter().enumerate() {
        let len = (bytes.len() + FRAME_BYTES) as u32;
        let record = Record::decode(bytes).map_err(|error| corrupt(position, error.to_string()))?;
        found.push(CommittedRecord {
            offset: Offset::new(header.base.get() + index as u64),
            time: header.time,
            location: LogLocation { file: identity.file, position, len },
            record: Arc::new(record),
        });
    }
    Ok(found)
}

/// Reads one record's inline payload, verified by the checksum of the record's frame. Fails with
/// [`ReadError::Trimmed`] when the file is no longer a file of the log, and with corruption only after
/// a second read agrees.
pub(super) async fn fetch(
    partition: &Arc<EmbeddedPartition>,
    location: LogLocation,
) -> Result<Bytes, ReadError> {
    let file = {
        let files = partition.files.lock();
        files.iter().find(|file| file.identity.file == location.file).cloned()
    };
    let Some(file) = file else {
        let offset = *partition.trimmed.lock();
        return Err(ReadError::Trimmed { partition: partition.id, offset });
    };
    if partition.env.mutated(Mutant::BelieveFirstRead) {
        return fetch_once(partition, &file, location).await;
    }
    confirm(|| fetch_once(partition, &file, location)).await
}

/// Reads one frame, compares its length and checksum with the location, and returns the payload inside.
async fn fetch_once(
    partition: &EmbeddedPartition,
    file: &LogFile,
    location: LogLocation,
) -> Result<Bytes, ReadError> {
    let mut frame = read(partition, file, location.position, location.len as usize).await?;
    let corrupt = |detail: String| {
        let file = file.file.path().to_string();
        ReadError::Corrupt(Corruption { file, position: location.position, detail })
    };
    if frame.len() < FRAME_BYTES {
        return Err(corrupt("the record is too short".into()));
    }
    let (len, crc) = (frame.get_u32_le() as usize, frame.get_u32_le());
    let computed = batch::frame_crc(&file.identity, location.position, &frame);
    if len != frame.len() || crc != computed {
        return Err(corrupt(format!("record checksum {crc:08x}, computed {computed:08x}")));
    }
    let record = Record::decode(frame).map_err(|error| corrupt(error.to_string()))?;
    let payload = record.inline_payload().cloned();
    payload.ok_or_else(|| corrupt("the record has no inline payload".into()))
}
