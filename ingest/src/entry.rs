//! What the store knows of one object version, and the order in which everything is sorted.
//!
//! An [`EntryKey`] is the sort key of the tail, of key indexes and of manifests alike: bucket, key,
//! newest version first, and of one version the newest statement first. Being plain bytes that compare
//! as bytes, one comparison serves memory, files and cursors.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::ids::{BucketId, BulkId, Offset, PartNumber, SegmentId};
use crate::log::LogLocation;
use crate::time::WallTime;

/// Sort key of an entry.
///
/// ```text
///   bucket id      8 bytes, big-endian
///   object key     escaped: 00 becomes 00 FF, and 00 00 ends it
///   version        8 bytes, big-endian, inverted: newest first
///   sequence       8 bytes, big-endian, inverted: newest statement about the version first
/// ```
///
/// The version is the offset of the record that made it; the sequence is the offset of the record that
/// last said something about it (its creation, new tags, its removal).
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
    /// Encodes the four parts.
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

    /// Bytes above every entry whose key begins with `prefix`; `None` when nothing can be above within
    /// the bucket (the prefix is empty or all `FF`): then the bucket's end is, [`Self::seek_after_bucket`].
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

    /// Takes encoded bytes, from a file say, and checks their form.
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

    /// Takes any bytes as a bound to compare entry keys with, a seek target say. The parts of a bound
    /// cannot be asked for.
    pub fn bound(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Its parts.
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

/// The parts of an encoded entry key, looked at in place.
#[derive(Clone, Copy)]
pub struct EntryParts<'a>(&'a [u8]);

/// Looks at encoded bytes as an entry key's; `None` for what is too short to be one. Whether a key is escaped
/// as it should be is not looked at: a wrong one gives wrong parts, never a panic.
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

/// An entity tag: the MD5 of a simple object, or the MD5 of the parts' MD5s and how many they were.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ETag {
    /// The digest.
    pub md5: [u8; 16],
    /// The number of parts; 0 for an object that was put in one piece.
    pub parts: u16,
}

/// A checksum of S3's, verified on the way in and given back on request.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct StoredChecksum {
    /// Which algorithm: 1 CRC32, 2 CRC32C, 3 CRC64NVME, 4 SHA-1, 5 SHA-256.
    pub algorithm: u8,
    /// Whether it is a checksum over the parts' checksums.
    pub is_composite: bool,
    /// The digest's bytes, most significant first.
    pub digest: Bytes,
}

/// One part of a completed multipart upload, as GetObjectAttributes and `partNumber` show it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PartSummary {
    /// Its number.
    pub number: PartNumber,
    /// Its length in bytes.
    pub size: u64,
    /// Its checksum, when one was given.
    pub checksum: Option<StoredChecksum>,
}

/// Everything a client may learn of an object version besides its bytes and its time.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Attributes {
    /// Length in bytes.
    pub size: u64,
    /// Entity tag.
    pub etag: ETag,
    /// The user who wrote it: canonical id, 64 hex digits.
    pub owner: String,
    /// Standard headers stored with it, lower-case names (`content-type`, `cache-control`, ...).
    pub headers: Vec<(String, String)>,
    /// User metadata, names without the `x-amz-meta-` prefix, lower case.
    pub metadata: Vec<(String, String)>,
    /// Tags, in the order given.
    pub tags: Vec<(String, String)>,
    /// Checksums.
    pub checksums: Vec<StoredChecksum>,
    /// Parts, for an object made by a multipart upload.
    pub parts: Vec<PartSummary>,
}

/// Payload in a bulk file: `len` payload bytes in frames from `position` on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Extent {
    /// The file.
    pub file: BulkId,
    /// Where the first frame begins, in bytes.
    pub position: u64,
    /// Payload length in bytes.
    pub len: u64,
}

/// Payload in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SegmentLocation {
    /// The file.
    pub segment: SegmentId,
    /// Where the block begins, in bytes.
    pub position: u64,
    /// The object's number within the block.
    pub index: u32,
}

impl SegmentLocation {
    /// Stands for the place of what is in no segment yet.
    pub const NOWHERE: Self = Self { segment: SegmentId::new(0), position: 0, index: 0 };
}

/// Where an object's bytes are. The variants say which file holds them, so that one match serves reads,
/// cuts and collection.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PayloadLocation {
    /// There are none.
    Empty,
    /// Inside the record, in the log.
    Log(LogLocation),
    /// Inside a segment, where a fold has copied them.
    Segment(SegmentLocation),
    /// In bulk files, in this order.
    Bulk(Arc<[Extent]>),
}

