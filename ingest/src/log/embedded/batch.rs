//! A batch: the unit that one group commit writes. `docs/formats/log.md` specifies the bytes.
//!
//! ```text
//!   header 136 | record frame* | key hashes of the batch before, 8 each | zeros to 4 KiB
//!   frame: length 4 | crc 4 | record
//! ```
//!
//! The header names the store, partition, file and position of the batch, so that old content of a
//! reused file and misdirected writes are never taken for this batch. The header also names the offset
//! up to which all records were durable when the batch was submitted, so that recovery can distinguish
//! a torn end from a damaged middle.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_128;

use crate::ids::{Offset, PartitionId, StoreId};
use crate::time::WallTime;

/// Alignment in bytes of everything in a log file.
pub const BLOCK: u64 = 4096;
/// Length of a batch's header in bytes.
pub const HEADER_BYTES: usize = 136;
/// Length in bytes of the fields before each record: length and checksum.
pub const FRAME_BYTES: usize = 8;
const MAGIC: u32 = u32::from_le_bytes(*b"SBT1");

/// The file that a batch or a file header belongs to. Every checksum of a frame depends on all three
/// fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogFileId {
    pub store: StoreId,
    pub partition: PartitionId,
    /// The file's number. Rises with each new file and with each reuse of one, and so distinguishes the
    /// reuses.
    pub file: u64,
}

/// The fields of a batch's header, without those of [`LogFileId`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    pub position: u64,
    pub time: WallTime,
    pub base: Offset,
    pub count: u32,
    /// Bytes of the record frames.
    pub records_len: u32,
    /// Number of key hashes of the batch before, which follow the record frames.
    pub hashes: u32,
    /// The durable mark: all records below this offset were durable when the batch was submitted.
    pub durable: Offset,
    /// Hash of the header of the batch before: its link in the chain.
    pub previous: u128,
    pub body_hash: u128,
}

impl BatchHeader {
    /// Length in bytes of record frames and key hashes together, as the header names them. The caller
    /// must compare the length with the file before it reads that many bytes.
    pub fn body_len(&self) -> usize {
        self.records_len as usize + 8 * self.hashes as usize
    }

    /// Bytes that the batch takes in the file: header, body, and zeros up to the next multiple of
    /// [`BLOCK`].
    pub fn span(&self) -> u64 {
        span(self.body_len())
    }

    /// The offset after the batch's last record. `None` for a count that exceeds the last offset, which
    /// only a damaged or forged header has.
    pub fn end(&self) -> Option<Offset> {
        self.base.checked_add(u64::from(self.count))
    }

    /// The header's bytes, with their checksum at the end.
    fn encode(&self, identity: &LogFileId) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let mut to = &mut out[..];
        to.put_u32_le(MAGIC);
        to.put_u32_le(0);
        to.put_slice(&identity.store.0);
        to.put_u32_le(identity.partition.get());
        to.put_u32_le(self.count);
        to.put_u64_le(identity.file);
        to.put_u64_le(self.position);
        to.put_i64_le(self.time.micros());
        to.put_u64_le(self.base.get());
        to.put_u64_le(self.durable.get());
        to.put_u32_le(self.records_len);
        to.put_u32_le(self.hashes);
        to.put_u128_le(self.previous);
        to.put_u128_le(self.body_hash);
        to.put_u32_le(0);
        let crc = crc32c::crc32c(&out[..HEADER_BYTES - 4]);
        out[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Decodes a header that belongs to this file and position. `None` for anything else: too few
    /// bytes, a wrong checksum, or another store, partition, file or position. With `any_file` the
    /// file's number may differ, for content from before the file was reused.
    pub fn decode(
        bytes: &[u8],
        identity: &LogFileId,
        position: u64,
        any_file: bool,
    ) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let (body, crc) = bytes.split_at(HEADER_BYTES - 4);
        if crc32c::crc32c(body).to_le_bytes() != *crc {
            return None;
        }
        let mut from = body;
        let magic = (from.get_u32_le(), from.get_u32_le());
        let store = StoreId(from.copy_to_bytes(16).as_ref().try_into().ok()?);
        let partition = PartitionId::new(from.get_u32_le());
        let count = from.get_u32_le();
        let file = from.get_u64_le();
        let found = Self {
            position: from.get_u64_le(),
            time: WallTime::from_micros(from.get_i64_le()),
            base: Offset::new(from.get_u64_le()),
            durable: Offset::new(from.get_u64_le()),
            records_len: from.get_u32_le(),
            hashes: from.get_u32_le(),
            previous: from.get_u128_le(),
            body_hash: from.get_u128_le(),
            count,
        };
        let is_here = magic == (MAGIC, 0)
            && store == identity.store
            && partition == identity.partition
            && (file == identity.file || any_file)
            && found.position == position;
        is_here.then_some(found)
    }

