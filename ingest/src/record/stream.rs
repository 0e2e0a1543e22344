//! Payload that goes through the log: pieces of a stream, and the name of a whole stream.

use bytes::Bytes;

use super::part::RecordPart;
use crate::bulk::FRAME_PAYLOAD_MAX;
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::ids::StreamId;

/// The most payload that a piece of a stream has, in bytes. The payload fills whole frames of a bulk file, so that
/// pieces lie side by side in one extent: 15 frames, 959.5 KiB, below the longest message of a broker.
pub const DATA_BYTES_MAX: usize = 15 * FRAME_PAYLOAD_MAX as usize;

/// One piece of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamPiece {
    /// The stream.
    pub stream: StreamId,
    /// The place of the piece in the stream, from 0.
    pub index: u32,
    /// The length of the whole stream in bytes. In all pieces but the last an upper bound, the same in each.
    pub total: u64,
    /// The piece's payload; [`DATA_BYTES_MAX`] bytes unless the piece is the last.
    pub bytes: Bytes,
}

impl RecordPart for StreamPiece {
    fn encode(&self, out: &mut Encoder) {
        out.raw(&self.stream.0).u32(self.index).u64(self.total);
        out.bounded(&self.bytes, DATA_BYTES_MAX, "payload of a stream");
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            stream: decode_stream(from)?,
            index: from.u32("index in a stream")?,
            total: from.u64("length of a stream")?,
            bytes: from.bytes(DATA_BYTES_MAX, "payload of a stream")?,
        })
    }
}

/// Names a whole stream, as the writer sent it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StreamRef {
    /// The stream.
    pub stream: StreamId,
    /// The number of [`super::RecordBody::Data`] records that the stream has.
    pub records: u32,
}

impl RecordPart for StreamRef {
    fn encode(&self, out: &mut Encoder) {
        out.raw(&self.stream.0).u32(self.records);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self { stream: decode_stream(from)?, records: from.u32("records of a stream")? })
    }
}

/// Takes a stream's id off.
pub fn decode_stream(from: &mut Decoder) -> Result<StreamId, DecodeError> {
    Ok(StreamId(from.array("stream")?))
}
