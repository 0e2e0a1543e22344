//! Streams of payload in the log that are still incomplete at a cut.

use bytes::Bytes;
use ingest::codec::{DecodeError, Decoder, Encoder};
use ingest::entry::Extent;
use ingest::time::WallTime;

/// The state of an incomplete stream. A start restores it and continues the stream with the next piece.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamState {
    /// The index of the next piece, from 0.
    pub next: u32,
    /// The length of the whole stream in bytes, as its pieces announce it: an upper bound until the last has come.
    pub total: u64,
    /// The length in bytes of the pieces so far.
    pub len: u64,
    /// The CRC-64/NVME of the bytes so far.
    pub digest: u64,
    /// The time of the last piece: that of its record, or that of an earlier record if that is later.
    pub seen: WallTime,
    /// The extents of the bytes so far in this node's bulk files; a missing extent if this node had no room.
    pub extents: Vec<Extent>,
}

impl StreamState {
    /// Encodes the value of a stream's key. The extents are this node's, so values differ between nodes.
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::new();
        out.u32(self.next).u64(self.total).u64(self.len).u64(self.digest);
        out.i64(self.seen.micros());
        Extent::encode_all(&self.extents, &mut out);
        out.finish()
    }

    /// Decodes the value of a stream's key. Fails if bytes are missing or left over, and for more extents than
    /// a stream may have.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let state = Self {
            next: from.u32("index in a stream")?,
            total: from.u64("length of a stream")?,
            len: from.u64("length so far")?,
            digest: from.u64("digest so far")?,
            seen: WallTime::from_micros(from.i64("time")?),
            extents: Extent::decode_all(&mut from)?.to_vec(),
        };
        from.end("end of stream")?;
        Ok(state)
    }
}
