//! Records about a bucket as a whole.

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::entry::OWNER_BYTES_MAX;
use crate::ids::{BucketId, Offset};
use crate::name::{BUCKET_NAME_BYTES_MAX, BucketName};

use super::fields::decode_bucket;
use super::part::RecordPart;

/// Longest name of a region, in bytes.
pub const REGION_BYTES_MAX: usize = 64;

/// A bucket is to exist. The bucket's id has the partition in its upper 16 bits, and below them the offset of this
/// record plus one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateBucket {
    /// The bucket's name.
    pub name: BucketName,
    /// The canonical id of the owner.
    pub owner: String,
    /// The region that the client named.
    pub region: String,
}

impl RecordPart for CreateBucket {
    fn encode(&self, out: &mut Encoder) {
        out.bytes(self.name.as_bytes());
        out.bounded(self.owner.as_bytes(), OWNER_BYTES_MAX, "owner");
        out.bounded(self.region.as_bytes(), REGION_BYTES_MAX, "region");
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("bucket name");
        let name = from.bytes(BUCKET_NAME_BYTES_MAX, "bucket name")?;
        Ok(Self {
            name: BucketName::new(name).map_err(|_| error)?,
            owner: from.text(OWNER_BYTES_MAX, "owner")?,
            region: from.text(REGION_BYTES_MAX, "region")?,
        })
    }
}

/// Appends the body of a bucket's deletion.
pub fn encode_deletion(bucket: BucketId, seen: Offset, out: &mut Encoder) {
    out.u64(bucket.get()).u64(seen.get());
}

/// Takes the body of a bucket's deletion off.
pub fn decode_deletion(from: &mut Decoder) -> Result<(BucketId, Offset), DecodeError> {
    Ok((decode_bucket(from)?, Offset::new(from.u64("offset of a look")?)))
}

/// A bucket's versioning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Versioning {
    /// Never switched on: every version is `null`.
    #[default]
    Off,
    /// Each write makes a version.
    On,
    /// Switched on once, now each write replaces version `null`.
    Suspended,
}

impl Versioning {
    /// The byte that stands for the versioning in the formats.
    pub fn code(self) -> u8 {
        match self {
            Versioning::Off => 0,
            Versioning::On => 1,
            Versioning::Suspended => 2,
        }
    }

    /// Takes the byte of [`Versioning::code`] off. Fails for any other byte.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("versioning");
        Ok(match from.u8("versioning")? {
            0 => Versioning::Off,
            1 => Versioning::On,
            2 => Versioning::Suspended,
            _ => return Err(error),
        })
    }
}
