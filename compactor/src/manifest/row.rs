//! A row of a manifest: an entry with the columns that SQL shows, and with the columns that merges need.

use ingest::codec::Encoder;
use ingest::entry::{
    EntryKey, EntryValue, ObjectVersion, PayloadLocation, SegmentLocation, StorageClass,
    StoredChecksum,
};
use ingest::ids::{BucketId, BulkId, Offset, SegmentId};
use ingest::time::WallTime;

use crate::index_value::{IndexValue, IndexValueKind, ObjectLabels};
use crate::memtable::bulk_files;
use crate::visibility::EntryShape;

/// One row: key, statement, and location of the header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestRow {
    /// The bucket's id.
    pub bucket: u64,
    /// The object key.
    pub key: String,
    /// The offset of the record that made the version.
    pub version: u64,
    /// The offset of the record that made this statement; equal to or above `version`.
    pub sequence: u64,
    /// The kind of the statement.
    pub kind: IndexValueKind,
    /// True if clients know the version as `null`.
    pub is_null: bool,
    /// The creation time of the version; 1970 for tombstones.
    pub created: WallTime,
    /// The columns of an object; `None` for all other kinds.
    pub object: Option<ObjectColumns>,
    /// The canonical id of the version's owner; empty for tombstones.
    pub owner: String,
    /// The location of the entry's header.
    pub header: SegmentLocation,
    /// The segment with the payload, if it is another one than the header's.
    pub payload_segment: Option<SegmentId>,
    /// The bulk files with the object's payload, each once.
    pub bulk_files: Vec<BulkId>,
    /// True if this is the newest version of its key within its run. [`crate::jobs::run_writer::RunWriter`]
    /// sets it.
    pub is_latest: bool,
}

/// The columns that only objects have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectColumns {
    /// The object's length in bytes.
    pub size: u64,
    /// The MD5 of the content, or the MD5 of the parts' MD5s.
    pub md5: [u8; 16],
    /// The number of parts; 0 for an object that was written in one request.
    pub parts: u16,
    /// The content type; `None` if the client gave none.
    pub content_type: Option<String>,
    /// The other stored headers, in the order of the object's attributes.
    pub headers: Vec<(String, String)>,
    /// The user metadata.
    pub metadata: Vec<(String, String)>,
    /// The tags.
    pub tags: Vec<(String, String)>,
    /// The checksums that clients see.
    pub checksums: Vec<StoredChecksum>,
    /// The storage class.
    pub storage_class: StorageClass,
}

impl ObjectColumns {
    /// Makes the columns of an object version. The headers of the content type and of the storage
    /// class become columns of their own.
    pub fn of(object: &ObjectVersion) -> Self {
        let attributes = &object.attributes;
        let is_type = |(name, _): &&(String, String)| name == "content-type";
        let is_class = |(name, _): &&(String, String)| name == StorageClass::HEADER;
        let others =
            attributes.headers.iter().filter(|header| !is_type(header) && !is_class(header));
        Self {
            size: attributes.size,
            md5: attributes.etag.md5,
            parts: attributes.etag.parts,
            content_type: attributes.headers.iter().find(is_type).map(|(_, value)| value.clone()),
            headers: others.cloned().collect(),
            metadata: attributes.metadata.clone(),
            tags: attributes.tags.clone(),
            checksums: object.checksums().into_owned(),
            storage_class: attributes.storage_class(),
        }
    }

    /// The labels that listings show.
    fn labels(&self) -> ObjectLabels {
        ObjectLabels::new(&self.checksums, self.storage_class)
    }
}

impl ManifestRow {
    /// Makes the row of an entry whose header is at `header`. `is_latest` is false, because only the run's
    /// writer knows all versions of a key.
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

    /// Returns the row's sort key, by which the rows of a manifest are ordered.
    pub fn entry_key(&self) -> EntryKey {
        EntryKey::new(
            BucketId::new(self.bucket),
            self.key.as_bytes(),
            Offset::new(self.version),
            Offset::new(self.sequence),
        )
    }

    /// Returns the shape of the row's statement, for [`crate::visibility::Visibility`].
    pub fn shape(&self) -> EntryShape {
        EntryShape::of_kind(self.kind, self.is_null)
    }

    /// Returns the row's value in the key index.
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
            labels: object.map_or_else(Default::default, ObjectColumns::labels),
            location: self.header,
        }
    }
}

/// Encodes checksums as one binary value, in the given order.
pub fn encode_checksums(checksums: &[StoredChecksum]) -> bytes::Bytes {
    let mut out = Encoder::new();
    for checksum in checksums {
        checksum.encode(&mut out);
    }
    out.finish()
}
