//! The configuration of a bucket: documents, each of one kind.
//!
//! [`KNOWN`] is the registry of kinds. The fold keeps every document as it came and reads only those of
//! [`ConfigKind::VERSIONING`] and [`ConfigKind::NOTIFICATION`]; the gateway checks a document before it is appended. A number that this version does
//! not know survives decoding and encoding, so nodes of two versions keep the same state.

use std::fmt;

use bytes::Bytes;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::ids::{BucketId, ConfigVersion};

use super::bucket::Versioning;
use super::fields::{decode_bucket, decode_config};
use super::part::RecordPart;

/// The most bytes of one configuration document, whatever its kind.
pub const CONFIG_DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// The most documents of a bucket.
pub const CONFIG_DOCUMENTS_MAX: usize = 64;
/// The most bytes that all documents of a bucket have together.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// Documents of at most so many bytes are taken while room runs out: they do no more than a removal does.
const SMALL_DOCUMENT_BYTES: usize = 64;

/// The kind of a bucket's configuration document: a number in the formats, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigKind(u16);

/// The facts about one kind that this version knows.
struct KnownKind {
    kind: ConfigKind,
    /// The name in messages and logs.
    name: &'static str,
    /// The most bytes that the gateway takes for a document of the kind.
    bytes_max: usize,
    /// The S3 operation that sets the document.
    put: &'static str,
    /// The S3 operation that removes the document, where S3 has one.
    delete: Option<&'static str>,
}

/// The registry. One more kind is one constant of [`ConfigKind`] and one row here.
const KNOWN: &[KnownKind] = &[
    KnownKind {
        kind: ConfigKind::VERSIONING,
        name: "versioning",
        bytes_max: 1,
        put: "PutBucketVersioning",
        delete: None,
    },
    KnownKind {
        kind: ConfigKind::TAGGING,
        name: "tagging",
        // 50 tags of 384 characters, each escaped by at most six.
        bytes_max: 128 << 10,
        put: "PutBucketTagging",
        delete: Some("DeleteBucketTagging"),
    },
    KnownKind {
        kind: ConfigKind::CORS,
        name: "cors",
        // 64 KiB from the client; escaping makes some characters longer.
        bytes_max: CONFIG_DOCUMENT_BYTES_MAX,
        put: "PutBucketCors",
        delete: Some("DeleteBucketCors"),
    },
    KnownKind {
        kind: ConfigKind::WEBSITE,
        name: "website",
        bytes_max: CONFIG_DOCUMENT_BYTES_MAX,
        put: "PutBucketWebsite",
        delete: Some("DeleteBucketWebsite"),
    },
    KnownKind {
        kind: ConfigKind::OWNERSHIP,
        name: "ownership controls",
        bytes_max: 1 << 10,
        put: "PutBucketOwnershipControls",
        delete: Some("DeleteBucketOwnershipControls"),
    },
    KnownKind {
        kind: ConfigKind::ACCELERATION,
        name: "acceleration",
        bytes_max: 1 << 10,
        put: "PutBucketAccelerateConfiguration",
        delete: None,
    },
    KnownKind {
        kind: ConfigKind::NOTIFICATION,
        name: "notification",
        bytes_max: CONFIG_DOCUMENT_BYTES_MAX,
        put: "PutBucketNotificationConfiguration",
        delete: Some("PutBucketNotificationConfiguration"),
    },
];

impl ConfigKind {
    /// The document is one byte, see [`Versioning::document`].
    pub const VERSIONING: Self = Self(1);
    /// The document is the S3 document `Tagging`, as GetBucketTagging answers it.
    pub const TAGGING: Self = Self(2);
    /// The document is the S3 document `CORSConfiguration`, as GetBucketCors answers it.
    pub const CORS: Self = Self(3);
    /// The document is the S3 document `WebsiteConfiguration`, as GetBucketWebsite answers it.
    pub const WEBSITE: Self = Self(4);
    /// The document is the S3 document `OwnershipControls`, as GetBucketOwnershipControls answers it.
    pub const OWNERSHIP: Self = Self(5);
    /// The document is the S3 document `AccelerateConfiguration`, as GetBucketAccelerateConfiguration answers it.
    pub const ACCELERATION: Self = Self(6);
    /// The document is that of [`super::NotificationRules`].
    pub const NOTIFICATION: Self = Self(8);

    fn known(self) -> Option<&'static KnownKind> {
        KNOWN.iter().find(|known| known.kind == self)
    }

    /// The most bytes that a document of the kind may have. The gateway must check this limit; the formats take
    /// [`CONFIG_DOCUMENT_BYTES_MAX`] of every kind, so that nodes of two versions decode the same records.
    pub fn bytes_max(self) -> usize {
        self.known().map_or(CONFIG_DOCUMENT_BYTES_MAX, |known| known.bytes_max)
    }

    /// Appends the kind, as a varint.
    pub fn encode(self, out: &mut Encoder) {
        out.varint(self.0.into());
    }

    /// Takes a kind off. Fails for a number above 65,535; an unknown number is kept.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("kind of configuration");
        let number = from.varint("kind of configuration")?;
        u16::try_from(number).map(Self).map_err(|_| error)
    }
}

