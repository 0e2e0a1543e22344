//! Fields that the bodies of several kinds of record share.

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::entry::{Attributes, CHECKSUM_BYTES_MAX, PARTS_MAX, StoredChecksum};
use crate::ids::{BucketId, ConfigVersion, PartNumber, UploadId};
use crate::name::{OBJECT_KEY_BYTES_MAX, ObjectKey};

/// Takes a bucket's id off.
pub fn decode_bucket(from: &mut Decoder) -> Result<BucketId, DecodeError> {
    Ok(BucketId::new(from.u64("bucket id")?))
}

/// Takes a version of a bucket's configuration off.
pub fn decode_config(from: &mut Decoder) -> Result<ConfigVersion, DecodeError> {
    Ok(ConfigVersion::new(from.u32("configuration version")?))
}

/// Takes an object key off. Fails for bytes that [`ObjectKey::new`] refuses.
pub fn decode_key(from: &mut Decoder) -> Result<ObjectKey, DecodeError> {
    let error = from.error("object key");
    ObjectKey::new(from.bytes(OBJECT_KEY_BYTES_MAX, "object key")?).map_err(|_| error)
}

/// Takes an upload's id off.
pub fn decode_upload(from: &mut Decoder) -> Result<UploadId, DecodeError> {
    Ok(UploadId(from.array("upload id")?))
}

/// Appends the head of a request about an object: the bucket, the version of the bucket's configuration under which
/// the request was accepted, and the key.
pub fn encode_target(bucket: BucketId, config: ConfigVersion, key: &ObjectKey, out: &mut Encoder) {
    out.u64(bucket.get()).u32(config.get()).bytes(key.as_bytes());
}

/// Appends a checksum that may be absent.
pub fn encode_checksum(checksum: Option<&StoredChecksum>, out: &mut Encoder) {
    out.bool(checksum.is_some());
    if let Some(checksum) = checksum {
        checksum.encode(out);
    }
}

/// Takes a checksum off that may be absent.
pub fn decode_checksum(from: &mut Decoder) -> Result<Option<StoredChecksum>, DecodeError> {
    Ok(if from.bool("checksum")? { Some(StoredChecksum::decode(from)?) } else { None })
}

/// Appends the parts that a completion names, in its order: the number and the MD5 of each.
pub fn encode_named_parts(parts: &[(PartNumber, [u8; 16])], out: &mut Encoder) {
    out.count(parts.len(), PARTS_MAX, "parts");
    for (number, md5) in parts {
        out.u16(number.get()).raw(md5);
    }
}

/// Takes the list of [`encode_named_parts`] off.
pub fn decode_named_parts(from: &mut Decoder) -> Result<Vec<(PartNumber, [u8; 16])>, DecodeError> {
    let count = from.count(PARTS_MAX, "parts")?;
    let part = |from: &mut Decoder| {
        Ok((PartNumber::new(from.u16("part number")?), from.array("part md5")?))
    };
    (0..count).map(|_| part(from)).collect()
}

/// A bound on the encoded bytes of pairs of texts.
pub fn pairs_bytes(pairs: &[(String, String)]) -> usize {
    pairs.iter().map(|(name, value)| name.len() + value.len() + 8).sum()
}

/// A bound on the encoded bytes of attributes.
pub fn attributes_bytes(attributes: &Attributes) -> usize {
    let lists = [&attributes.headers, &attributes.metadata, &attributes.tags];
    let texts: usize = lists.into_iter().map(|pairs| pairs_bytes(pairs)).sum();
    let checksums = attributes.checksums.len() * (CHECKSUM_BYTES_MAX + 8);
    let parts = attributes.parts.len() * (CHECKSUM_BYTES_MAX + 32);
    let tail = attributes.tail.bytes_estimate();
    texts + checksums + parts + tail + attributes.owner.len() + 512
}
