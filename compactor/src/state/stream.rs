//! Payload that is on its way through the log, as a cut keeps it.

use bytes::Bytes;
use ingest::codec::{DecodeError, Decoder, Encoder};
use ingest::entry::Extent;
use ingest::time::WallTime;

/// What a cut keeps of a stream that is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamState {
    /// The index that comes next.
    pub next: u32,
    /// Bytes of the whole stream.
    pub total: u64,
    /// Bytes that have come.
    pub len: u64,
    /// CRC-64/NVME of these.
    pub digest: u64,
    /// When the last piece came, by the log.
    pub seen: WallTime,
    /// Where they lie on this node.
    pub extents: Vec<Extent>,
}

impl StreamState {
    /// Encodes the value.
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::new();
        out.u32(self.next).u64(self.total).u64(self.len).u64(self.digest);
        out.i64(self.seen.micros());
        Extent::encode_all(&self.extents, &mut out);
        out.finish()
    }

    /// Decodes the value.
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
