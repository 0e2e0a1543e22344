//! The facts about an object version that clients may read, besides its bytes and its time.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::ids::PartNumber;
use crate::tail::TaggedTail;

use super::storage_class::StorageClass;

/// Longest name or value among an object's headers, metadata and tags, in bytes.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// Most headers, metadata or tags of an object, of each.
pub const PAIRS_MAX: usize = 4096;
/// AWS's limit of parts in an upload.
pub const PARTS_MAX: usize = 10_000;
/// Longest canonical id of a user, in bytes.
pub const OWNER_BYTES_MAX: usize = 256;
/// Most checksums of an object.
pub const CHECKSUMS_MAX: usize = 16;
/// Longest checksum, in bytes: SHA-512, and the number of parts of a composite one.
pub const CHECKSUM_BYTES_MAX: usize = 66;

/// An entity tag: the MD5 of a simple object, or the MD5 of the parts' MD5s and the number of parts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ETag {
    /// The digest.
    pub md5: [u8; 16],
    /// The number of parts; 0 for an object that was put in one piece.
    pub parts: u16,
}

/// A checksum of S3, verified when the object was written, and returned on request.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct StoredChecksum {
    /// The algorithm: 1 CRC32, 2 CRC32C, 3 CRC64NVME, 4 SHA-1, 5 SHA-256, 6 SHA-512, 7 MD5, 8 XXHASH64, 9 XXHASH3,
    /// 10 XXHASH128.
    pub algorithm: u8,
    /// True for a checksum over the parts' checksums.
    pub is_composite: bool,
    /// The digest's bytes, most significant first.
    pub digest: Bytes,
}

/// One part of a completed multipart upload. GetObjectAttributes and reads by `partNumber` count parts by their
/// place in the object, from 1 on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PartSummary {
    /// The part's number in the upload.
    pub number: PartNumber,
    /// The part's length in bytes.
    pub size: u64,
    /// The part's checksum, when one was given.
    pub checksum: Option<StoredChecksum>,
}

/// The facts about an object version that clients may read, besides its bytes and its time.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Attributes {
    /// Length in bytes.
    pub size: u64,
    /// Entity tag.
    pub etag: ETag,
    /// The canonical id of the user who wrote the version, 64 hex digits.
    pub owner: String,
    /// Headers stored with the version, lower-case names (`content-type`, `cache-control`, ...). A storage class other
    /// than `STANDARD` is one of them.
    pub headers: Vec<(String, String)>,
    /// User metadata, names without the `x-amz-meta-` prefix, lower case.
    pub metadata: Vec<(String, String)>,
    /// Tags, in the order given.
    pub tags: Vec<(String, String)>,
    /// Checksums.
    pub checksums: Vec<StoredChecksum>,
    /// Parts, for an object made by a multipart upload.
    pub parts: Vec<PartSummary>,
    /// Attributes that were added after the version of the encoding was fixed.
    pub tail: TaggedTail,
}

/// The tag of [`WriteOrigin`] in the tail of attributes.
const ORIGIN_TAG: u16 = 1;

/// The operation by which a client wrote an object in one piece. Events name it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum WriteOrigin {
    /// PutObject.
    #[default]
    Put,
    /// A form of a browser.
    Post,
    /// CopyObject.
    Copy,
}

impl Attributes {
    /// The operation that wrote the version; PutObject unless the attributes name another.
    pub fn origin(&self) -> WriteOrigin {
        match self.tail.get(ORIGIN_TAG).map(|field| field.as_ref()) {
            Some([1]) => WriteOrigin::Post,
            Some([2]) => WriteOrigin::Copy,
            _ => WriteOrigin::Put,
        }
    }

    /// Names the operation that writes the version. Takes no space for PutObject, unless another was named before.
    pub fn set_origin(&mut self, origin: WriteOrigin) {
        let number: &[u8] = match origin {
            WriteOrigin::Put if self.origin() == WriteOrigin::Put => return,
            WriteOrigin::Put => &[0],
            WriteOrigin::Post => &[1],
            WriteOrigin::Copy => &[2],
        };
        self.tail.set(ORIGIN_TAG, Bytes::from_static(number));
    }
}

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
const ALGORITHMS: [(&str, usize); 10] = [
    ("CRC32", 4),
    ("CRC32C", 4),
    ("CRC64NVME", 8),
    ("SHA1", 20),
    ("SHA256", 32),
    ("SHA512", 64),
    ("MD5", 16),
    ("XXHASH64", 8),
    ("XXHASH3", 8),
    ("XXHASH128", 16),
];