    /// The batch's link in the chain: a hash of the header, which the next batch must name as its
    /// `previous`.
    pub fn chain(&self, identity: &LogFileId) -> u128 {
        xxh3_128(&self.encode(identity))
    }
}

/// Returns true only when bytes begin with a valid batch header of the same store and partition but
/// another file number, that is, content from before the file was reused. Looks at the header alone,
/// not at the batch's place.
pub fn is_of_earlier_life(bytes: &[u8], identity: &LogFileId) -> bool {
    let position_at = 4 + 4 + 16 + 4 + 4 + 8;
    let position = bytes.get(position_at..).and_then(|bytes| bytes.first_chunk());
    let position = position.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    BatchHeader::decode(bytes, identity, position, true).is_some()
        && BatchHeader::decode(bytes, identity, position, false).is_none()
}

/// Bytes that a batch with a body of `body_len` bytes takes in the file, in whole blocks.
pub fn span(body_len: usize) -> u64 {
    ((HEADER_BYTES + body_len) as u64).next_multiple_of(BLOCK)
}

/// Checksum of a record frame. Covers store, partition, file, position and length before the record, so
/// that a frame read from a wrong place never verifies.
pub fn frame_crc(identity: &LogFileId, position: u64, record: &[u8]) -> u32 {
    let mut salt = [0; 40];
    salt[..16].copy_from_slice(&identity.store.0);
    salt[16..20].copy_from_slice(&identity.partition.get().to_le_bytes());
    salt[20..28].copy_from_slice(&identity.file.to_le_bytes());
    salt[28..36].copy_from_slice(&position.to_le_bytes());
    salt[36..40].copy_from_slice(&(record.len() as u32).to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&salt), record)
}

/// Lays out a batch: gives its header, all its bytes, and where each record's frame begins.
pub fn encode(
    identity: &LogFileId,
    mut header: BatchHeader,
    records: &[Bytes],
    hashes_before: &[u64],
) -> (BatchHeader, BytesMut, Vec<u64>) {
    header.count = records.len() as u32;
    header.records_len = records.iter().map(|r| (r.len() + FRAME_BYTES) as u32).sum();
    header.hashes = hashes_before.len() as u32;
    let mut out = BytesMut::zeroed(HEADER_BYTES);
    out.reserve(header.span() as usize);
    let mut positions = Vec::with_capacity(records.len());
    for record in records {
        let position = header.position + out.len() as u64;
        positions.push(position);
        out.put_u32_le(record.len() as u32);
        out.put_u32_le(frame_crc(identity, position, record));
        out.put_slice(record);
    }
    hashes_before.iter().for_each(|hash| out.put_u64_le(*hash));
    header.body_hash = xxh3_128(&out[HEADER_BYTES..]);
    out[..HEADER_BYTES].copy_from_slice(&header.encode(identity));
    out.resize(header.span() as usize, 0);
    (header, out, positions)
}

/// The bytes of a batch that was read, exactly as they are in the file up to the end of the last block.
/// The caller must have verified the body.
pub fn join(header: &BatchHeader, identity: &LogFileId, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(header.span() as usize);
    out.put_slice(&header.encode(identity));
    out.put_slice(body);
    out.resize(header.span() as usize, 0);
    out
}

