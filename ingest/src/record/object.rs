//! Records about one object: writes, deletes, tags, and the condition of each.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::entry::{Attributes, ETag, Extent};
use crate::ids::{BucketId, ConfigVersion, Offset};
use crate::name::{OBJECT_KEY_BYTES_MAX, ObjectKey};

use super::fields::{
    attributes_bytes, decode_bucket, decode_config, decode_key, encode_target, pairs_bytes,
};
use super::part::RecordPart;
use super::stream::StreamRef;

/// Most tags that a request may set.
pub const TAGS_MAX: usize = 64;
/// Longest key of a tag that a request sets, in bytes.
pub const TAG_KEY_BYTES_MAX: usize = 1024;
/// Longest value of a tag that a request sets, in bytes.
pub const TAG_VALUE_BYTES_MAX: usize = 2048;

/// The most inline payload that a record may have, in bytes. Larger payload lies in bulk files or in a stream.
pub const INLINE_BYTES_MAX: usize = 1 << 20;

/// The condition on the current version under which a write is done. The fold checks the condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WriteCondition {
    /// No condition.
    #[default]
    Always,
    /// There is no current version (`If-None-Match: *`).
    IfAbsent,
    /// There is a current version (`If-Match: *`).
    IfPresent,
    /// The current version has this entity tag (`If-Match`).
    IfMatch(ETag),
    /// The current version is the one that the record at this offset made. A delete marker is a version, too.
    IfVersion(Offset),
    /// The current version has another entity tag, or there is none (`If-None-Match`).
    IfNoneMatch(ETag),
}

impl RecordPart for WriteCondition {
    fn encode(&self, out: &mut Encoder) {
        match self {
            WriteCondition::Always => out.u8(0),
            WriteCondition::IfAbsent => out.u8(1),
            WriteCondition::IfPresent => out.u8(2),
            WriteCondition::IfMatch(etag) => {
                etag.encode(out.u8(3));
                out
            }
            WriteCondition::IfVersion(version) => out.u8(4).u64(version.get()),
            WriteCondition::IfNoneMatch(etag) => {
                etag.encode(out.u8(5));
                out
            }
        };
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("condition");
        Ok(match from.u8("condition")? {
            0 => WriteCondition::Always,
            1 => WriteCondition::IfAbsent,
            2 => WriteCondition::IfPresent,
            3 => WriteCondition::IfMatch(ETag::decode(from)?),
            4 => WriteCondition::IfVersion(Offset::new(from.u64("version offset")?)),
            5 => WriteCondition::IfNoneMatch(ETag::decode(from)?),
            _ => return Err(error),
        })
    }
}

/// The payload of a record, or the place where that payload lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordPayload {
    /// Inside the record.
    Inline(Bytes),
    /// In bulk files, written and synced before the record was appended.
    Bulk(Arc<[Extent]>),
    /// In records before this one in the same log. Each node has put the payload into its own bulk files.
    Stream(StreamRef),
}

impl RecordPart for RecordPayload {
    fn encode(&self, out: &mut Encoder) {
        match self {
            RecordPayload::Inline(bytes) => {
                out.u8(0).bounded(bytes, INLINE_BYTES_MAX, "payload");
            }
            RecordPayload::Bulk(extents) => Extent::encode_all(extents, out.u8(1)),
            RecordPayload::Stream(stream) => stream.encode(out.u8(2)),
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("payload kind");
        Ok(match from.u8("payload kind")? {
            0 => RecordPayload::Inline(from.bytes(INLINE_BYTES_MAX, "payload")?),
            1 => RecordPayload::Bulk(Extent::decode_all(from)?),
            2 => RecordPayload::Stream(StreamRef::decode(from)?),
            _ => return Err(error),
        })
    }

    fn bytes_estimate(&self) -> usize {
        match self {
            RecordPayload::Inline(bytes) => bytes.len(),
            RecordPayload::Bulk(extents) => extents.len() * 32,
            RecordPayload::Stream(_) => 32,
        }
    }
}

/// An object version is to exist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PutObject {
    /// The bucket.
    pub bucket: BucketId,
    /// The version of the bucket's configuration under which the write was accepted.
    pub config: ConfigVersion,
    /// The key.
    pub key: ObjectKey,
    /// The condition of the write.
    pub condition: WriteCondition,
    /// The facts about the object that clients may read.
    pub attributes: Attributes,
    /// CRC-64/NVME of the payload.
    pub digest: u64,
    /// The payload.
    pub payload: RecordPayload,
}

