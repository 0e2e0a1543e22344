//! The spool: inline payload of records that are not flushed yet, in local files.
//!
//! The memtable keeps the location of a record's payload, not the payload; on a log far away that
//! location has to be local. Every byte here can be read from the log again, so nothing is synced, and
//! a start begins with an empty folder. Each record is kept whole with its checksum, so that a wrong
//! read is detected here.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::codec::Encoder;
use crate::env::{DiskError, Env, File, FilePath, OpenMode};
use crate::ids::{Offset, PartitionId};
use crate::log::{Corruption, LogLocation, ReadError, confirm};
use crate::record::Record;

const HEADER: u32 = 8;

/// A file number that no spool file has: the record is in the log only.
const IN_THE_LOG: u64 = u64::MAX;

/// The location of a record that was not spooled. Names the record's offset in place of a position in a
/// file.
pub fn in_the_log(offset: Offset, record: &Bytes) -> LogLocation {
    LogLocation { file: IN_THE_LOG, position: offset.get(), len: HEADER + record.len() as u32 }
}

/// The offset of a record that was not spooled; none when the location names a spool file.
pub fn offset_in_the_log(at: &LogLocation) -> Option<Offset> {
    (at.file == IN_THE_LOG).then(|| Offset::new(at.position))
}

/// The spool of one partition. Filled by the fold's reader, read by requests.
pub struct Spool {
    env: Env,
    folder: FilePath,
    partition: PartitionId,
    file_bytes: u64,
    /// The position of the next record. Locked while records are written, so that batches are written
    /// one after another.
    end: tokio::sync::Mutex<SpoolEnd>,
    /// Spool files by number. Locked for look-ups only, never across an `.await`.
    files: Mutex<BTreeMap<u64, SpooledRecord>>,
}

#[derive(Default)]
struct SpoolEnd {
    file: u64,
    position: u64,
}

/// A spool file.
struct SpooledRecord {
    handle: Arc<dyn File>,
    /// The highest offset of a record in the file.
    highest: Offset,
}

impl Spool {
    /// Empties the folder, or makes it, and returns a spool without files. Fails when the disk does.
    /// Nothing is synced: files that a crash brings back are removed by the next start.
    pub async fn open(
        env: Env,
        folder: FilePath,
        partition: PartitionId,
        file_bytes: u64,
    ) -> Result<Self, DiskError> {
        env.disk.create_folder(&folder).await?;
        for (path, _) in env.disk.list(&folder).await? {
            env.disk.remove(&path).await?;
        }
        Ok(Self {
            env,
            folder,
            partition,
            file_bytes,
            end: tokio::sync::Mutex::default(),
            files: Mutex::default(),
        })
    }

    /// Writes records, given as offsets with encodings, and returns their locations in the same order.
    /// Not durable, and not synced: the log has every record. On an error none of them counts as
    /// spooled, and the next call overwrites the bytes. Must be polled to its end, since a write under
    /// way would meet that next call.
    pub async fn keep(&self, records: &[(Offset, Bytes)]) -> Result<Vec<LogLocation>, DiskError> {
        let mut end = self.end.lock().await;
        let Some(highest) = records.iter().map(|(offset, _)| *offset).max() else {
            return Ok(Vec::new());
        };
        let handle = self.file_with_room(&mut end, highest).await?;
        let mut out = Encoder::with_capacity(records.iter().map(|(_, r)| r.len() + 8).sum());
        let mut places = Vec::with_capacity(records.len());
        for (_, record) in records {
            let position = end.position + out.len() as u64;
            let len = HEADER + record.len() as u32;
            out.u32(record.len() as u32).u32(self.checksum(position, record)).raw(record);
            places.push(LogLocation { file: end.file, position, len });
        }
        let bytes = out.finish();
        let len = bytes.len() as u64;
        handle.write_at(end.position, bytes).await?;
        end.position += len;
        Ok(places)
    }

