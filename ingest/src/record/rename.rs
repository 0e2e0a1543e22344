//! The record by which an object gets another key, and the conditions of that change.

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::ids::{BucketId, ConfigVersion};
use crate::name::{OBJECT_KEY_BYTES_MAX, ObjectKey};
use crate::time::WallTime;

use super::fields::{decode_bucket, decode_config, decode_key, encode_target};
use super::object::WriteCondition;
use super::part::RecordPart;

/// Longest token of a client, in bytes.
pub const CLIENT_TOKEN_BYTES_MAX: usize = 64;

/// The conditions on one of the two objects of a rename. All of them must hold; the default always holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RenameCondition {
    /// The condition on presence and entity tag.
    pub write: WriteCondition,
    /// The second after which the object must have been modified. A second that has not come yet is no condition.
    pub modified_since: Option<WallTime>,
    /// The second after which the object must not have been modified. Holds where there is no object.
    pub unmodified_since: Option<WallTime>,
}

impl RecordPart for RenameCondition {
    fn encode(&self, out: &mut Encoder) {
        self.write.encode(out);
        for since in [self.modified_since, self.unmodified_since] {
            out.bool(since.is_some());
            if let Some(since) = since {
                out.i64(since.micros());
            }
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let write = WriteCondition::decode(from)?;
        let mut since = || {
            Ok::<_, DecodeError>(match from.bool("date of a condition")? {
                true => Some(WallTime::from_micros(from.i64("date of a condition")?)),
                false => None,
            })
        };
        Ok(Self { write, modified_since: since()?, unmodified_since: since()? })
    }
}

/// An object is to be found under another key of its bucket, and not under its former key any more. An object that has
/// the new key is replaced. The payload stays where it lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RenameObject {
    /// The bucket of both keys.
    pub bucket: BucketId,
    /// The version of the bucket's configuration under which the request was accepted.
    pub config: ConfigVersion,
    /// The new key.
    pub key: ObjectKey,
    /// The condition on the object that has the new key.
    pub condition: RenameCondition,
    /// The former key.
    pub source: ObjectKey,
    /// The condition on the object that is renamed.
    pub source_condition: RenameCondition,
    /// The client's token, by which a repeated request is recognised; empty for none.
    pub token: String,
}

impl RenameObject {
    /// XXH3-128 of everything that a repetition under the same token must have in common with the first request: all
    /// fields but the version of the configuration, and the requester.
    pub fn fingerprint(&self, principal: &str) -> [u8; 16] {
        let mut out = Encoder::new();
        out.bytes(principal.as_bytes());
        Self { config: ConfigVersion::ZERO, ..self.clone() }.encode(&mut out);
        xxhash_rust::xxh3::xxh3_128(out.as_slice()).to_le_bytes()
    }
}

impl RecordPart for RenameObject {
    fn encode(&self, out: &mut Encoder) {
        encode_target(self.bucket, self.config, &self.key, out);
        self.condition.encode(out);
        out.bytes(self.source.as_bytes());
        self.source_condition.encode(out);
        out.bounded(self.token.as_bytes(), CLIENT_TOKEN_BYTES_MAX, "token of a client");
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            bucket: decode_bucket(from)?,
            config: decode_config(from)?,
            key: decode_key(from)?,
            condition: RenameCondition::decode(from)?,
            source: decode_key(from)?,
            source_condition: RenameCondition::decode(from)?,
            token: from.text(CLIENT_TOKEN_BYTES_MAX, "token of a client")?,
        })
    }

    fn bytes_estimate(&self) -> usize {
        2 * OBJECT_KEY_BYTES_MAX + self.token.len() + 256
    }
}
