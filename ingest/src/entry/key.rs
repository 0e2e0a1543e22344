//! The sort key of entries, in memory and in files, and the parts of an encoded key.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::codec::DecodeError;
use crate::ids::{BucketId, Offset};

/// Sort key of an entry.
///
/// ```text
///   bucket id      8 bytes, big-endian
///   object key     escaped: 00 becomes 00 FF, and 00 00 ends it
///   version        8 bytes, big-endian, inverted: newest first
///   sequence       8 bytes, big-endian, inverted: newest statement about the version first
/// ```
///
/// The version is the offset of the record that made it. The sequence is the offset of the record that made this
/// statement about the version: its creation, new tags, or its removal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKey(Bytes);

const TAIL_BYTES: usize = 16;

fn push_escaped(out: &mut Vec<u8>, key: &[u8]) {
    for part in key.split_inclusive(|b| *b == 0) {
        out.extend_from_slice(part);
        if part.last() == Some(&0) {
            out.push(0xff);
        }
    }
}

impl EntryKey {
    /// Encodes the four parts. `key` is any bytes; zero bytes are escaped.
    pub fn new(bucket: BucketId, key: &[u8], version: Offset, sequence: Offset) -> Self {
        let mut out = Self::start(bucket, key);
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(!version.get()).to_be_bytes());
        out.extend_from_slice(&(!sequence.get()).to_be_bytes());
        Self(out.into())
    }

    fn start(bucket: BucketId, key: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + key.len() + 2 + TAIL_BYTES);
        out.extend_from_slice(&bucket.get().to_be_bytes());
        push_escaped(&mut out, key);
        out
    }

    /// Bytes at or below every entry of `key` and of all later keys, above every entry of earlier keys.
    pub fn seek_key(bucket: BucketId, key: &[u8]) -> Bytes {
        Self::start(bucket, key).into()
    }

    /// Bytes above every entry of exactly `key`, at or below every entry of later keys.
    pub fn seek_after_key(bucket: BucketId, key: &[u8]) -> Bytes {
        let mut out = Self::start(bucket, key);
        out.extend_from_slice(&[0, 1]);
        out.into()
    }

    /// Bytes above every entry whose key begins with `prefix`; `None` when no key of the bucket can be
    /// above (the prefix is empty or all `FF`): the caller then takes [`Self::seek_after_bucket`].
    pub fn seek_after_prefix(bucket: BucketId, prefix: &[u8]) -> Option<Bytes> {
        let kept = prefix.iter().rposition(|b| *b != 0xff)?;
        let mut successor = prefix[..=kept].to_vec();
        successor[kept] += 1;
        Some(Self::start(bucket, &successor).into())
    }

    /// Bytes at or below every entry of the bucket.
    pub fn seek_bucket(bucket: BucketId) -> Bytes {
        Self::start(bucket, b"").into()
    }

    /// Bytes above every entry of the bucket.
    pub fn seek_after_bucket(bucket: BucketId) -> Bytes {
        Self::start(bucket.next(), b"").into()
    }

    /// Takes encoded bytes, for example from a file. Fails unless they have the form that [`Self::new`] writes.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        let error = |position| DecodeError { what: "entry key", position };
        let Some(body) = bytes.len().checked_sub(TAIL_BYTES + 2).filter(|body| *body >= 8) else {
            return Err(error(0));
        };
        let mut at = 8;
        while at < body {
            if bytes[at] == 0 {
                at += 1;
                if at >= body || bytes[at] != 0xff {
                    return Err(error(at));
                }
            }
            at += 1;
        }
        if bytes[body..body + 2] != [0, 0] {
            return Err(error(body));
        }
        Ok(Self(bytes))
    }

    /// Takes any bytes as a bound to compare entry keys with, for example a seek target. The methods that return parts
    /// must not be called on a bound.
    pub fn bound(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The parts, without copying.
    pub fn parts(&self) -> EntryParts<'_> {
        EntryParts(&self.0)
    }

    /// The bucket.
    pub fn bucket(&self) -> BucketId {
        self.parts().bucket()
    }

    /// The offset of the record that made the version.
    pub fn version(&self) -> Offset {
        self.parts().version()
    }

    /// The offset of the record that made this statement.
    pub fn sequence(&self) -> Offset {
        self.parts().sequence()
    }

    /// The bucket and the escaped key with its end: equal for entries of one key, and only for those.
    pub fn group(&self) -> &[u8] {
        self.parts().group()
    }

    /// The object key.
    pub fn object_key(&self) -> Bytes {
        let escaped = 8..self.0.len() - TAIL_BYTES - 2;
        match unescaped(&self.0[escaped.clone()]) {
            Cow::Borrowed(_) => self.0.slice(escaped),
            Cow::Owned(key) => key.into(),
        }
    }
}

/// The parts of an encoded entry key, read in place.
#[derive(Clone, Copy)]
pub struct EntryParts<'a>(&'a [u8]);

/// Reads encoded bytes as an entry key; `None` for bytes that are too short to be one. The escapes are not checked:
/// a malformed key gives wrong parts, never a panic.
pub fn entry_parts(bytes: &[u8]) -> Option<EntryParts<'_>> {
    (bytes.len() >= 8 + 2 + TAIL_BYTES).then_some(EntryParts(bytes))
}

impl<'a> EntryParts<'a> {
    /// The bucket.
    pub fn bucket(self) -> BucketId {
        let head = self.0.first_chunk().expect("an entry key has at least 26 bytes");
        BucketId::new(u64::from_be_bytes(*head))
    }

    fn inverted(self, from_end: usize) -> Offset {
        let at = self.0.len() - from_end;
        let bytes = self.0[at..].first_chunk().expect("an entry key has at least 26 bytes");
        Offset::new(!u64::from_be_bytes(*bytes))
    }

    /// The offset of the record that made the version.
    pub fn version(self) -> Offset {
        self.inverted(16)
    }

    /// The offset of the record that made this statement.
    pub fn sequence(self) -> Offset {
        self.inverted(8)
    }

    /// The bucket and the escaped key with its end: equal for entries of one key, and only for those.
    pub fn group(self) -> &'a [u8] {
        &self.0[..self.0.len() - TAIL_BYTES]
    }

    /// The object key.
    pub fn object_key(self) -> Cow<'a, [u8]> {
        unescaped(&self.0[8..self.0.len() - TAIL_BYTES - 2])
    }
}

fn unescaped(escaped: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(0, escaped).is_none() {
        return Cow::Borrowed(escaped);
    }
    let mut key = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(byte) = bytes.next() {
        key.push(*byte);
        if *byte == 0 {
            bytes.next();
        }
    }
    Cow::Owned(key)
}

impl fmt::Debug for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.object_key();
        let key = String::from_utf8_lossy(&key);
        write!(f, "{}/{key:?}@{}.{}", self.bucket(), self.version(), self.sequence())
    }
}
