//! The statement of an entry: an object version, a delete marker, or a removal.

use std::borrow::Cow;
use std::sync::Arc;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::time::WallTime;

use super::attributes::{Attributes, OWNER_BYTES_MAX, StoredChecksum};
use super::key::EntryKey;
use super::payload::PayloadLocation;

/// One object version that exists.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ObjectVersion {
    /// True when clients know the version as `null`.
    pub is_null: bool,
    /// The time of the record that made the version.
    pub created: WallTime,
    /// CRC-64/NVME of the payload: the digest that the record names.
    pub digest: u64,
    /// The facts that clients may read.
    pub attributes: Arc<Attributes>,
    /// The place of the version's bytes.
    pub payload: PayloadLocation,
}

impl ObjectVersion {
    /// The checksums that clients see, never none: an object for which no client gave one has the CRC-64/NVME of its
    /// payload.
    pub fn checksums(&self) -> Cow<'_, [StoredChecksum]> {
        match self.attributes.checksums.as_slice() {
            [] => Cow::Owned(vec![StoredChecksum::of_digest(self.digest)]),
            given => Cow::Borrowed(given),
        }
    }
}

/// The statement of one entry.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum EntryValue {
    /// The version exists.
    Object(ObjectVersion),
    /// The version is a delete marker.
    Marker {
        /// True when clients know the version as `null`.
        is_null: bool,
        /// The time of the record that made the marker.
        created: WallTime,
        /// The canonical id of the user who made the marker.
        owner: String,
    },
    /// The version has been removed.
    Tombstone,
    /// Every older version `null` has been removed.
    NullTombstone,
}

/// A statement with its sort key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The sort key: bucket, key, version, sequence.
    pub key: EntryKey,
    /// The statement.
    pub statement: EntryValue,
}

impl EntryValue {
    /// True for a statement that a version `null` exists, or that older versions `null` do not.
    pub fn is_null(&self) -> bool {
        match self {
            EntryValue::Object(object) => object.is_null,
            EntryValue::Marker { is_null, .. } => *is_null,
            EntryValue::Tombstone => false,
            EntryValue::NullTombstone => true,
        }
    }

    /// Appends the statement.
    pub fn encode(&self, out: &mut Encoder) {
        match self {
            EntryValue::Object(object) => {
                out.u8(1).bool(object.is_null).i64(object.created.micros());
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

    /// Takes a statement off. Fails for an unknown kind, and for bytes that [`EntryValue::encode`] never writes.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("statement kind");
        Ok(match from.u8("statement kind")? {
            1 => EntryValue::Object(ObjectVersion {
                is_null: from.bool("null version")?,
                created: WallTime::from_micros(from.i64("time")?),
                digest: from.u64("digest")?,
                attributes: Arc::new(Attributes::decode(from)?),
                payload: PayloadLocation::decode(from)?,
            }),
            2 => EntryValue::Marker {
                is_null: from.bool("null version")?,
                created: WallTime::from_micros(from.i64("time")?),
                owner: from.text(OWNER_BYTES_MAX, "owner")?,
            },
            3 => EntryValue::Tombstone,
            4 => EntryValue::NullTombstone,
            _ => return Err(error),
        })
    }
}
