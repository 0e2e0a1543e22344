//! Log files laid out byte by byte, for the tests of what reads them.

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

pub fn folder() -> FilePath {
    options().partition_folder(PARTITION)
}

pub fn path(number: u64) -> FilePath {
    file_path(&folder(), number)
}

pub fn identity(file: u64) -> LogFileId {
    LogFileId { store: STORE, partition: PARTITION, file }
}

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

pub fn hash(key: &str) -> u64 {
    if key.is_empty() { 0 } else { key_hash(BUCKET, key.as_bytes()) }
}

/// A log file that is being laid out.
pub struct Layer {
    pub identity: LogFileId,
    pub bytes: Vec<u8>,
    pub end: u64,
    pub chain: u128,
    pub hashes: Vec<u64>,
}

impl Layer {
    pub fn begin(number: u64, base: u64, durable: u64, previous: u128) -> Self {
        let identity = identity(number);
        let (base, durable) = (Offset::new(base), Offset::new(durable));
        let header = FileHeader { base, previous, durable };
        let bytes = header.encode(&identity).to_vec();
        Self { identity, bytes, end: base.get(), chain: previous, hashes: Vec::new() }
    }

    /// The file that goes on where another one ends.
    pub fn after(before: &Layer, durable: u64) -> Self {
        let number = before.identity.file + 1;
        Self {
            hashes: before.hashes.clone(),
            ..Self::begin(number, before.end, durable, before.chain)
        }
    }

    /// Adds a batch of one record for each key.
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

    pub fn put(&self, memory: &Memory) {
        let mut bytes = self.bytes.clone();
        bytes.resize(FILE_BYTES as usize, 0);
        memory.put(&path(self.identity.file), &bytes);
    }
}

pub fn change(memory: &Memory, number: u64, at: u64, bytes: &[u8]) {
    let mut file = memory.get(&path(number)).unwrap();
    file[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    memory.put(&path(number), &file);
}

/// Three batches from offset 10 on; each calls durable what stood before it.
pub fn three() -> Layer {
    Layer::begin(1, 10, 10, 7).batch(&["a", "", "b"], 10).batch(&["c"], 13).batch(&["d", "e"], 14)
}

/// Positions of the three batches.
pub const THREE: [u64; 3] = [BLOCK, 2 * BLOCK, 3 * BLOCK];
