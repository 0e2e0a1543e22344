//! Makes and identifies the values that a history writes. Each value is unique, contains its id, and can be
//! verified to its last byte.
//!
//! A body begins with `id length` and a line feed; the rest is computed from id and length alone. A reader
//! computes the body again and compares all of it. The comparison finds every fault that a checksum in the
//! body would find (a body that is torn, mixed from two, cut short or padded), and needs no list of the
//! values written. ETags follow from bodies: MD5, or MD5 over the parts' MD5s.

use bytes::Bytes;
use md5::{Digest, Md5};

use super::line::WrittenValue;
use crate::object::{CompareDepth, ObjectSet, mix};

/// The size of the parts of an upload, except the last, in bytes: the least that S3 allows.
pub const PART_BYTES: usize = 5 << 20;

/// A value with its body.
pub struct HistoryValue {
    id: String,
    /// The bytes that are stored.
    pub body: Bytes,
}

impl HistoryValue {
    /// Makes a value of `bytes` bytes, or of the length of its first line if that is longer.
    ///
    /// `id` must be unique in the history and must not contain a space or a line feed, since [`identify`]
    /// reads it back.
    pub fn new(id: String, bytes: usize) -> Self {
        // A larger length has more digits, which can make the first line longer again.
        let bytes = (bytes..).find(|bytes| head(&id, *bytes).len() <= *bytes).unwrap_or(bytes);
        let mut body = head(&id, bytes).into_bytes();
        body.extend_from_slice(&filling(bytes - body.len()).body(seed(&id, bytes)));
        Self { id, body: body.into() }
    }

    /// Returns the value's id, length and ETag for a write in one piece. The ETag must not be used for an
    /// upload in parts.
    pub fn written(&self) -> WrittenValue {
        self.named(hex::encode(Md5::digest(&self.body)))
    }

    /// Returns the value's id, length and ETag for an upload in [`Self::parts`]. The ETag must not be used
    /// for a write in one piece.
    pub fn written_in_parts(&self) -> WrittenValue {
        let mut whole = Md5::new();
        self.parts().iter().for_each(|part| whole.update(Md5::digest(part)));
        self.named(format!("{}-{}", hex::encode(whole.finalize()), self.parts().len()))
    }

    fn named(&self, etag: String) -> WrittenValue {
        WrittenValue { value: self.id.clone(), etag, bytes: self.body.len() as u64 }
    }

    /// Returns the parts of an upload, in order: each of 5 MiB, only the last one may be shorter.
    pub fn parts(&self) -> Vec<Bytes> {
        let begins = (0..self.body.len()).step_by(PART_BYTES);
        begins.map(|at| self.body.slice(at..self.body.len().min(at + PART_BYTES))).collect()
    }
}

fn head(id: &str, bytes: usize) -> String {
    format!("{id} {bytes}\n")
}

fn filling(bytes: usize) -> ObjectSet {
    ObjectSet::new("", "", bytes)
}

fn seed(id: &str, bytes: usize) -> u64 {
    id.bytes().fold(bytes as u64, |seed, byte| mix(seed ^ u64::from(byte)))
}

/// Returns the id of the value that a body is, after every byte was compared.
///
/// The error describes the difference: a first line that cannot be parsed, another length, or other bytes.
pub fn identify(body: &[u8]) -> Result<String, String> {
    let line = body.iter().position(|byte| *byte == b'\n');
    let line = line.and_then(|end| std::str::from_utf8(&body[..end]).ok());
    let parsed = line.and_then(|line| {
        let (id, bytes) = line.split_once(' ')?;
        Some((id, bytes.parse::<usize>().ok()?))
    });
    let Some((id, bytes)) = parsed else {
        let begin = String::from_utf8_lossy(&body[..body.len().min(40)]);
        return Err(format!("a body of {} bytes that begins with {begin:?}", body.len()));
    };
    if body.len() != bytes {
        return Err(format!("{} bytes of {id}, which has {bytes}", body.len()));
    }
    let rest = &body[head(id, bytes).len().min(bytes)..];
    match filling(rest.len()).fault(seed(id, bytes), rest, CompareDepth::Whole) {
        None => Ok(id.to_owned()),
        Some(_) => Err(format!("a body that begins as {id} and goes on with other bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_tells_which_value_it_is() {
        for bytes in [0, 10, 14, 15, 200, 4096, 3 << 20] {
            let value = HistoryValue::new("t-12.345".into(), bytes);
            assert!(value.body.len() >= bytes);
            assert_eq!(value.written().bytes, value.body.len() as u64);
            assert_eq!(identify(&value.body), Ok("t-12.345".into()), "{bytes}");
        }
    }

    #[test]
    fn a_body_that_is_torn_mixed_short_or_long_is_no_value() {
        let (one, other) =
            (HistoryValue::new("t-1.1".into(), 400), HistoryValue::new("t-1.2".into(), 400));
        for at in 0..400 {
            let mut flipped = one.body.to_vec();
            flipped[at] ^= 1;
            assert_ne!(identify(&flipped), Ok("t-1.1".into()), "{at}");
            let mixed = [&one.body[..at], &other.body[at..]].concat();
            // The first line may be that of one value and the rest that of the other.
            assert!(identify(&mixed).is_err() || mixed == other.body[..], "{at}");
            assert!(identify(&one.body[..at]).is_err(), "{at}");
        }
        assert!(identify(&[&one.body[..], b"x"].concat()).is_err());
        assert!(identify(b"").is_err());
    }

    #[test]
    fn values_and_their_etags_differ() {
        let etags: std::collections::HashSet<_> =
            (0..1000).map(|n| HistoryValue::new(format!("t-1.{n}"), 16).written().etag).collect();
        assert_eq!(etags.len(), 1000);
    }

    #[test]
    fn the_etag_of_parts_is_that_of_their_digests() {
        let value = HistoryValue::new("t-1.1".into(), PART_BYTES + 9);
        let parts = value.parts();
        assert_eq!(parts.iter().map(Bytes::len).collect::<Vec<_>>(), [PART_BYTES, 9]);
        let digests = [Md5::digest(&parts[0]), Md5::digest(&parts[1])].concat();
        let wanted = format!("{}-2", hex::encode(Md5::digest(digests)));
        assert_eq!(value.written_in_parts().etag, wanted);
    }
}