/// One object version that exists.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ObjectVersion {
    /// Whether clients know it as version `null`.
    pub is_null: bool,
    /// When it was made, by the log.
    pub created: WallTime,
    /// CRC-64/NVME of the payload: the digest that the record names.
    pub digest: u64,
    /// What clients may learn of it.
    pub attributes: Arc<Attributes>,
    /// Where its bytes are.
    pub payload: PayloadLocation,
}

/// What one entry states.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum EntryValue {
    /// The version exists, so.
    Object(ObjectVersion),
    /// The version is a delete marker.
    Marker {
        /// Whether clients know it as version `null`.
        is_null: bool,
        /// When it was made, by the log.
        created: WallTime,
        /// Who made it: canonical id.
        owner: String,
    },
    /// The version is no more.
    Tombstone,
    /// Every `null` version that is older is no more.
    NullTombstone,
}

/// A statement with its sort key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Bucket, key, version, sequence.
    pub key: EntryKey,
    /// What it states.
    pub statement: EntryValue,
}

/// Longest name or value among an object's headers, metadata and tags, in bytes.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// Most headers, metadata or tags of an object, of each.
pub const PAIRS_MAX: usize = 4096;
/// AWS's limit of parts in an upload.
pub const PARTS_MAX: usize = 10_000;
/// Most extents of an object: one of 5 TiB, whose pieces came through the log between those of others, has
/// 5.6 million.
pub const EXTENTS_MAX: usize = 6_000_000;
/// Longest canonical id of a user, in bytes.
pub const OWNER_BYTES_MAX: usize = 256;
/// Most checksums of an object.
pub const CHECKSUMS_MAX: usize = 16;
/// Longest checksum, in bytes.
pub const CHECKSUM_BYTES_MAX: usize = 64;

fn put_pairs(out: &mut Encoder, pairs: &[(String, String)], what: &'static str) {
    out.count(pairs.len(), PAIRS_MAX, what);
    for (name, value) in pairs {
        out.bounded(name.as_bytes(), TEXT_BYTES_MAX, what);
        out.bounded(value.as_bytes(), TEXT_BYTES_MAX, what);
    }
}

fn get_pairs(from: &mut Decoder, what: &'static str) -> Result<Vec<(String, String)>, DecodeError> {
    let count = from.count(PAIRS_MAX, what)?;
    (0..count)
        .map(|_| Ok((from.text(TEXT_BYTES_MAX, what)?, from.text(TEXT_BYTES_MAX, what)?)))
        .collect()
}

/// S3's names of checksum algorithms, each with the bytes of its digest; numbered from 1.
const ALGORITHMS: [(&str, usize); 5] =
    [("CRC32", 4), ("CRC32C", 4), ("CRC64NVME", 8), ("SHA1", 20), ("SHA256", 32)];

impl StoredChecksum {
    fn words(&self) -> Option<(&'static str, usize)> {
        ALGORITHMS.get(usize::from(self.algorithm).checked_sub(1)?).copied()
    }

    /// The algorithm as S3 calls it; `None` for a number that is none.
    pub fn name(&self) -> Option<&'static str> {
        self.words().map(|(name, _)| name)
    }

    /// What it is a checksum of, as S3 calls it.
    pub fn kind(&self) -> &'static str {
        if self.is_composite { "COMPOSITE" } else { "FULL_OBJECT" }
    }

    /// As clients see it: base64, with the number of parts where it is one over parts.
    pub fn text(&self) -> String {
        let len = self.words().map_or(self.digest.len(), |(_, len)| len);
        // A composite checksum carries the number of parts behind the digest.
        match self.digest.get(len..).and_then(|rest| rest.first_chunk()) {
            Some(count) if self.is_composite => {
                let count = u16::from_le_bytes(*count);
                format!("{}-{count}", BASE64_STANDARD.encode(&self.digest[..len]))
            }
            _ => BASE64_STANDARD.encode(&self.digest),
        }
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Encoder) {
        out.u8(self.algorithm).u8(u8::from(self.is_composite));
        out.bounded(&self.digest, CHECKSUM_BYTES_MAX, "checksum digest");
    }

    /// Takes it off.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let algorithm = from.u8("checksum algorithm")?;
        let is_composite = get_bool(from, "checksum type")?;
        Ok(Self {
            algorithm,
            is_composite,
            digest: from.bytes(CHECKSUM_BYTES_MAX, "checksum digest")?,
        })
    }
}

