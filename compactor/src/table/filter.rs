//! A table's filter: says for sure that a key is absent, or that it may be there.
//!
//! A binary fuse filter with 8-bit fingerprints: about 9 bits a key and 0.4 % false positives (Graf,
//! Lemire 2022). Built from sorted, distinct hashes it is the same for the same keys. Never a false
//! negative: a damaged filter is corruption, found when the table is opened.

use bytes::Bytes;
use ingest::codec::{DecodeError, Decoder, Encoder};
use xorf::{BinaryFuse8, Filter as _};

/// See the module's description.
pub enum KeyFilter {
    /// There is none: everything may be there.
    Absent,
    /// There is one.
    Fuse(BinaryFuse8),
}

impl KeyFilter {
    /// Builds a filter. An empty set has none, and so has one that the construction fails for (it tries
    /// many seeds; the chance is below 1e-18).
    pub fn build(mut hashes: Vec<u64>) -> Self {
        hashes.sort_unstable();
        hashes.dedup();
        if hashes.is_empty() {
            return KeyFilter::Absent;
        }
        BinaryFuse8::try_from(&hashes).map_or(KeyFilter::Absent, KeyFilter::Fuse)
    }

    pub fn may_contain(&self, hash: u64) -> bool {
        match self {
            KeyFilter::Absent => true,
            KeyFilter::Fuse(fuse) => fuse.contains(&hash),
        }
    }

    pub fn memory_bytes(&self) -> usize {
        match self {
            KeyFilter::Absent => 0,
            KeyFilter::Fuse(fuse) => fuse.fingerprints.len(),
        }
    }

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
                // `contains` indexes below segment_count_length + 2 segments, as long as the count is of whole
                // segments: it reaches anywhere in the third segment from the one that it begins in.
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