impl StoredChecksum {
    /// The number of CRC-64/NVME, which every object has: its record names the payload by this digest.
    pub const CRC64_NVME: u8 = 3;

    /// The checksum of an object or part that has no other: the CRC-64/NVME of its payload, in the order of bytes that
    /// clients see.
    pub fn of_digest(digest: u64) -> Self {
        let digest = Bytes::copy_from_slice(&digest.to_be_bytes());
        Self { algorithm: Self::CRC64_NVME, is_composite: false, digest }
    }

    fn algorithm_facts(&self) -> Option<(&'static str, usize)> {
        ALGORITHMS.get(usize::from(self.algorithm).checked_sub(1)?).copied()
    }

    /// The algorithm's name in S3; `None` for a number that names no algorithm.
    pub fn name(&self) -> Option<&'static str> {
        self.algorithm_facts().map(|(name, _)| name)
    }

    /// S3's name for the bytes that the checksum covers.
    pub fn kind(&self) -> &'static str {
        if self.is_composite { "COMPOSITE" } else { "FULL_OBJECT" }
    }

    /// The text that clients see: base64, followed by the number of parts when the checksum is composite.
    pub fn text(&self) -> String {
        let len = self.algorithm_facts().map_or(self.digest.len(), |(_, len)| len);
        // A composite checksum carries the number of parts behind the digest.
        match self.digest.get(len..).and_then(|rest| rest.first_chunk()) {
            Some(count) if self.is_composite => {
                let count = u16::from_le_bytes(*count);
                format!("{}-{count}", BASE64_STANDARD.encode(&self.digest[..len]))
            }
            _ => BASE64_STANDARD.encode(&self.digest),
        }
    }

    /// Appends the checksum. A digest beyond [`CHECKSUM_BYTES_MAX`] makes the encoder refuse.
    pub fn encode(&self, out: &mut Encoder) {
        out.u8(self.algorithm).bool(self.is_composite);
        out.bounded(&self.digest, CHECKSUM_BYTES_MAX, "checksum digest");
    }

    /// Takes a checksum off. Fails when the digest is beyond its limit; an unknown algorithm is kept.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let algorithm = from.u8("checksum algorithm")?;
        let is_composite = from.bool("checksum type")?;
        Ok(Self {
            algorithm,
            is_composite,
            digest: from.bytes(CHECKSUM_BYTES_MAX, "checksum digest")?,
        })
    }
}

impl ETag {
    /// Appends the tag, 18 bytes.
    pub fn encode(&self, out: &mut Encoder) {
        out.raw(&self.md5).u16(self.parts);
    }

    /// Takes a tag off. Fails only when the input ends before 18 bytes.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self { md5: from.array("etag")?, parts: from.u16("etag parts")? })
    }
}

impl Attributes {
    /// The value of a stored header, by its name, which must be in lower case; `None` without the header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The storage class. Must not fail: a class that this version does not know counts as `STANDARD`.
    pub fn storage_class(&self) -> StorageClass {
        self.header(StorageClass::HEADER).and_then(StorageClass::named).unwrap_or_default()
    }

    /// Appends the attributes. A list or text beyond its limit makes the encoder refuse.
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
            out.u16(part.number.get()).varint(part.size).bool(part.checksum.is_some());
            if let Some(checksum) = &part.checksum {
                checksum.encode(out);
            }
        }
        self.tail.encode(out);
    }

    /// Takes attributes off. Fails for a list or text beyond its limit, and for bytes that [`Attributes::encode`]
    /// never writes.
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
            let has_checksum = from.bool("part checksum")?;
            let checksum = if has_checksum { Some(StoredChecksum::decode(from)?) } else { None };
            Ok(PartSummary { number, size, checksum })
        };
        let parts = (0..count).map(|_| part(from)).collect::<Result<_, _>>()?;
        let tail = TaggedTail::decode(from)?;
        Ok(Self { size, etag, owner, headers, metadata, tags, checksums, parts, tail })
    }
}
