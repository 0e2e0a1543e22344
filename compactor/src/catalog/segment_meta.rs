//! A segment's entry in the catalog.

use ingest::codec::{DecodeError, Decoder, Encoder};
use ingest::ids::SegmentId;
use ingest::place::Place;

use crate::sealed::FileDigest;

/// A segment and the count of its references.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentMeta {
    /// The segment's id, from which, with the place, its path follows.
    pub id: SegmentId,
    /// The place in which the segment's file lies.
    pub place: Place,
    /// The length and BLAKE3 of the segment's file.
    pub file: FileDigest,
    /// The number of references from the runs' entries. At 0 garbage collection drops the segment.
    pub references: u64,
    /// The number of entries that were written to the segment.
    pub objects: u64,
}

impl SegmentMeta {
    /// Appends the entry to an encoder, 65 bytes in all.
    pub fn encode(&self, out: &mut Encoder) {
        out.u64(self.id.get()).u8(self.place as u8).u64(self.references).u64(self.objects);
        self.file.encode(out);
    }

    /// Decodes an entry, in the order of [`SegmentMeta::encode`]. Fails if fewer than 65 bytes are left, and for
    /// an unknown place.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let id = SegmentId::new(from.u64("segment")?);
        let unknown = from.error("place of a segment");
        let place = Place::from_code(from.u8("place of a segment")?).ok_or(unknown)?;
        Ok(Self {
            id,
            place,
            references: from.u64("references")?,
            objects: from.u64("objects")?,
            file: FileDigest::decode(from)?,
        })
    }
}