/// Takes a byte that must be 0 or 1.
pub(crate) fn get_bool(from: &mut Decoder, what: &'static str) -> Result<bool, DecodeError> {
    let error = from.error(what);
    match from.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(error),
    }
}

impl ETag {
    /// Appends it.
    pub fn encode(&self, out: &mut Encoder) {
        out.raw(&self.md5).u16(self.parts);
    }

    /// Takes it off.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self { md5: from.array("etag")?, parts: from.u16("etag parts")? })
    }
}

impl Attributes {
    /// Appends them.
    pub fn encode(&self, out: &mut Encoder) {
        out.varint(self.size);
        self.etag.encode(out);
        out.bounded(self.owner.as_bytes(), OWNER_BYTES_MAX, "owner");
        put_pairs(out, &self.headers, "headers");
        put_pairs(out, &self.metadata, "metadata");
        put_pairs(out, &self.tags, "tags");
        out.count(self.checksums.len(), CHECKSUMS_MAX, "checksums");
        for checksum in &self.checksums {
            checksum.encode(out);
        }
        out.count(self.parts.len(), PARTS_MAX, "parts");
        for part in &self.parts {
            out.u16(part.number.get()).varint(part.size).u8(u8::from(part.checksum.is_some()));
            if let Some(checksum) = &part.checksum {
                checksum.encode(out);
            }
        }
    }

    /// Takes them off.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let size = from.varint("size")?;
        let etag = ETag::decode(from)?;
        let owner = from.text(OWNER_BYTES_MAX, "owner")?;
        let headers = get_pairs(from, "headers")?;
        let metadata = get_pairs(from, "metadata")?;
        let tags = get_pairs(from, "tags")?;
        let count = from.count(CHECKSUMS_MAX, "checksums")?;
        let checksums =
            (0..count).map(|_| StoredChecksum::decode(from)).collect::<Result<_, _>>()?;
        let count = from.count(PARTS_MAX, "parts")?;
        let part = |from: &mut Decoder| {
            let number = PartNumber::new(from.u16("part number")?);
            let size = from.varint("part size")?;
            let has_checksum = get_bool(from, "part checksum")?;
            let checksum = if has_checksum { Some(StoredChecksum::decode(from)?) } else { None };
            Ok(PartSummary { number, size, checksum })
        };
        let parts = (0..count).map(|_| part(from)).collect::<Result<_, _>>()?;
        Ok(Self { size, etag, owner, headers, metadata, tags, checksums, parts })
    }
}

impl Extent {
    /// Payload that a node has not got, because it had no room when it came: of no file.
    pub fn missing(len: u64) -> Self {
        Self { file: BulkId::ZERO, position: 0, len }
    }

    /// Tells that the payload is not on this node.
    pub fn is_missing(&self) -> bool {
        self.file == BulkId::ZERO
    }

    /// Appends a list of them.
    pub fn encode_all(extents: &[Extent], out: &mut Encoder) {
        out.count(extents.len(), EXTENTS_MAX, "extents");
        for extent in extents {
            out.varint(extent.file.get()).varint(extent.position).varint(extent.len);
        }
    }

