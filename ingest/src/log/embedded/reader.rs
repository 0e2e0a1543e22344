//! Reading the log: from memory where a reader keeps up, else from the files, verified again.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::batch::{self, BatchHeader, FRAME_BYTES, HEADER_BYTES, LogFileId};
use super::{EmbeddedPartition, LogFile, scan};
use crate::env::Fut;
use crate::ids::Offset;
use crate::log::{CommittedRecord, Corruption, LogLocation, LogReader, ReadError, confirm};
use crate::mutant::Mutant;
use crate::record::Record;

/// Reads committed records in order.
pub(super) struct FileReader {
    partition: Arc<EmbeddedPartition>,
    next: Offset,
    /// Where in a file the batch with `next` begins, when that is known.
    place: Option<(Arc<LogFile>, u64)>,
}

impl FileReader {
    pub fn new(partition: Arc<EmbeddedPartition>, next: Offset) -> Self {
        Self { partition, next, place: None }
    }

    async fn take(&mut self) -> Result<Vec<CommittedRecord>, ReadError> {
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
        // Memory has caught up; the place in the file would be stale when it falls behind again.
        self.place = None;
        Some(batch.iter().filter(|record| record.offset >= self.next).cloned().collect())
    }

    /// Reads the next batch from the files; empty when it held nothing at or above `next`.
    async fn take_from_file(&mut self) -> Result<Vec<CommittedRecord>, ReadError> {
        let (file, position) = match self.place.take() {
            Some(place) => place,
            None => self.place_of(self.next).await?,
        };
        let read = confirm(|| read_batch(&self.partition, &file, position)).await;
        let (header, body) = match read {
            Ok(batch) => batch,
            Err(ReadError::Corrupt(corruption)) => {
                // If the file ends here, the batch must be in the one after it.
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

    /// Finds the position of the batch with an offset. What stands before it in the file is not read, so that damage
    /// there is of no concern.
    async fn place_of(&self, offset: Offset) -> Result<(Arc<LogFile>, u64), ReadError> {
        let file = self.file_of(offset)?;
        if file.base == offset {
            return Ok((file.clone(), file.begin));
        }
        let stretch = file.begin..file.len;
        let found = scan::seek(&file.file, &file.identity, stretch, offset).await;
        let found = found.map_err(|error| self.partition.unavailable(error.to_string()))?;
        // Not found, it is met, and named, on the way from the beginning.
        let position = found.map_or(file.begin, |header| match header.end() == Some(offset) {
            true => header.position + header.span(),
            false => header.position,
        });
        Ok((file, position))
    }

    /// The last file that begins at or below an offset.
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

async fn read(
    partition: &EmbeddedPartition,
    file: &LogFile,
    position: u64,
    len: usize,
) -> Result<Bytes, ReadError> {
    let read = file.file.read_at(position, len).await;
    read.map_err(|error| ReadError::of_disk(partition.id, position, &error))
}

/// Reads and verifies the batch at a place. That there is none is corruption for whoever knows that one must
/// be there.
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

/// Takes a batch that was verified apart into its records.
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
            record,
        });
    }
    Ok(found)
}

/// Reads one record's inline payload, verified by the record's own checksum.
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