impl RecordPart for PutObject {
    fn encode(&self, out: &mut Encoder) {
        encode_target(self.bucket, self.config, &self.key, out);
        self.condition.encode(out);
        self.attributes.encode(out);
        out.u64(self.digest);
        self.payload.encode(out);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            bucket: decode_bucket(from)?,
            config: decode_config(from)?,
            key: decode_key(from)?,
            condition: WriteCondition::decode(from)?,
            attributes: Attributes::decode(from)?,
            digest: from.u64("digest")?,
            payload: RecordPayload::decode(from)?,
        })
    }

    fn bytes_estimate(&self) -> usize {
        let payload = self.payload.bytes_estimate();
        attributes_bytes(&self.attributes) + payload + OBJECT_KEY_BYTES_MAX
    }
}

/// The version that a request names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum VersionRef {
    /// The newest version.
    Current,
    /// The version that clients know as `null`.
    Null,
    /// The version that the record at this offset made.
    At(Offset),
}

impl RecordPart for VersionRef {
    fn encode(&self, out: &mut Encoder) {
        match self {
            VersionRef::Current => out.u8(0),
            VersionRef::Null => out.u8(1),
            VersionRef::At(offset) => out.u8(2).u64(offset.get()),
        };
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("version");
        Ok(match from.u8("version")? {
            0 => VersionRef::Current,
            1 => VersionRef::Null,
            2 => VersionRef::At(Offset::new(from.u64("version offset")?)),
            _ => return Err(error),
        })
    }
}

/// An object, or one version of an object, is to be removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteObject {
    /// The bucket.
    pub bucket: BucketId,
    /// The version of the bucket's configuration under which the request was accepted.
    pub config: ConfigVersion,
    /// The key.
    pub key: ObjectKey,
    /// The version; [`VersionRef::Current`] leaves a delete marker where versions are kept.
    pub version: VersionRef,
    /// The condition of the removal.
    pub condition: WriteCondition,
}

impl RecordPart for DeleteObject {
    fn encode(&self, out: &mut Encoder) {
        encode_target(self.bucket, self.config, &self.key, out);
        self.version.encode(out);
        self.condition.encode(out);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            bucket: decode_bucket(from)?,
            config: decode_config(from)?,
            key: decode_key(from)?,
            version: VersionRef::decode(from)?,
            condition: WriteCondition::decode(from)?,
        })
    }
}

/// The tags of an object version are replaced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetTags {
    /// The bucket.
    pub bucket: BucketId,
    /// The version of the bucket's configuration under which the request was accepted.
    pub config: ConfigVersion,
    /// The key.
    pub key: ObjectKey,
    /// The version.
    pub version: VersionRef,
    /// All tags that the version has from this record on.
    pub tags: Vec<(String, String)>,
}

impl RecordPart for SetTags {
    fn encode(&self, out: &mut Encoder) {
        encode_target(self.bucket, self.config, &self.key, out);
        self.version.encode(out);
        out.count(self.tags.len(), TAGS_MAX, "tags");
        for (name, value) in &self.tags {
            out.bounded(name.as_bytes(), TAG_KEY_BYTES_MAX, "tag key");
            out.bounded(value.as_bytes(), TAG_VALUE_BYTES_MAX, "tag value");
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let bucket = decode_bucket(from)?;
        let config = decode_config(from)?;
        let key = decode_key(from)?;
        let version = VersionRef::decode(from)?;
        let count = from.count(TAGS_MAX, "tags")?;
        let tag = |from: &mut Decoder| {
            let name = from.text(TAG_KEY_BYTES_MAX, "tag key")?;
            Ok((name, from.text(TAG_VALUE_BYTES_MAX, "tag value")?))
        };
        let tags = (0..count).map(|_| tag(from)).collect::<Result<_, DecodeError>>()?;
        Ok(Self { bucket, config, key, version, tags })
    }

    fn bytes_estimate(&self) -> usize {
        pairs_bytes(&self.tags) + OBJECT_KEY_BYTES_MAX + 64
    }
}
