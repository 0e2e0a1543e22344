//! The outcome of a record, decided where the log is applied, the same on every replica.

use ingest::codec::{DecodeError, Decoder, Encoder};
use ingest::entry::ETag;
use ingest::ids::{BucketId, ConfigVersion, Offset};
use ingest::time::WallTime;

/// The outcome of a record. Part of the state: a writer that sends a record again gets the first outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordOutcome {
    /// The record is applied, and its outcome has no facts.
    Done,
    /// The bucket with this id was created.
    BucketCreated(BucketId),
    /// An object version was written.
    Written(WrittenVersion),
    /// An object, or one version of it, was deleted.
    Deleted(DeletedVersion),
    /// The tags of this version were changed.
    Changed(VersionName),
    /// A part was stored at this time of the log.
    PartStored(WallTime),
    /// The record was not applied.
    Rejected(Rejection),
}

/// An object version that a record wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrittenVersion {
    /// The version; clients see it as `null` when `is_null`.
    pub version: Offset,
    /// True for version `null`.
    pub is_null: bool,
    /// The time of the log at which the version was written.
    pub created: WallTime,
    /// The version's entity tag.
    pub etag: ETag,
    /// The version's length in bytes.
    pub size: u64,
}

/// The effect of a delete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeletedVersion {
    /// The version that the delete made (a marker) or removed; `None` when there was nothing to delete.
    pub version: Option<VersionName>,
    /// True when that version is, or was, a delete marker.
    pub is_marker: bool,
}

/// The name under which clients know a version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VersionName {
    /// The version `null`.
    Null,
    /// The version that the record at this offset made.
    At(Offset),
}

/// The reason why a record was not applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// The bucket does not exist, or no longer.
    NoSuchBucket,
    /// A bucket of that name exists, and the same user owns it.
    BucketAlreadyOwned,
    /// A bucket of that name exists, and another user owns it.
    BucketExists,
    /// The bucket holds object versions.
    BucketNotEmpty,
    /// The bucket's configuration has changed since the request was accepted. The writer may submit the record again
    /// under this version.
    Retry(ConfigVersion),
    /// The record's condition does not hold.
    PreconditionFailed,
    /// The object does not exist, or its current version is a delete marker.
    NoSuchKey,
    /// The version does not exist.
    NoSuchVersion,
    /// The version is a delete marker, which has no tags.
    IsDeleteMarker,
    /// The upload does not exist, or has ended.
    NoSuchUpload,
    /// A named part is missing or has another entity tag.
    InvalidPart,
    /// The parts are not named in ascending order.
    InvalidPartOrder,
    /// A part other than the last is smaller than the smallest part size.
    EntityTooSmall,
    /// The writer's epoch was never opened, or a newer one has been.
    WrongEpoch,
    /// Earlier records of this writer are missing.
    SequenceGap,
    /// The record was applied so long ago that its outcome is no longer kept.
    Expired,
    /// The number of the cut is not the next one.
    StaleCut,
    /// The payload that the record names did not come whole before it in the log.
    PayloadMissing,
    /// The bucket was written to after it had been found empty. The writer may search it again.
    BucketWritten,
    /// The bucket's configuration documents would be more, or together longer, than the limit.
    ConfigurationTooLarge,
    /// The fold cannot read the configuration document.
    ConfigurationMalformed,
    /// Another process delivers the events of the queue.
    StaleLease,
    /// The bucket keeps versions, and objects of such a bucket are not renamed.
    KeepsVersions,
    /// Another request was done under the token.
    TokenReused,
    /// The condition on the source of a rename does not hold.
    SourceConditionFailed,
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
    Rejection::StaleLease,
    Rejection::KeepsVersions,
    Rejection::TokenReused,
    Rejection::SourceConditionFailed,
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
    /// Appends the outcome.
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
            RecordOutcome::PartStored(created) => {
                out.u8(6).i64(created.micros());
            }
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

    /// Takes an outcome off. Fails for a kind, reason or version name that [`RecordOutcome::encode`] never writes.
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
            6 => RecordOutcome::PartStored(WallTime::from_micros(from.i64("time")?)),
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
