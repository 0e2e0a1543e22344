//! A tagged tail: fields that were added to an encoding after its version was fixed.
//!
//! An encoding that ends with a tail can get a new field without a new version. Code that does not know a tag keeps
//! the field and writes it back, so nodes of two versions keep the same bytes and compute the same digests. A field
//! that changes outcomes is not for a tail: it needs a new version, or a format gate.

use bytes::Bytes;

use crate::codec::{DecodeError, Decoder, Encoder};

/// The most fields of a tail.
pub const TAIL_FIELDS_MAX: usize = 64;
/// The most bytes of one field of a tail.
pub const TAIL_FIELD_BYTES_MAX: usize = 16 << 10;
/// Above the encoded bytes of a field's tag and length.
const FIELD_HEAD_BYTES: usize = 8;

/// Fields by tag, in ascending order of their tags, each at most once. Equal tails have equal encodings.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct TaggedTail {
    fields: Vec<(u16, Bytes)>,
}

impl TaggedTail {
    /// Appends the tail; an empty one is a single byte. Fields beyond the limits make the encoder refuse.
    pub fn encode(&self, out: &mut Encoder) {
        out.count(self.fields.len(), TAIL_FIELDS_MAX, "fields of a tail");
        for (tag, field) in &self.fields {
            out.varint((*tag).into()).bounded(field, TAIL_FIELD_BYTES_MAX, "field of a tail");
        }
    }

    /// Takes a tail off; fields share the input's memory. Fails beyond the limits, and unless tags ascend.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let count = from.count(TAIL_FIELDS_MAX, "fields of a tail")?;
        let mut fields: Vec<(u16, Bytes)> = Vec::with_capacity(count);
        for _ in 0..count {
            let error = from.error("tag of a tail");
            let tag = u16::try_from(from.varint("tag of a tail")?).map_err(|_| error.clone())?;
            if fields.last().is_some_and(|(last, _)| *last >= tag) {
                return Err(error);
            }
            fields.push((tag, from.bytes(TAIL_FIELD_BYTES_MAX, "field of a tail")?));
        }
        Ok(Self { fields })
    }

    /// The field with a tag, if there is one.
    pub fn get(&self, tag: u16) -> Option<&Bytes> {
        let place = self.fields.binary_search_by_key(&tag, |(tag, _)| *tag).ok()?;
        Some(&self.fields[place].1)
    }

    /// Sets the field with a tag, and replaces an earlier one. The order of tags stays ascending.
    pub fn set(&mut self, tag: u16, field: Bytes) {
        match self.fields.binary_search_by_key(&tag, |(tag, _)| *tag) {
            Ok(place) => self.fields[place].1 = field,
            Err(place) => self.fields.insert(place, (tag, field)),
        }
    }

    /// A bound on the encoded bytes.
    pub fn bytes_estimate(&self) -> usize {
        let field = |(_, field): &(u16, Bytes)| field.len() + FIELD_HEAD_BYTES;
        self.fields.iter().map(field).sum::<usize>() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(fields: &[(u64, &[u8])]) -> Bytes {
        let mut out = Encoder::new();
        out.varint(fields.len() as u64);
        for (tag, field) in fields {
            out.varint(*tag).bytes(field);
        }
        out.finish()
    }

    fn decode(bytes: &Bytes) -> Result<TaggedTail, DecodeError> {
        let mut from = Decoder::new(bytes.clone());
        let tail = TaggedTail::decode(&mut from)?;
        from.end("end of tail")?;
        Ok(tail)
    }

    #[test]
    fn fields_that_nobody_knows_are_written_back() {
        let long = vec![7; TAIL_FIELD_BYTES_MAX];
        let kept: [&[(u64, &[u8])]; 3] =
            [&[], &[(0, b"")], &[(1, b"a"), (2, b""), (65_535, long.as_slice())]];
        for fields in kept {
            let bytes = encoded(fields);
            let tail = decode(&bytes).unwrap();
            let mut out = Encoder::new();
            tail.encode(&mut out);
            assert_eq!(out.finish(), bytes);
            assert!(bytes.len() <= tail.bytes_estimate());
        }
    }

    #[test]
    fn a_field_that_is_set_is_found_among_the_others() {
        let mut tail = decode(&encoded(&[(2, b"b"), (5, b"e")])).unwrap();
        for (tag, field) in [(3, b"c"), (1, b"a"), (9, b"i"), (2, b"B")] {
            tail.set(tag, Bytes::from_static(field));
        }
        let mut out = Encoder::new();
        tail.encode(&mut out);
        let wanted = [(1, &b"a"[..]), (2, b"B"), (3, b"c"), (5, b"e"), (9, b"i")];
        assert_eq!(out.finish(), encoded(&wanted));
        assert_eq!(tail.get(3), Some(&Bytes::from_static(b"c")));
        assert_eq!(tail.get(4), None);
    }

    #[test]
    fn a_tail_in_another_order_or_beyond_a_limit_is_refused() {
        let long = vec![7; TAIL_FIELD_BYTES_MAX + 1];
        let many: Vec<(u64, &[u8])> =
            (0..=TAIL_FIELDS_MAX as u64).map(|tag| (tag, &b""[..])).collect();
        assert!(decode(&encoded(&many[..TAIL_FIELDS_MAX])).is_ok());
        let refused: [&[(u64, &[u8])]; 5] = [
            &[(2, b"a"), (1, b"b")],
            &[(1, b"a"), (1, b"a")],
            &[(65_536, b"")],
            &[(1, long.as_slice())],
            &many,
        ];
        for fields in refused {
            assert!(decode(&encoded(fields)).is_err(), "{} fields", fields.len());
        }
    }
}
