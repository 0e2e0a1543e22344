//! The bytes of bulk files: file header, frames, and how payload lengths map to them.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::words::{BulkId, PartitionId, StoreId};

/// Distance from frame to frame.
pub const FRAME_BYTES: u64 = 64 << 10;
pub const HEAD_BYTES: usize = 32;
/// Payload bytes of a whole frame.
pub const PAYLOAD_BYTES: u64 = FRAME_BYTES - HEAD_BYTES as u64;
/// Extents begin at multiples of this.
const ALIGN: u64 = 4096;
pub const FILE_HEAD_BYTES: usize = 4096;
const MAGIC: u32 = u32::from_le_bytes(*b"SBF1");
const FILE_MAGIC: &[u8; 8] = b"SILTBLK1";

/// Which file it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileHead {
    pub store: StoreId,
    pub partition: PartitionId,
    pub id: BulkId,
}

impl FileHead {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(FILE_HEAD_BYTES);
        out.put_slice(FILE_MAGIC);
        out.put_slice(&self.store.0);
        out.put_u32_le(self.partition.get());
        out.put_u64_le(self.id.get());
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out.resize(FILE_HEAD_BYTES, 0);
        out.freeze()
    }
}

/// Bytes that an extent of so much payload takes.
pub fn extent_bytes(payload: u64) -> u64 {
    let whole = payload / PAYLOAD_BYTES;
    let rest = payload % PAYLOAD_BYTES;
    let last = if rest > 0 { (rest + HEAD_BYTES as u64).next_multiple_of(ALIGN) } else { 0 };
    whole * FRAME_BYTES + last
}

/// The most payload that an extent within so many bytes holds.
pub fn payload_within(bytes: u64) -> u64 {
    let rest = (bytes % FRAME_BYTES) / ALIGN * ALIGN;
    bytes / FRAME_BYTES * PAYLOAD_BYTES + rest.saturating_sub(HEAD_BYTES as u64)
}

/// Lays a frame out at a position; padded to 4 KiB.
pub fn encode(head: &FileHead, position: u64, payload: &[u8], out: &mut BytesMut) {
    let start = out.len();
    out.put_u32_le(MAGIC);
    out.put_u64_le(head.id.get());
    out.put_u64_le(position);
    out.put_u32_le(payload.len() as u32);
    out.put_u32_le(0);
    let crc = sum(head, &out[start..], payload);
    out.put_u32_le(crc);
    out.put_slice(payload);
    let end = out.len().next_multiple_of(ALIGN as usize);
    out.resize(end, 0);
}

fn sum(head: &FileHead, frame: &[u8], payload: &[u8]) -> u32 {
    let salt = crc32c::crc32c_append(head.partition.get(), &head.store.0);
    crc32c::crc32c_append(crc32c::crc32c_append(salt, frame), payload)
}

/// Takes a frame apart: its payload, or what does not fit.
pub fn decode(
    head: &FileHead,
    position: u64,
    payload_len: usize,
    frame: &Bytes,
) -> Result<Bytes, String> {
    let mut from = frame.get(..HEAD_BYTES).ok_or("the frame is cut short")?;
    let magic = from.get_u32_le();
    let id = BulkId::new(from.get_u64_le());
    let at = from.get_u64_le();
    let len = from.get_u32_le() as usize;
    let zero = from.get_u32_le();
    let crc = from.get_u32_le();
    if magic != MAGIC || id != head.id || at != position || len != payload_len || zero != 0 {
        return Err("the frame's head does not belong here".into());
    }
    if frame.len() < HEAD_BYTES + len {
        return Err("the frame is cut short".into());
    }
    let payload = frame.slice(HEAD_BYTES..HEAD_BYTES + len);
    let computed = sum(head, &frame[..HEAD_BYTES - 4], &payload);
    if crc != computed {
        return Err(format!("frame checksum {crc:08x}, computed {computed:08x}"));
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_within_so_many_bytes_takes_no_more() {
        for bytes in (0..4 * FRAME_BYTES).step_by(1000) {
            let payload = payload_within(bytes);
            assert!(extent_bytes(payload) <= bytes, "{bytes}: {payload}");
        }
        assert_eq!(extent_bytes(0), 0);
        assert_eq!(extent_bytes(1), 4096);
        assert_eq!(extent_bytes(PAYLOAD_BYTES), FRAME_BYTES);
        assert_eq!(extent_bytes(PAYLOAD_BYTES + 1), FRAME_BYTES + 4096);
    }
}
