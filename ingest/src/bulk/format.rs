//! The bytes of a bulk file. `docs/formats/bulk.md` specifies them.
//!
//! ```text
//!   header 4 KiB | extent | extent | ...           extents begin on 4 KiB
//!   extent: frame 64 KiB | frame 64 KiB | frame (as long as it needs to be, zeros to 4 KiB)
//!   frame:  header 32 | payload, at most 65,504 bytes
//! ```
//!
//! An extent alone determines every field of its frames' headers: file, position, the extent's
//! beginning, and the lengths. A reader therefore does not decode a frame's header but compares it, and
//! no length that was read from the disk is ever used.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::entry::Extent;
use crate::ids::{BulkId, PartitionId, StoreId};

/// Alignment of extents in bytes: small enough to waste little after a short upload, large enough that
/// two uploads never share a page or a sector.
pub const BLOCK: u64 = 4096;
/// Distance of frames within an extent, in bytes.
pub const FRAME_BYTES: u64 = 64 << 10;
/// Length of a frame's header in bytes.
pub const FRAME_HEADER_BYTES: usize = 32;
/// The most payload bytes in one frame.
pub const FRAME_PAYLOAD_MAX: u64 = FRAME_BYTES - FRAME_HEADER_BYTES as u64;
/// The end of the last position that a frame can name, in bytes.
pub const FILE_END_MAX: u64 = (u32::MAX as u64) * BLOCK;

const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"SBF1");
const FILE_MAGIC: &[u8; 8] = b"SILTBULK";
const FILE_VERSION: u32 = 1;
const FILE_HEADER_BYTES: usize = 52;
/// Positions of the header's two copies in the first block: in different sectors, so that one bad
/// sector does not destroy the file.
pub const HEADER_COPIES: [usize; 2] = [0, 2048];

/// The identity of a bulk file. Every checksum in the file depends on all fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BulkFileId {
    pub store: StoreId,
    pub partition: PartitionId,
    pub file: BulkId,
    /// A random number drawn when the file is begun. Distinguishes the file from another one that had
    /// the same number or the same blocks.
    pub nonce: u64,
}

impl BulkFileId {
    /// The checksum that each frame's checksum continues.
    fn seed(&self) -> u32 {
        let mut salt = [0; 36];
        let mut to = &mut salt[..];
        to.put_slice(&self.store.0);
        to.put_u32_le(self.partition.get());
        to.put_u64_le(self.file.get());
        to.put_u64_le(self.nonce);
        crc32c::crc32c(&salt)
    }

    /// One copy of the header.
    fn encode_copy(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut out = [0; FILE_HEADER_BYTES];
        let mut to = &mut out[..];
        to.put_slice(FILE_MAGIC);
        to.put_u32_le(FILE_VERSION);
        to.put_u32_le(self.partition.get());
        to.put_slice(&self.store.0);
        to.put_u64_le(self.file.get());
        to.put_u64_le(self.nonce);
        let crc = crc32c::crc32c(&out[..FILE_HEADER_BYTES - 4]);
        out[FILE_HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The first block of the file: both copies of the header, and zeros. Written once, before the
    /// file's name is synced.
    pub fn encode(&self) -> Bytes {
        let mut block = BytesMut::zeroed(BLOCK as usize);
        let copy = self.encode_copy();
        for at in HEADER_COPIES {
            block[at..at + copy.len()].copy_from_slice(&copy);
        }
        block.freeze()
    }

    /// Decodes the copy of the header at the front of `bytes`. Fails, with the reason as text, when the
    /// copy is damaged, has an unknown version, or belongs to another store, partition or file.
    pub fn decode_copy(
        bytes: &[u8],
        store: StoreId,
        partition: PartitionId,
        file: BulkId,
    ) -> Result<Self, String> {
        let Some(bytes) = bytes.get(..FILE_HEADER_BYTES) else {
            return Err("the file ends within its header".into());
        };
        let (body, mut stored) = bytes.split_at(FILE_HEADER_BYTES - 4);
        let (stored, computed) = (stored.get_u32_le(), crc32c::crc32c(body));
        if body[..8] != *FILE_MAGIC {
            return Err("no bulk file begins here".into());
        }
        if stored != computed {
            return Err(format!("header checksum {stored:08x} stored, {computed:08x} computed"));
        }
        let mut from = &body[8..];
        let version = from.get_u32_le();
        if version != FILE_VERSION {
            return Err(format!("version {version} is not known, {FILE_VERSION} is"));
        }
        let found_partition = PartitionId::new(from.get_u32_le());
        let mut found_store = StoreId::default();
        from.copy_to_slice(&mut found_store.0);
        let found_file = BulkId::new(from.get_u64_le());
        if (found_store, found_partition, found_file) != (store, partition, file) {
            return Err(format!(
                "the header is of file {found_file} of partition {found_partition} of store {:032x}",
                u128::from_be_bytes(found_store.0)
            ));
        }
        Ok(Self { store, partition, file, nonce: from.get_u64_le() })
    }

    /// Decodes the first good copy of the header in a file's first block. Fails only when both copies
    /// are bad, with the reason of the first.
    pub fn decode(
        block: &[u8],
        store: StoreId,
        partition: PartitionId,
        file: BulkId,
    ) -> Result<Self, String> {
        let copies = HEADER_COPIES.map(|at| {
            Self::decode_copy(block.get(at..).unwrap_or_default(), store, partition, file)
        });
        let [first, second] = copies;
        first.or_else(|wrong| second.map_err(|_| wrong))
    }
}

/// The facts about one frame that follow from its extent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameRef {
    /// Position of the frame in the file, in bytes.
    pub position: u64,
    /// Number of the block at which the frame's extent begins: distinguishes uploads that lie side by
    /// side.
    pub extent_block: u32,
    /// Payload length in bytes.
    pub len: u32,
}

impl FrameRef {
    /// The frame with a number, counted from 0, of an extent. The caller must have checked the extent
    /// with [`check_extent`], and the number must be below [`frames`].
    pub fn of(extent: &Extent, index: u64) -> Self {
        let len = (extent.len - index * FRAME_PAYLOAD_MAX).min(FRAME_PAYLOAD_MAX);
        Self {
            position: extent.position + index * FRAME_BYTES,
            extent_block: (extent.position / BLOCK) as u32,
            len: len as u32,
        }
    }

