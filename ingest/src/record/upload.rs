//! Records about multipart uploads.

use std::sync::Arc;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::entry::{Attributes, Extent, StoredChecksum};
use crate::ids::{BucketId, ConfigVersion, PartNumber, UploadId};
use crate::name::{OBJECT_KEY_BYTES_MAX, ObjectKey};

use super::fields::{
    attributes_bytes, decode_bucket, decode_checksum, decode_config, decode_key,
    decode_named_parts, decode_upload, encode_checksum, encode_named_parts, encode_target,
};
use super::object::WriteCondition;
use super::part::RecordPart;
use super::stream::StreamRef;

/// A multipart upload begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateUpload {
    /// The bucket.
    pub bucket: BucketId,
    /// The version of the bucket's configuration under which the request was accepted.
    pub config: ConfigVersion,
    /// The key that the object will have.
    pub key: ObjectKey,
    /// The upload's id.
    pub upload: UploadId,
    /// The object's attributes as far as they are known: owner, headers, metadata, tags.
    pub attributes: Attributes,
    /// The checksum algorithm announced (see [`StoredChecksum::algorithm`]); 0 for none.
    pub checksum_algorithm: u8,
    /// True when the object's checksum is to be one over the parts' checksums.
    pub checksum_is_composite: bool,
}

impl RecordPart for CreateUpload {
    fn encode(&self, out: &mut Encoder) {
        encode_target(self.bucket, self.config, &self.key, out);
        out.raw(&self.upload.0);
        self.attributes.encode(out);
        out.u8(self.checksum_algorithm).bool(self.checksum_is_composite);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            bucket: decode_bucket(from)?,
            config: decode_config(from)?,
            key: decode_key(from)?,
            upload: decode_upload(from)?,
            attributes: Attributes::decode(from)?,
            checksum_algorithm: from.u8("checksum algorithm")?,
            checksum_is_composite: from.bool("checksum type")?,
        })
    }

    fn bytes_estimate(&self) -> usize {
        attributes_bytes(&self.attributes) + OBJECT_KEY_BYTES_MAX
    }
}

/// A part of an upload is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PutPart {
    /// The bucket.
    pub bucket: BucketId,
    /// The version of the bucket's configuration under which the request was accepted.
    pub config: ConfigVersion,
    /// The key that the upload was begun for.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// The part's number; a part of the same number is replaced.
    pub number: PartNumber,
    /// The part's digests and the place of its bytes.
    pub part: UploadPart,
    /// The stream with the part's bytes, when they came through the log; then the part names no extents.
    pub stream: Option<StreamRef>,
}

impl RecordPart for PutPart {
    fn encode(&self, out: &mut Encoder) {
        encode_target(self.bucket, self.config, &self.key, out);
        out.raw(&self.upload.0);
        out.u16(self.number.get());
        self.part.encode(out);
        out.bool(self.stream.is_some());
        if let Some(stream) = &self.stream {
            stream.encode(out);
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            bucket: decode_bucket(from)?,
            config: decode_config(from)?,
            key: decode_key(from)?,
            upload: decode_upload(from)?,
            number: PartNumber::new(from.u16("part number")?),
            part: UploadPart::decode(from)?,
            stream: match from.bool("stream of a part")? {
                true => Some(StreamRef::decode(from)?),
                false => None,
            },
        })
    }

    fn bytes_estimate(&self) -> usize {
        self.part.extents.len() * 32 + 256 + OBJECT_KEY_BYTES_MAX
    }
}

/// A part of an upload.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UploadPart {
    /// Length in bytes.
    pub size: u64,
    /// MD5 of the part's bytes.
    pub md5: [u8; 16],
    /// CRC-64/NVME of the part's bytes.
    pub digest: u64,
    /// The checksum that the client sent, or that was computed for the upload's algorithm.
    pub checksum: Option<StoredChecksum>,
    /// The part's bytes, in bulk files.
    pub extents: Arc<[Extent]>,
}

impl UploadPart {
    /// The checksum that clients see, never none: the CRC-64/NVME of the part unless another was verified or computed.
    pub fn visible_checksum(&self) -> StoredChecksum {
        self.checksum.clone().unwrap_or_else(|| StoredChecksum::of_digest(self.digest))
    }

    /// Appends the part, as records and the state run hold it.
    pub fn encode(&self, out: &mut Encoder) {
        out.varint(self.size).raw(&self.md5).u64(self.digest);
        encode_checksum(self.checksum.as_ref(), out);
        Extent::encode_all(&self.extents, out);
    }

    /// Takes a part off. Fails for bytes that [`UploadPart::encode`] never writes.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            size: from.varint("part size")?,
            md5: from.array("part md5")?,
            digest: from.u64("part digest")?,
            checksum: decode_checksum(from)?,
            extents: Extent::decode_all(from)?,
        })
    }
}

/// An upload becomes an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompleteUpload {
    /// The bucket.
    pub bucket: BucketId,
    /// The version of the bucket's configuration under which the request was accepted.
    pub config: ConfigVersion,
    /// The key that the upload was begun for.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// The parts that the client names, in order, each with its MD5.
    pub parts: Vec<(PartNumber, [u8; 16])>,
    /// The condition of the write.
    pub condition: WriteCondition,
    /// The whole object's checksum, combined from the parts' or given by the client.
    pub checksum: Option<StoredChecksum>,
}

impl RecordPart for CompleteUpload {
    fn encode(&self, out: &mut Encoder) {
        encode_target(self.bucket, self.config, &self.key, out);
        out.raw(&self.upload.0);
        encode_named_parts(&self.parts, out);
        self.condition.encode(out);
        encode_checksum(self.checksum.as_ref(), out);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            bucket: decode_bucket(from)?,
            config: decode_config(from)?,
            key: decode_key(from)?,
            upload: decode_upload(from)?,
            parts: decode_named_parts(from)?,
            condition: WriteCondition::decode(from)?,
            checksum: decode_checksum(from)?,
        })
    }

    fn bytes_estimate(&self) -> usize {
        self.parts.len() * 24 + 256 + OBJECT_KEY_BYTES_MAX
    }
}

/// An upload is given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AbortUpload {
    /// The bucket.
    pub bucket: BucketId,
    /// The version of the bucket's configuration under which the request was accepted.
    pub config: ConfigVersion,
    /// The key that the upload was begun for.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
}

impl RecordPart for AbortUpload {
    fn encode(&self, out: &mut Encoder) {
        encode_target(self.bucket, self.config, &self.key, out);
        out.raw(&self.upload.0);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            bucket: decode_bucket(from)?,
            config: decode_config(from)?,
            key: decode_key(from)?,
            upload: decode_upload(from)?,
        })
    }
}