impl fmt::Debug for ConfigKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.known().map_or("unknown", |known| known.name);
        write!(f, "ConfigKind({}, {name})", self.0)
    }
}

/// One configuration document of a bucket is set or removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetBucketConfig {
    /// The bucket.
    pub bucket: BucketId,
    /// The version of the bucket's configuration under which the request was accepted.
    pub config: ConfigVersion,
    /// The kind of the document.
    pub kind: ConfigKind,
    /// The document from this record on; `None` removes the document.
    pub document: Option<Bytes>,
}

impl SetBucketConfig {
    /// The S3 operation that makes such a record.
    pub fn operation(&self) -> &'static str {
        let known = self.kind.known();
        match self.document {
            Some(_) => known.map_or("PutBucketConfiguration", |known| known.put),
            None => known.and_then(|known| known.delete).unwrap_or("DeleteBucketConfiguration"),
        }
    }

    /// True for a document that makes the store larger by more than a removal does.
    pub(super) fn grows(&self) -> bool {
        self.document.as_ref().is_some_and(|document| document.len() > SMALL_DOCUMENT_BYTES)
    }
}

impl RecordPart for SetBucketConfig {
    fn encode(&self, out: &mut Encoder) {
        out.u64(self.bucket.get()).u32(self.config.get());
        self.kind.encode(out);
        out.bool(self.document.is_some());
        if let Some(document) = &self.document {
            encode_document(document, out);
        }
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            bucket: decode_bucket(from)?,
            config: decode_config(from)?,
            kind: ConfigKind::decode(from)?,
            document: match from.bool("configuration document")? {
                true => Some(decode_document(from)?),
                false => None,
            },
        })
    }

    fn bytes_estimate(&self) -> usize {
        self.document.as_ref().map_or(0, Bytes::len) + 64
    }
}

/// Appends a configuration document. More than [`CONFIG_DOCUMENT_BYTES_MAX`] bytes make the encoder refuse.
pub fn encode_document(document: &Bytes, out: &mut Encoder) {
    out.bounded(document, CONFIG_DOCUMENT_BYTES_MAX, "configuration document");
}

/// Takes a configuration document off, sharing the input's memory. Fails for more than
/// [`CONFIG_DOCUMENT_BYTES_MAX`] bytes.
pub fn decode_document(from: &mut Decoder) -> Result<Bytes, DecodeError> {
    from.bytes(CONFIG_DOCUMENT_BYTES_MAX, "configuration document")
}

impl Versioning {
    /// The configuration document of kind [`ConfigKind::VERSIONING`] that states this versioning.
    pub fn document(self) -> Bytes {
        Bytes::copy_from_slice(&[self.code()])
    }

    /// The versioning that a document states; without a document versioning was never switched on. Fails for bytes
    /// that [`Versioning::document`] never writes.
    pub fn of_document(document: Option<&Bytes>) -> Result<Self, DecodeError> {
        let Some(document) = document else { return Ok(Self::Off) };
        let mut from = Decoder::new(document.clone());
        let versioning = Self::decode(&mut from)?;
        from.end("end of versioning")?;
        Ok(versioning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_numbers_of_their_own_and_limits_that_the_formats_take() {
        for (index, known) in KNOWN.iter().enumerate() {
            assert!(known.bytes_max <= CONFIG_DOCUMENT_BYTES_MAX, "{:?}", known.kind);
            assert!(KNOWN[..index].iter().all(|other| other.kind < known.kind), "{:?}", known.kind);
        }
    }

    #[test]
    fn an_unknown_kind_is_kept() {
        let behind = KNOWN.len() as u64 + 1;
        for number in [0, behind, u64::from(u16::MAX)] {
            let mut out = Encoder::new();
            out.varint(number);
            let bytes = out.finish();
            let kind = ConfigKind::decode(&mut Decoder::new(bytes.clone())).unwrap();
            let mut out = Encoder::new();
            kind.encode(&mut out);
            assert_eq!(out.finish(), bytes);
            assert_eq!(kind.bytes_max(), CONFIG_DOCUMENT_BYTES_MAX);
        }
        let mut out = Encoder::new();
        out.varint(u64::from(u16::MAX) + 1);
        assert!(ConfigKind::decode(&mut Decoder::new(out.finish())).is_err());
    }

    #[test]
    fn versioning_comes_back_from_its_document() {
        for versioning in [Versioning::Off, Versioning::On, Versioning::Suspended] {
            let document = versioning.document();
            assert!(document.len() <= ConfigKind::VERSIONING.bytes_max());
            assert_eq!(Versioning::of_document(Some(&document)), Ok(versioning));
        }
        assert_eq!(Versioning::of_document(None), Ok(Versioning::Off));
        for wrong in [&b""[..], b"\x03", b"\x01\x00"] {
            assert!(Versioning::of_document(Some(&Bytes::from_static(wrong))).is_err());
        }
    }
}
