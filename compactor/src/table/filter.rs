//! The filter of a table: the answer is either that a key is certainly absent, or that it may be present.
//!
//! A binary fuse filter with 8-bit fingerprints: about 9 bits for each key and 0.4 % false positives (Graf,
//! Lemire 2022). The filter is built from sorted, distinct hashes, so the same keys give the same bytes.
//! There are no false negatives: a damaged filter is corruption, which is detected when the table is
//! opened.

use bytes::Bytes;
use ingest::codec::{DecodeError, Decoder, Encoder};
use xorf::{BinaryFuse8, Filter as _};

/// The filter of one table.
pub enum KeyFilter {
    /// No filter: every key may be present.
    Absent,
    /// A filter over the hashes of all keys.
    Fuse(BinaryFuse8),
}

impl KeyFilter {
    /// Builds a filter from hashes in any order. The result is [`KeyFilter::Absent`] for an empty set, and
    /// when the construction fails after many seeds, with a probability below 1e-18.
    pub fn build(mut hashes: Vec<u64>) -> Self {
        hashes.sort_unstable();
        hashes.dedup();
        if hashes.is_empty() {
            return KeyFilter::Absent;
        }
        BinaryFuse8::try_from(&hashes).map_or(KeyFilter::Absent, KeyFilter::Fuse)
    }

    /// Returns true if an entry with the hash may be present; false is certain.
    pub fn may_contain(&self, hash: u64) -> bool {
        match self {
            KeyFilter::Absent => true,
            KeyFilter::Fuse(fuse) => fuse.contains(&hash),
        }
    }

    /// Returns the filter's memory in bytes.
    pub fn memory_bytes(&self) -> usize {
        match self {
            KeyFilter::Absent => 0,
            KeyFilter::Fuse(fuse) => fuse.fingerprints.len(),
        }
    }

    /// Encodes the filter. The order in which hashes were passed to [`KeyFilter::build`] does not matter.
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::new();
        match self {
            KeyFilter::Absent => {
                out.u8(0);
            }
            KeyFilter::Fuse(fuse) => {
                let d = &fuse.descriptor;
                out.u8(1).u64(d.seed).u32(d.segment_length).u32(d.segment_length_mask);
                out.u32(d.segment_count_length);
                out.bytes(&fuse.fingerprints);
            }
        }
        out.finish()
    }

    /// Decodes a filter whose checksum has been verified. Fails on a descriptor with which a look-up could
    /// leave the fingerprints.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let limit = bytes.len();
        let mut from = Decoder::new(bytes);
        let error = from.error("filter");
        let filter = match from.u8("filter")? {
            0 => KeyFilter::Absent,
            1 => {
                let descriptor = xorf::Descriptor {
                    seed: from.u64("filter seed")?,
                    segment_length: from.u32("filter segment")?,
                    segment_length_mask: from.u32("filter mask")?,
                    segment_count_length: from.u32("filter count")?,
                };
                let fingerprints = from.bytes(limit, "fingerprints")?.to_vec().into_boxed_slice();
                // `contains` indexes below `segment_count_length + 2` segments, provided that the count is
                // a multiple of the segment length: a look-up reaches into the third segment from the one
                // in which it begins.
                let reach = u64::from(descriptor.segment_count_length)
                    + 2 * u64::from(descriptor.segment_length);
                if !descriptor.segment_length.is_power_of_two()
                    || descriptor.segment_length_mask != descriptor.segment_length - 1
                    || descriptor.segment_count_length == 0
                    || !descriptor.segment_count_length.is_multiple_of(descriptor.segment_length)
                    || (fingerprints.len() as u64) < reach
                {
                    return Err(error);
                }
                KeyFilter::Fuse(BinaryFuse8 { descriptor, fingerprints })
            }
            _ => return Err(error),
        };
        from.end("end of filter")?;
        Ok(filter)
    }
}