    /// Takes a list of them off.
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
    /// Appends it.
    pub fn encode(&self, out: &mut Encoder) {
        match self {
            PayloadLocation::Empty => {
                out.u8(0);
            }
            PayloadLocation::Log(at) => {
                out.u8(1);
                at.encode(out);
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

    /// Takes it off.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("payload kind");
        Ok(match from.u8("payload kind")? {
            0 => PayloadLocation::Empty,
            1 => PayloadLocation::Log(LogLocation::decode(from)?),
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

impl EntryValue {
    /// Whether it states that a version `null` exists, or that older ones do not.
    pub fn is_null(&self) -> bool {
        match self {
            EntryValue::Object(object) => object.is_null,
            EntryValue::Marker { is_null, .. } => *is_null,
            EntryValue::Tombstone => false,
            EntryValue::NullTombstone => true,
        }
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Encoder) {
        match self {
            EntryValue::Object(object) => {
                out.u8(1).u8(u8::from(object.is_null)).i64(object.created.micros());
                out.u64(object.digest);
                object.attributes.encode(out);
                object.payload.encode(out);
            }
            EntryValue::Marker { is_null, created, owner } => {
                out.u8(2).u8(u8::from(*is_null)).i64(created.micros());
                out.bounded(owner.as_bytes(), OWNER_BYTES_MAX, "owner");
            }
            EntryValue::Tombstone => {
                out.u8(3);
            }
            EntryValue::NullTombstone => {
                out.u8(4);
            }
        }
    }

    /// Takes it off.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("statement kind");
        Ok(match from.u8("statement kind")? {
            1 => EntryValue::Object(ObjectVersion {
                is_null: get_bool(from, "null version")?,
                created: WallTime::from_micros(from.i64("time")?),
                digest: from.u64("digest")?,
                attributes: Arc::new(Attributes::decode(from)?),
                payload: PayloadLocation::decode(from)?,
            }),
            2 => EntryValue::Marker {
                is_null: get_bool(from, "null version")?,
                created: WallTime::from_micros(from.i64("time")?),
                owner: from.text(OWNER_BYTES_MAX, "owner")?,
            },
            3 => EntryValue::Tombstone,
            4 => EntryValue::NullTombstone,
            _ => return Err(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(bucket: u64, key: &[u8], version: u64, sequence: u64) -> EntryKey {
        EntryKey::new(BucketId::new(bucket), key, Offset::new(version), Offset::new(sequence))
    }

    fn small_key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0x61), Just(0xff)], 0..5)
    }

    #[test]
    fn checksums_are_told_as_clients_see_them() {
        let checksum = |algorithm, is_composite, digest: &[u8]| StoredChecksum {
            algorithm,
            is_composite,
            digest: Bytes::copy_from_slice(digest),
        };
        for (told, name, kind, text) in [
            (checksum(1, false, b"1234"), Some("CRC32"), "FULL_OBJECT", "MTIzNA=="),
            (checksum(2, true, b"1234\x03\0"), Some("CRC32C"), "COMPOSITE", "MTIzNA==-3"),
            (checksum(9, false, b"12"), None, "FULL_OBJECT", "MTI="),
            (checksum(0, false, b""), None, "FULL_OBJECT", ""),
        ] {
            assert_eq!((told.name(), told.kind(), told.text().as_str()), (name, kind, text));
        }
    }

    proptest! {
        #[test]
        fn the_encoding_keeps_the_order(
            a in (0u64..3, small_key(), 0u64..3, 0u64..3),
            b in (0u64..3, small_key(), 0u64..3, 0u64..3),
        ) {
            use std::cmp::Reverse;
            let encoded = key(a.0, &a.1, a.2, a.3).cmp(&key(b.0, &b.1, b.2, b.3));
            let plain = (a.0, &a.1, Reverse(a.2), Reverse(a.3))
                .cmp(&(b.0, &b.1, Reverse(b.2), Reverse(b.3)));
            prop_assert_eq!(encoded, plain);
        }

        #[test]
        fn the_parts_come_back(bucket: u64, name in small_key(), version: u64, sequence: u64) {
            let encoded = key(bucket, &name, version, sequence);
            let again = EntryKey::from_bytes(encoded.as_bytes().clone()).unwrap();
            prop_assert_eq!(again.bucket().get(), bucket);
            prop_assert_eq!(again.object_key(), name);
            prop_assert_eq!(again.version().get(), version);
            prop_assert_eq!(again.sequence().get(), sequence);
        }

        #[test]
        fn seeks_fall_where_they_say(name in small_key(), other in small_key(), prefix in small_key()) {
            let bucket = BucketId::new(7);
            let entry = key(7, &other, 3, 3);
            let entry: &[u8] = entry.as_bytes();
            prop_assert_eq!(EntryKey::seek_key(bucket, &name) <= entry, name <= other);
            prop_assert_eq!(EntryKey::seek_after_key(bucket, &name) <= entry, name < other);
            if let Some(after) = EntryKey::seek_after_prefix(bucket, &prefix) {
                let is_after = other > prefix && !other.starts_with(&prefix);
                prop_assert_eq!(after <= entry, is_after);
            }
            prop_assert!(EntryKey::seek_bucket(bucket) <= entry);
            prop_assert!(EntryKey::seek_after_bucket(bucket) > entry);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            let _ = EntryKey::from_bytes(bytes.clone());
            let _ = EntryValue::decode(&mut Decoder::new(bytes));
        }
    }
}