    /// The file that is being filled, or the next one when that is full. Raises the file's highest
    /// offset.
    async fn file_with_room(
        &self,
        end: &mut SpoolEnd,
        highest: Offset,
    ) -> Result<Arc<dyn File>, DiskError> {
        // Numbers begin at 1, so 0 means that no file has been made yet.
        if end.file > 0 && end.position < self.file_bytes {
            let mut files = self.files.lock();
            if let Some(kept) = files.get_mut(&end.file) {
                kept.highest = kept.highest.max(highest);
                return Ok(kept.handle.clone());
            }
        }
        let number = end.file + 1;
        let path = self.folder.join(format!("{number:010}.spool"));
        let handle = self.env.disk.open(&path, OpenMode::Create).await?;
        self.files.lock().insert(number, SpooledRecord { handle: handle.clone(), highest });
        *end = SpoolEnd { file: number, position: 0 };
        Ok(handle)
    }

    /// Reads a spooled record's inline payload and verifies it. Fails with [`ReadError::Trimmed`] when
    /// the file has been released, and with corruption only after a second read agrees.
    pub async fn fetch(&self, at: LogLocation) -> Result<Bytes, ReadError> {
        let handle = self.files.lock().get(&at.file).map(|kept| kept.handle.clone());
        let Some(handle) = handle else {
            return Err(ReadError::Trimmed { partition: self.partition, offset: self.lowest() });
        };
        confirm(|| self.fetch_from(&handle, at)).await
    }

    /// Reads one record once, and compares length and checksum with the location.
    async fn fetch_from(
        &self,
        handle: &Arc<dyn File>,
        at: LogLocation,
    ) -> Result<Bytes, ReadError> {
        let corrupt = |detail: String| {
            ReadError::Corrupt(Corruption {
                file: handle.path().to_string(),
                position: at.position,
                detail,
            })
        };
        let read = handle.read_at(at.position, at.len as usize).await;
        let bytes =
            read.map_err(|error| ReadError::of_disk(self.partition, at.position, &error))?;
        let (head, body) = bytes.split_at_checked(HEADER as usize).unwrap_or_default();
        let expected =
            [(body.len() as u32).to_le_bytes(), self.checksum(at.position, body).to_le_bytes()];
        if head != expected.as_flattened() {
            return Err(corrupt("length or checksum of a spooled record differ".into()));
        }
        let record = Record::decode(bytes.slice(HEADER as usize..))
            .map_err(|error| corrupt(error.to_string()))?;
        Ok(record.inline_payload().cloned().unwrap_or_default())
    }

    /// The offset that an error names for a released record: the highest of the oldest file.
    fn lowest(&self) -> Offset {
        self.files.lock().values().next().map_or(Offset::MAX, |kept| kept.highest)
    }

    /// Checksum of a record with its partition and position, so that a record read from a wrong place
    /// does not verify.
    fn checksum(&self, position: u64, record: &[u8]) -> u32 {
        let place = [u64::from(self.partition.get()).to_le_bytes(), position.to_le_bytes()];
        crc32c::crc32c_append(crc32c::crc32c(place.as_flattened()), record)
    }

    /// Removes files whose records are all below an offset, never the one that is being filled. Waits
    /// for a write under way. A file that cannot be removed is logged and stays until the next start.
    pub async fn release(&self, below: Offset) {
        let filling = self.end.lock().await.file;
        let done: Vec<(u64, SpooledRecord)> = {
            let mut files = self.files.lock();
            let numbers: Vec<u64> = files
                .iter()
                .filter(|(number, kept)| **number != filling && kept.highest < below)
                .map(|(number, _)| *number)
                .collect();
            numbers.iter().filter_map(|n| files.remove(n).map(|kept| (*n, kept))).collect()
        };
        for (_, kept) in done {
            // A file that stays behind is removed by the next start.
            if let Err(error) = self.env.disk.remove(kept.handle.path()).await {
                tracing::warn!(%error, "a spool file stays as garbage");
            }
        }
    }
}
