//! Log files that are laid out byte by byte, for the tests of recovery, repair and verification.

use bytes::Bytes;

use super::batch::{self, BLOCK, BatchHeader, FileHeader, LogFileId};
use super::{EmbeddedLogOptions, file_path};
use crate::env::FilePath;
use crate::ids::{BucketId, ConfigVersion, Offset, PartitionId, StoreId};
use crate::memory::Memory;
use crate::name::ObjectKey;
use crate::record::{
    DeleteObject, Record, RecordBody, RecordId, VersionRef, WriteCondition, key_hash,
};
use crate::time::WallTime;

pub const STORE: StoreId = StoreId([3; 16]);
pub const PARTITION: PartitionId = PartitionId::new(2);
pub const BUCKET: BucketId = BucketId::new(3);
pub const FILE_BYTES: u64 = 16 * BLOCK;

/// Options of the log that the tests lay out. The store counts as not begun, so a missing log is no
/// corruption.
pub fn options() -> EmbeddedLogOptions {
    EmbeddedLogOptions {
        folder: FilePath::new("log"),
        store: STORE,
        file_bytes: FILE_BYTES,
        queue_bytes: 1 << 20,
        reserve_bytes: 0,
        is_begun: false,
    }
}

/// The folder of the partition's log files.
pub fn folder() -> FilePath {
    options().partition_folder(PARTITION)
}

/// The path of the log file with a number.
pub fn path(number: u64) -> FilePath {
    file_path(&folder(), number)
}

/// The identity of the log file with a number.
pub fn identity(file: u64) -> LogFileId {
    LogFileId { store: STORE, partition: PARTITION, file }
}

/// An encoded delete of a key; a barrier for the empty key.
pub fn record(key: &str) -> Bytes {
    let body = match key {
        "" => RecordBody::Barrier,
        key => RecordBody::DeleteObject(DeleteObject {
            bucket: BUCKET,
            config: ConfigVersion::ZERO,
            key: ObjectKey::new(key.as_bytes().to_vec()).unwrap(),
            version: VersionRef::Current,
            condition: WriteCondition::Always,
        }),
    };
    let (principal, request) = (String::new(), String::new());
    Record { id: RecordId::default(), principal, request, time: WallTime::default(), body }.encode()
}

/// The key hash that a batch repeats for the record of a key; 0 for a barrier.
pub fn hash(key: &str) -> u64 {
    if key.is_empty() { 0 } else { key_hash(BUCKET, key.as_bytes()) }
}

/// A log file in memory, to which batches are added in order.
pub struct Layer {
    pub identity: LogFileId,
    pub bytes: Vec<u8>,
    pub end: u64,
    pub chain: u128,
    pub hashes: Vec<u64>,
}

impl Layer {
    /// A file with a header and no batch yet, linked to the batch with the hash `previous`.
    pub fn begin(number: u64, base: u64, durable: u64, previous: u128) -> Self {
        let identity = identity(number);
        let (base, durable) = (Offset::new(base), Offset::new(durable));
        let header = FileHeader { base, previous, durable };
        let bytes = header.encode(&identity).to_vec();
        Self { identity, bytes, end: base.get(), chain: previous, hashes: Vec::new() }
    }

    /// A file that continues the chain of another one, under the next number.
    pub fn after(before: &Layer, durable: u64) -> Self {
        let number = before.identity.file + 1;
        Self {
            hashes: before.hashes.clone(),
            ..Self::begin(number, before.end, durable, before.chain)
        }
    }

    /// Adds a batch with one record for each key, in order. An empty key makes a barrier record.
    pub fn batch(mut self, keys: &[&str], durable: u64) -> Self {
        let header = BatchHeader {
            position: self.bytes.len() as u64,
            time: WallTime::from_micros(1),
            base: Offset::new(self.end),
            count: 0,
            records_len: 0,
            hashes: 0,
            durable: Offset::new(durable),
            previous: self.chain,
            body_hash: 0,
        };
        let records: Vec<Bytes> = keys.iter().map(|key| record(key)).collect();
        let (header, bytes, _) = batch::encode(&self.identity, header, &records, &self.hashes);
        self.bytes.extend_from_slice(&bytes);
        self.end = self.end.saturating_add(keys.len() as u64);
        self.chain = header.chain(&self.identity);
        self.hashes = keys.iter().map(|key| hash(key)).collect();
        self
    }

    /// Puts the file into a disk in memory, filled with zeros up to its full length.
    pub fn put(&self, memory: &Memory) {
        let mut bytes = self.bytes.clone();
        bytes.resize(FILE_BYTES as usize, 0);
        memory.put(&path(self.identity.file), &bytes);
    }
}

/// Overwrites bytes of a stored log file. Panics when the file is missing or too short.
pub fn change(memory: &Memory, number: u64, at: u64, bytes: &[u8]) {
    let mut file = memory.get(&path(number)).unwrap();
    file[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    memory.put(&path(number), &file);
}

/// A file with three batches from offset 10 on. Each batch calls durable all records before it.
pub fn three() -> Layer {
    Layer::begin(1, 10, 10, 7).batch(&["a", "", "b"], 10).batch(&["c"], 13).batch(&["d", "e"], 14)
}

/// Positions of the batches of [`three`].
pub const THREE: [u64; 3] = [BLOCK, 2 * BLOCK, 3 * BLOCK];
