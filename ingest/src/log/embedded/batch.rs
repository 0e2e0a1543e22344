//! A batch: what one group commit writes. `docs/formats/log.md` specifies the bytes.
//!
//! ```text
//!   header 136 | record frame* | key hashes of the batch before, 8 each | zeros to 4 KiB
//!   frame: length 4 | crc 4 | record
//! ```
//!
//! The header says which store, partition, file and place the batch belongs to, so that stale content of
//! a recycled file and misdirected writes do not pass; and up to which offset everything was durable when
//! the batch was submitted, so that recovery can tell a torn end from a damaged middle.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_128;

use crate::ids::{Offset, PartitionId, StoreId};
use crate::time::WallTime;

/// Everything in a log file is aligned to this.
pub const BLOCK: u64 = 4096;
pub const HEADER_BYTES: usize = 136;
pub const FRAME_BYTES: usize = 8;
const MAGIC: u32 = u32::from_le_bytes(*b"SBT1");

/// Which file a batch or header belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogFileId {
    pub store: StoreId,
    pub partition: PartitionId,
    /// The file's number: rises with each file and with each reuse of one, so it tells generations apart.
    pub file: u64,
}

/// A batch's header, as far as it is not identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    pub position: u64,
    pub time: WallTime,
    pub base: Offset,
    pub count: u32,
    /// Bytes of the record frames.
    pub records_len: u32,
    /// How many key hashes of the batch before follow.
    pub hashes: u32,
    /// All records below were durable when this batch was submitted.
    pub durable: Offset,
    /// Hash of the batch before.
    pub previous: u128,
    pub body_hash: u128,
}

impl BatchHeader {
    pub fn body_len(&self) -> usize {
        self.records_len as usize + 8 * self.hashes as usize
    }

    /// Bytes that the batch takes in the file.
    pub fn span(&self) -> u64 {
        span(self.body_len())
    }

    /// The offset after its last record; `None` for a count that no log can have come to.
    pub fn end(&self) -> Option<Offset> {
        self.base.checked_add(u64::from(self.count))
    }

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

    /// Decodes a header that belongs here; `None` for anything else. With `any_file` it may be from an
    /// earlier life of the file.
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

    /// The batch's link in the chain.
    pub fn chain(&self, identity: &LogFileId) -> u128 {
        xxh3_128(&self.encode(identity))
    }
}

/// Whether bytes begin like a batch of the same log that stood in the file before it was reused.
pub fn is_of_earlier_life(bytes: &[u8], identity: &LogFileId) -> bool {
    let position_at = 4 + 4 + 16 + 4 + 4 + 8;
    let position = bytes.get(position_at..).and_then(|bytes| bytes.first_chunk());
    let position = position.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    BatchHeader::decode(bytes, identity, position, true).is_some()
        && BatchHeader::decode(bytes, identity, position, false).is_none()
}

/// Bytes that a batch with so long a body takes in the file.
pub fn span(body_len: usize) -> u64 {
    ((HEADER_BYTES + body_len) as u64).next_multiple_of(BLOCK)
}

/// Checksum of a record frame, bound to its place and length.
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

/// Puts a batch that was read together again, as it stands in the file, up to the end of its last block.
pub fn join(header: &BatchHeader, identity: &LogFileId, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(header.span() as usize);
    out.put_slice(&header.encode(identity));
    out.put_slice(body);
    out.resize(header.span() as usize, 0);
    out
}

/// Whether the body is the one that the header was written with.
pub fn body_fits(header: &BatchHeader, body: &[u8]) -> bool {
    xxh3_128(body) == header.body_hash
}

/// Takes a verified body apart: each record's bytes with the place of its frame. `None` if the frames do
/// not add up.
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

/// The key hashes of the batch before, as a verified body repeats them.
pub fn hashes_before(header: &BatchHeader, body: &[u8]) -> Vec<u64> {
    let hashes = &body[header.records_len as usize..];
    hashes.chunks_exact(8).map(|mut chunk| chunk.get_u64_le()).collect()
}

const FILE_MAGIC: &[u8; 8] = b"SILTLOG1";
const FILE_HEADER_BYTES: usize = 76;

/// The first block of a log file: where it continues from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileHeader {
    /// The offset of its first record.
    pub base: Offset,
    /// The last batch's link in the file before.
    pub previous: u128,
    /// Everything below was durable when the file was begun.
    pub durable: Offset,
}

impl FileHeader {
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