/// Returns true only when the hash of `body` is the one in the header, that is, when all record frames
/// and key hashes are those that were written.
pub fn body_fits(header: &BatchHeader, body: &[u8]) -> bool {
    xxh3_128(body) == header.body_hash
}

/// Splits a verified body into its records, in order, each with the position of its frame in the file.
/// `None` when lengths or count contradict the header; no length is used before it is compared with a
/// bound.
pub fn frames(header: &BatchHeader, body: &Bytes) -> Option<Vec<(u64, Bytes)>> {
    let mut at = 0usize;
    let mut found = Vec::with_capacity((header.count as usize).min(body.len() / FRAME_BYTES));
    for _ in 0..header.count {
        let len = u32::from_le_bytes(*body.get(at..)?.first_chunk()?) as usize;
        let start = at + FRAME_BYTES;
        let end = start.checked_add(len)?;
        if end > header.records_len as usize {
            return None;
        }
        found.push((header.position + (HEADER_BYTES + at) as u64, body.slice(start..end)));
        at = end;
    }
    (at == header.records_len as usize).then_some(found)
}

/// The key hashes of the batch before, in the order of its records. The caller must have verified the
/// body; otherwise a length in the header may exceed it, and this panics.
pub fn hashes_before(header: &BatchHeader, body: &[u8]) -> Vec<u64> {
    let hashes = &body[header.records_len as usize..];
    hashes.chunks_exact(8).map(|mut chunk| chunk.get_u64_le()).collect()
}

const FILE_MAGIC: &[u8; 8] = b"SILTLOG1";
const FILE_HEADER_BYTES: usize = 76;

/// The first block of a log file, which links the file to the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileHeader {
    /// The offset of the file's first record.
    pub base: Offset,
    /// The link of the last batch in the file before.
    pub previous: u128,
    /// The durable mark: all records below this offset were durable when the file was begun.
    pub durable: Offset,
}

impl FileHeader {
    /// The first block's bytes: the fields, their checksum, and zeros up to 4 KiB. The writer task
    /// writes them together with the file's first batch, never before.
    pub fn encode(&self, identity: &LogFileId) -> BytesMut {
        let mut out = BytesMut::with_capacity(BLOCK as usize);
        out.put_slice(FILE_MAGIC);
        out.put_slice(&identity.store.0);
        out.put_u32_le(identity.partition.get());
        out.put_u32_le(0);
        out.put_u64_le(identity.file);
        out.put_u64_le(self.base.get());
        out.put_u64_le(self.durable.get());
        out.put_u128_le(self.previous);
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        debug_assert_eq!(out.len(), FILE_HEADER_BYTES);
        out.resize(BLOCK as usize, 0);
        out
    }

    /// Decodes the header of this very file. `None` for anything else: a file filled with zeros, a
    /// wrong checksum, an unknown version, or another store, partition or file number.
    pub fn decode(bytes: &[u8], identity: &LogFileId) -> Option<Self> {
        let bytes = bytes.get(..FILE_HEADER_BYTES)?;
        let (body, crc) = bytes.split_at(FILE_HEADER_BYTES - 4);
        if crc32c::crc32c(body).to_le_bytes() != *crc || body[..8] != *FILE_MAGIC {
            return None;
        }
        let mut from = &body[8..];
        let store = StoreId(from.copy_to_bytes(16).as_ref().try_into().ok()?);
        let partition = PartitionId::new(from.get_u32_le());
        let version = from.get_u32_le();
        let file = from.get_u64_le();
        let found = Self {
            base: Offset::new(from.get_u64_le()),
            durable: Offset::new(from.get_u64_le()),
            previous: from.get_u128_le(),
        };
        (LogFileId { store, partition, file } == *identity && version == 0).then_some(found)
    }
}

#[cfg(test)]
mod tests;
