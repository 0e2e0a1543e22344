//! A manifest's row: an entry as SQL sees it, and as merges carry it on.

use ingest::codec::Encoder;
use ingest::entry::{
    EntryKey, EntryValue, ObjectVersion, PayloadLocation, SegmentLocation, StoredChecksum,
};
use ingest::ids::{BucketId, BulkId, Offset, SegmentId};
use ingest::time::WallTime;

use crate::index_value::{IndexValue, IndexValueKind, checksum_bits};
use crate::memtable::bulk_files;
use crate::visibility::EntryShape;

/// See the module's description.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestRow {
    /// The bucket.
    pub bucket: u64,
    /// The object key.
    pub key: String,
    /// The offset of the record that made the version.
    pub version: u64,
    /// The offset of the record that made this statement.
    pub sequence: u64,
    /// What it states.
    pub kind: IndexValueKind,
    /// Whether clients know the version as `null`.
    pub is_null: bool,
    /// When the version was made.
    pub created: WallTime,
    /// What an object has besides.
    pub object: Option<ObjectColumns>,
    /// Who made it: canonical id; empty for tombstones.
    pub owner: String,
    /// Where the entry's header lies.
    pub header: SegmentLocation,
    /// The segment with the payload, when it is another than the header's.
    pub payload_segment: Option<SegmentId>,
    /// The bulk files with payload, each once.
    pub bulk_files: Vec<BulkId>,
    /// Whether it is the newest version of its key, as far as its run knows. [`crate::run_writer`] finds out.
    pub is_latest: bool,
}

/// The columns that only objects have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectColumns {
    /// Length in bytes.
    pub size: u64,
    /// MD5, or MD5 of the parts' MD5s.
    pub md5: [u8; 16],
    /// The number of parts; 0 for an object that was put in one piece.
    pub parts: u16,
    /// The content type, if one was given.
    pub content_type: Option<String>,
    /// The other stored headers.
    pub headers: Vec<(String, String)>,
    /// User metadata.
    pub metadata: Vec<(String, String)>,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// Checksums.
    pub checksums: Vec<StoredChecksum>,
}

impl ObjectColumns {
    /// The columns of an object version.
    pub fn of(object: &ObjectVersion) -> Self {
        let attributes = &object.attributes;
        let is_type = |(name, _): &&(String, String)| name == "content-type";
        let others = attributes.headers.iter().filter(|header| !is_type(header));
        Self {
            size: attributes.size,
            md5: attributes.etag.md5,
            parts: attributes.etag.parts,
            content_type: attributes.headers.iter().find(is_type).map(|(_, value)| value.clone()),
            headers: others.cloned().collect(),
            metadata: attributes.metadata.clone(),
            tags: attributes.tags.clone(),
            checksums: attributes.checksums.clone(),
        }
    }
}

impl ManifestRow {
    /// The row of an entry whose header lies at a place.
    pub fn of(key: &EntryKey, statement: &EntryValue, header: SegmentLocation) -> Self {
        let (created, owner, object) = match statement {
            EntryValue::Object(object) => {
                (object.created, object.attributes.owner.clone(), Some(ObjectColumns::of(object)))
            }
            EntryValue::Marker { created, owner, .. } => (*created, owner.clone(), None),
            EntryValue::Tombstone | EntryValue::NullTombstone => {
                (WallTime::default(), String::new(), None)
            }
        };
        let payload_segment = match statement {
            EntryValue::Object(ObjectVersion { payload: PayloadLocation::Segment(at), .. }) => {
                Some(at.segment)
            }
            _ => None,
        };
        let name = key.object_key();
        Self {
            bucket: key.bucket().get(),
            key: String::from_utf8(name.to_vec()).expect("object keys are UTF-8"),
            version: key.version().get(),
            sequence: key.sequence().get(),
            kind: IndexValueKind::of(statement),
            is_null: statement.is_null(),
            created,
            object,
            owner,
            header,
            payload_segment: payload_segment.filter(|segment| *segment != header.segment),
            bulk_files: bulk_files(statement),
            is_latest: false,
        }
    }

    /// The row's sort key.
    pub fn entry_key(&self) -> EntryKey {
        EntryKey::new(
            BucketId::new(self.bucket),
            self.key.as_bytes(),
            Offset::new(self.version),
            Offset::new(self.sequence),
        )
    }

    /// Its shape, for [`crate::visibility::Visibility`].
    pub fn shape(&self) -> EntryShape {
        EntryShape::of_kind(self.kind, self.is_null)
    }

    /// Its value in the key index.
    pub fn listed(&self) -> IndexValue {
        let object = self.object.as_ref();
        IndexValue {
            kind: self.kind,
            is_null: self.is_null,
            size: object.map_or(0, |object| object.size),
            etag: object.map_or_else(Default::default, |object| ingest::entry::ETag {
                md5: object.md5,
                parts: object.parts,
            }),
            created: self.created,
            checksums: object.map_or(0, |object| checksum_bits(&object.checksums)),
            location: self.header,
        }
    }
}

/// Checksums as one binary column.
pub fn encode_checksums(checksums: &[StoredChecksum]) -> bytes::Bytes {
    let mut out = Encoder::new();
    for checksum in checksums {
        checksum.encode(&mut out);
    }
    out.finish()
}