    /// Length of header and payload in bytes, without the zeros that may follow the last frame of an
    /// extent.
    pub fn bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.len as usize
    }

    /// The header without its checksum.
    fn head(&self, file: BulkId) -> [u8; FRAME_HEADER_BYTES - 4] {
        let mut out = [0; FRAME_HEADER_BYTES - 4];
        let mut to = &mut out[..];
        to.put_u32_le(FRAME_MAGIC);
        to.put_u32_le(self.len);
        to.put_u64_le(file.get());
        to.put_u64_le(self.position);
        to.put_u32_le(self.extent_block);
        out
    }

    /// Writes header and checksum in front of the payload. `bytes` must have the whole frame, with the
    /// payload after the header's space.
    pub fn seal(&self, identity: &BulkFileId, bytes: &mut [u8]) {
        let head = self.head(identity.file);
        let crc = crc32c::crc32c_append(identity.seed(), &head);
        let crc = crc32c::crc32c_append(crc, &bytes[FRAME_HEADER_BYTES..]);
        bytes[..head.len()].copy_from_slice(&head);
        bytes[head.len()..FRAME_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    }

    /// Compares the bytes that were read for a frame with the expected header and checksum. Fails with
    /// the difference as text: length, header, or checksum, in this order.
    pub fn verify(&self, identity: &BulkFileId, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() != self.bytes() {
            return Err(format!("{} bytes are here, the frame has {}", bytes.len(), self.bytes()));
        }
        let (header, payload) = bytes.split_at(FRAME_HEADER_BYTES);
        let (head, mut stored) = header.split_at(FRAME_HEADER_BYTES - 4);
        let crc = crc32c::crc32c_append(identity.seed(), head);
        let (stored, computed) = (stored.get_u32_le(), crc32c::crc32c_append(crc, payload));
        if head != self.head(identity.file) {
            let found = describe(head);
            return Err(format!("{found}; checksum {stored:08x} stored, {computed:08x} computed"));
        }
        if stored != computed {
            return Err(format!("frame checksum {stored:08x} stored, {computed:08x} computed"));
        }
        Ok(())
    }
}

/// Describes the bytes that are in place of an expected header.
fn describe(mut head: &[u8]) -> String {
    if head.iter().all(|byte| *byte == 0) {
        return "nothing has been written here".into();
    }
    if head.get_u32_le() != FRAME_MAGIC {
        return "no frame begins here".into();
    }
    let (len, file) = (head.get_u32_le(), head.get_u64_le());
    let (position, extent) = (head.get_u64_le(), u64::from(head.get_u32_le()) * BLOCK);
    format!(
        "a frame of {len} bytes for file {file}, byte {position}, in the extent at {extent}, is here"
    )
}

/// Bytes that an extent with `len` payload bytes takes in the file, in whole blocks. Saturates, never
/// overflows, for a length from damaged input.
pub fn span(len: u64) -> u64 {
    let (full, rest) = (len / FRAME_PAYLOAD_MAX, len % FRAME_PAYLOAD_MAX);
    let last =
        if rest > 0 { (rest + FRAME_HEADER_BYTES as u64).next_multiple_of(BLOCK) } else { 0 };
    full.saturating_mul(FRAME_BYTES).saturating_add(last)
}

/// Payload bytes that an extent of `bytes` bytes in the file can hold. `bytes` must be whole blocks.
pub fn capacity(bytes: u64) -> u64 {
    let (full, rest) = (bytes / FRAME_BYTES, bytes % FRAME_BYTES);
    full * FRAME_PAYLOAD_MAX + rest.saturating_sub(FRAME_HEADER_BYTES as u64)
}

/// Payload bytes that a part of an upload can hold when the upload continues in another file. Whole
/// frames only, so that a piece of whole frames never lies in two files; but space too small for one
/// frame is filled completely.
pub fn part_capacity(bytes: u64) -> u64 {
    match bytes / FRAME_BYTES {
        0 => capacity(bytes),
        frames => frames * FRAME_PAYLOAD_MAX,
    }
}

/// The number of frames of an extent. Zero only for an extent without payload.
pub fn frames(extent: &Extent) -> u64 {
    extent.len.div_ceil(FRAME_PAYLOAD_MAX)
}

/// Fails, with the reason as text, for an extent that no file can contain. Must be called before any
/// position is computed from an extent that was read from a record or a manifest.
pub fn check_extent(extent: &Extent) -> Result<(), String> {
    let end = extent.position.checked_add(span(extent.len));
    let is_possible = extent.position >= BLOCK
        && extent.position.is_multiple_of(BLOCK)
        && end.is_some_and(|end| end <= FILE_END_MAX);
    if is_possible {
        return Ok(());
    }
    Err(format!("an extent of {} bytes cannot begin here", extent.len))
}

#[cfg(test)]
mod tests;
