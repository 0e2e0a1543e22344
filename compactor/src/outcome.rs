//! What became of a record: decided where the log is applied, the same on every replica.

use ingest::codec::{DecodeError, Decoder, Encoder};
use ingest::entry::ETag;
use ingest::ids::{BucketId, ConfigVersion, Offset};
use ingest::time::WallTime;

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordOutcome {
    /// It was done, and there is nothing to tell.
    Done,
    /// A bucket exists now.
    BucketCreated(BucketId),
    /// An object version exists now.
    Written(WrittenVersion),
    /// An object, or a version of it, is no more.
    Deleted(DeletedVersion),
    /// A version says something new of itself (its tags).
    Changed(VersionName),
    /// It was not done.
    Rejected(Rejection),
}

/// See [`RecordOutcome::Written`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrittenVersion {
    /// The version; clients see it as `null` when `is_null`.
    pub version: Offset,
    /// Whether it is version `null`.
    pub is_null: bool,
    /// When, by the log.
    pub created: WallTime,
    /// Its entity tag.
    pub etag: ETag,
    /// Its length in bytes.
    pub size: u64,
}

/// See [`RecordOutcome::Deleted`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeletedVersion {
    /// The version that the delete made (a marker) or removed, where there is one to tell.
    pub version: Option<VersionName>,
    /// Whether that version is, or was, a delete marker.
    pub is_marker: bool,
}

/// A version as clients know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VersionName {
    /// `null`.
    Null,
    /// The one made by the record at this offset.
    At(Offset),
}

/// Why a record was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// There is no such bucket (any more).
    NoSuchBucket,
    /// A bucket of that name exists; the same user owns it.
    BucketAlreadyOwned,
    /// A bucket of that name exists; another user owns it.
    BucketExists,
    /// The bucket holds object versions.
    BucketNotEmpty,
    /// The bucket's configuration has changed since the request was accepted: ask again under this one.
    Retry(ConfigVersion),
    /// The condition does not hold.
    PreconditionFailed,
    /// There is no such object, or its current version is a delete marker.
    NoSuchKey,
    /// There is no such version.
    NoSuchVersion,
    /// The version is a delete marker, which has nothing of the kind.
    IsDeleteMarker,
    /// There is no such upload.
    NoSuchUpload,
    /// A named part is missing or has another entity tag.
    InvalidPart,
    /// The parts are not named in ascending order.
    InvalidPartOrder,
    /// A part other than the last is below the smallest size.
    EntityTooSmall,
    /// The writer's instance was never opened, or a newer one has been.
    WrongEpoch,
    /// Records of this writer are missing before this one.
    SequenceGap,
    /// The record was answered so long ago that its outcome is forgotten.
    Expired,
    /// The cut's number is not the next one.
    StaleCut,
    /// The payload that it names did not come whole before it.
    PayloadMissing,
    /// Something was written to the bucket after it had been found empty: look again.
    BucketWritten,
    /// The documents of the bucket's configuration would be too many, or too long together.
    ConfigurationTooLarge,
    /// The configuration document is not one that the fold can read.
    ConfigurationMalformed,
}

const REJECTIONS: &[Rejection] = &[
    Rejection::NoSuchBucket,
    Rejection::BucketAlreadyOwned,
    Rejection::BucketExists,
    Rejection::BucketNotEmpty,
    Rejection::Retry(ConfigVersion::ZERO),
    Rejection::PreconditionFailed,
    Rejection::NoSuchKey,
    Rejection::NoSuchVersion,
    Rejection::IsDeleteMarker,
    Rejection::NoSuchUpload,
    Rejection::InvalidPart,
    Rejection::InvalidPartOrder,
    Rejection::EntityTooSmall,
    Rejection::WrongEpoch,
    Rejection::SequenceGap,
    Rejection::Expired,
    Rejection::StaleCut,
    Rejection::PayloadMissing,
    Rejection::BucketWritten,
    Rejection::ConfigurationTooLarge,
    Rejection::ConfigurationMalformed,
];

fn encode_name(version: Option<VersionName>, out: &mut Encoder) {
    match version {
        None => out.u8(0),
        Some(VersionName::Null) => out.u8(1),
        Some(VersionName::At(offset)) => out.u8(2).u64(offset.get()),
    };
}

fn decode_name(from: &mut Decoder) -> Result<Option<VersionName>, DecodeError> {
    let error = from.error("version");
    Ok(match from.u8("version")? {
        0 => None,
        1 => Some(VersionName::Null),
        2 => Some(VersionName::At(Offset::new(from.u64("version")?))),
        _ => return Err(error),
    })
}

impl RecordOutcome {
    /// Appends it.
    pub fn encode(&self, out: &mut Encoder) {
        match self {
            RecordOutcome::Done => {
                out.u8(0);
            }
            RecordOutcome::BucketCreated(bucket) => {
                out.u8(1).u64(bucket.get());
            }
            RecordOutcome::Written(written) => {
                out.u8(2).u64(written.version.get()).u8(u8::from(written.is_null));
                out.i64(written.created.micros()).varint(written.size);
                written.etag.encode(out);
            }
            RecordOutcome::Deleted(deleted) => {
                out.u8(3).u8(u8::from(deleted.is_marker));
                encode_name(deleted.version, out);
            }
            RecordOutcome::Changed(version) => encode_name(Some(*version), out.u8(5)),
            RecordOutcome::Rejected(rejection) => {
                let same = |r: &&Rejection| {
                    std::mem::discriminant(*r) == std::mem::discriminant(rejection)
                };
                let code = REJECTIONS.iter().take_while(|r| !same(r)).count();
                out.u8(4).u8(code as u8);
                if let Rejection::Retry(config) = rejection {
                    out.u32(config.get());
                }
            }
        }
    }

    /// Takes it off.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("outcome");
        let flag = |from: &mut Decoder| Ok::<_, DecodeError>(from.u8("flag")? == 1);
        Ok(match from.u8("outcome")? {
            0 => RecordOutcome::Done,
            1 => RecordOutcome::BucketCreated(BucketId::new(from.u64("bucket id")?)),
            2 => RecordOutcome::Written(WrittenVersion {
                version: Offset::new(from.u64("version")?),
                is_null: flag(from)?,
                created: WallTime::from_micros(from.i64("time")?),
                size: from.varint("size")?,
                etag: ETag::decode(from)?,
            }),
            3 => {
                let is_marker = flag(from)?;
                RecordOutcome::Deleted(DeletedVersion { version: decode_name(from)?, is_marker })
            }
            5 => RecordOutcome::Changed(decode_name(from)?.ok_or(error)?),
            4 => {
                let code = usize::from(from.u8("rejection")?);
                RecordOutcome::Rejected(match REJECTIONS.get(code) {
                    Some(Rejection::Retry(_)) => {
                        Rejection::Retry(ConfigVersion::new(from.u32("configuration version")?))
                    }
                    Some(rejection) => *rejection,
                    None => return Err(error),
                })
            }
            _ => return Err(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rejection_comes_back() {
        for rejection in REJECTIONS {
            let outcome = RecordOutcome::Rejected(*rejection);
            let mut out = Encoder::new();
            outcome.encode(&mut out);
            let mut from = Decoder::new(out.finish());
            assert_eq!(RecordOutcome::decode(&mut from).unwrap(), outcome);
            assert!(from.end("end").is_ok());
        }
    }
}
