//! The places where an object's bytes lie: in the log, in a segment, or in bulk files.

use std::sync::Arc;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::ids::{BulkId, SegmentId};

use super::key::EntryKey;

/// Most extents of an object: one of 5 TiB, whose pieces came through the log between those of others, has
/// 5.6 million.
pub const EXTENTS_MAX: usize = 6_000_000;

/// Payload in a bulk file: `len` payload bytes in frames from `position` on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Extent {
    /// The file.
    pub file: BulkId,
    /// The position of the first frame, in bytes.
    pub position: u64,
    /// Payload length in bytes.
    pub len: u64,
}

/// Payload in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SegmentLocation {
    /// The file.
    pub segment: SegmentId,
    /// The position of the block, in bytes.
    pub position: u64,
    /// The object's number within the block.
    pub index: u32,
}

impl SegmentLocation {
    /// The place of an entry whose header is in no segment yet.
    pub const NOWHERE: Self = Self { segment: SegmentId::new(0), position: 0, index: 0 };
}

/// The place of an object's bytes. Each variant is one kind of file, so that one match serves reads, cuts and
/// garbage collection.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PayloadLocation {
    /// The object has no bytes.
    Empty,
    /// Inside a record, in the log.
    Log(LoggedPayload),
    /// Inside a segment, where a fold has copied them.
    Segment(SegmentLocation),
    /// In bulk files, in this order.
    Bulk(Arc<[Extent]>),
}

/// The place of inline payload that no segment of its entry has yet.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LoggedPayload {
    /// The place of the record in the log, as long as the log has the record.
    pub at: LogLocation,
    /// The entry of an older memtable from which this one was derived. Once that memtable is flushed, its run has the
    /// payload under this key, and the log may be trimmed. `None` for an entry that is in the memtable of its payload's
    /// record. Only memory has this key: an entry in a file never has its payload in the log.
    pub sealed_as: Option<Arc<EntryKey>>,
}

impl LoggedPayload {
    /// Makes the place of payload whose record belongs to the entry's own memtable.
    pub const fn new(at: LogLocation) -> Self {
        Self { at, sealed_as: None }
    }
}

/// The place of a record's inline payload in the log. Only the log that gave the place can use it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LogLocation {
    /// The file's number.
    pub file: u64,
    /// The position of the record, in bytes.
    pub position: u64,
    /// The whole record's length in bytes.
    pub len: u32,
}

impl LogLocation {
    /// Appends the place.
    pub fn encode(&self, out: &mut Encoder) {
        out.varint(self.file).varint(self.position).u32(self.len);
    }

    /// Takes a place off. Fails only when the input ends early or a varint is not in its shortest form.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            file: from.varint("log file")?,
            position: from.varint("log position")?,
            len: from.u32("log record length")?,
        })
    }
}

impl Extent {
    /// Payload that this node does not have, because the node had no room when the payload came. The extent names no
    /// file.
    pub fn missing(len: u64) -> Self {
        Self { file: BulkId::ZERO, position: 0, len }
    }

    /// True when the payload is not on this node.
    pub fn is_missing(&self) -> bool {
        self.file == BulkId::ZERO
    }

    /// Appends a list of extents. More than [`EXTENTS_MAX`] make the encoder refuse.
    pub fn encode_all(extents: &[Extent], out: &mut Encoder) {
        out.count(extents.len(), EXTENTS_MAX, "extents");
        for extent in extents {
            out.varint(extent.file.get()).varint(extent.position).varint(extent.len);
        }
    }

    /// Takes a list of extents off. Fails for more than [`EXTENTS_MAX`], before it reserves memory for them.
    pub fn decode_all(from: &mut Decoder) -> Result<Arc<[Extent]>, DecodeError> {
        let count = from.count(EXTENTS_MAX, "extents")?;
        (0..count)
            .map(|_| {
                Ok(Extent {
                    file: BulkId::new(from.varint("extent file")?),
                    position: from.varint("extent position")?,
                    len: from.varint("extent length")?,
                })
            })
            .collect()
    }
}

impl PayloadLocation {
    /// Appends the place.
    pub fn encode(&self, out: &mut Encoder) {
        match self {
            PayloadLocation::Empty => {
                out.u8(0);
            }
            PayloadLocation::Log(logged) => {
                out.u8(1);
                logged.at.encode(out);
            }
            PayloadLocation::Segment(at) => {
                out.u8(2).varint(at.segment.get()).varint(at.position).varint(at.index.into());
            }
            PayloadLocation::Bulk(extents) => {
                out.u8(3);
                Extent::encode_all(extents, out);
            }
        }
    }

    /// Takes a place off. Fails for an unknown kind of place.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("payload kind");
        Ok(match from.u8("payload kind")? {
            0 => PayloadLocation::Empty,
            1 => PayloadLocation::Log(LoggedPayload::new(LogLocation::decode(from)?)),
            2 => PayloadLocation::Segment(SegmentLocation {
                segment: SegmentId::new(from.varint("segment")?),
                position: from.varint("segment position")?,
                index: from.count(u32::MAX as usize, "segment index")? as u32,
            }),
            3 => PayloadLocation::Bulk(Extent::decode_all(from)?),
            _ => return Err(error),
        })
    }
}
