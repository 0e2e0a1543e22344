//! The value of a key index entry: the attributes that listings show, and the location of the entry's
//! header.
//!
//! Listings, look-ups and conditions are answered from the key index alone. The rest of an entry (owner,
//! headers, metadata, tags, extents) is in the header in a segment. `docs/formats/table.md` specifies the
//! bytes; `docs/decisions/key-index-value.md` explains why ETags are included.

use ingest::codec::{DecodeError, Encoder};
use ingest::entry::{
    ETag, EntryValue, ObjectVersion, SegmentLocation, StorageClass, StoredChecksum,
};
use ingest::ids::SegmentId;
use ingest::time::WallTime;

use crate::table::TableValue;

/// The mask of the kind's number in the first byte of a value; the other bits are flags.
const KIND: u8 = 0x07;
const HAS_PARTS: u8 = 0x20;
const HAS_LABELS: u8 = 0x40;
const IS_NULL: u8 = 0x80;

/// The kind of an entry's statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IndexValueKind {
    /// An object version.
    Object,
    /// A delete marker.
    Marker,
    /// The removal of one version.
    Tombstone,
    /// The removal of all older `null` versions.
    NullTombstone,
}

impl IndexValueKind {
    /// Returns the kind's number in the formats of key indexes and manifests, from 1 to 4.
    pub fn code(self) -> u8 {
        match self {
            IndexValueKind::Object => 1,
            IndexValueKind::Marker => 2,
            IndexValueKind::Tombstone => 3,
            IndexValueKind::NullTombstone => 4,
        }
    }

    /// Returns the kind of a statement.
    pub fn of(statement: &EntryValue) -> Self {
        match statement {
            EntryValue::Object(_) => IndexValueKind::Object,
            EntryValue::Marker { .. } => IndexValueKind::Marker,
            EntryValue::Tombstone => IndexValueKind::Tombstone,
            EntryValue::NullTombstone => IndexValueKind::NullTombstone,
        }
    }

    /// Returns the kind with a given number; `None` for an unknown number, which callers must treat as
    /// corruption.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(IndexValueKind::Object),
            2 => Some(IndexValueKind::Marker),
            3 => Some(IndexValueKind::Tombstone),
            4 => Some(IndexValueKind::NullTombstone),
            _ => None,
        }
    }
}

/// The facts that listings show about an object besides size, entity tag and time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObjectLabels {
    /// The algorithms of the checksums: bit n is set for algorithm n. Never 0.
    checksums: u16,
    /// The storage class.
    pub class: StorageClass,
}

/// The bit of [`ObjectLabels`] that is set for checksums over the checksums of parts.
const IS_COMPOSITE: u16 = 1 << 15;

impl Default for ObjectLabels {
    /// The labels of most objects: a CRC-64/NVME of the whole object, and the class `STANDARD`.
    fn default() -> Self {
        Self { checksums: 1 << StoredChecksum::CRC64_NVME, class: StorageClass::Standard }
    }
}

impl ObjectLabels {
    /// Makes the labels of an object version. An object without a checksum of its client has the labels of CRC-64/NVME.
    pub fn of(object: &ObjectVersion) -> Self {
        Self::new(&object.checksums(), object.attributes.storage_class())
    }

    /// Makes labels of the checksums that clients see, and of a storage class. An algorithm above 14 has no bit.
    pub fn new(checksums: &[StoredChecksum], class: StorageClass) -> Self {
        let bit = |checksum: &StoredChecksum| match checksum.algorithm {
            algorithm @ 0..15 => 1u16 << algorithm | u16::from(checksum.is_composite) << 15,
            _ => 0,
        };
        Self { checksums: checksums.iter().fold(0, |bits, checksum| bits | bit(checksum)), class }
    }

    /// Returns true if the object has a checksum of the algorithm with a number; never true for a number above 14.
    pub fn has_checksum(&self, algorithm: u8) -> bool {
        algorithm < 15 && self.checksums & 1 << algorithm != 0
    }

    /// S3's name for the bytes that the checksums cover: `COMPOSITE` only where they are over the checksums of parts.
    pub fn checksum_kind(&self) -> &'static str {
        if self.checksums & IS_COMPOSITE != 0 { "COMPOSITE" } else { "FULL_OBJECT" }
    }

    fn encode(&self, out: &mut Encoder) {
        out.u16(self.checksums).u8(self.class as u8);
    }

    fn decode([low, high, class]: [u8; 3]) -> Result<Self, DecodeError> {
        let class = StorageClass::from_code(class).ok_or(malformed("storage class"))?;
        Ok(Self { checksums: u16::from_le_bytes([low, high]), class })
    }
}

/// The value of one key index entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexValue {
    /// The kind of the entry's statement.
    pub kind: IndexValueKind,
    /// True if clients know the version as `null`.
    pub is_null: bool,
    /// The object's length in bytes; 0 for all other kinds.
    pub size: u64,
    /// The object's entity tag; empty for all other kinds.
    pub etag: ETag,
    /// The creation time of the version; 1970 for tombstones.
    pub created: WallTime,
    /// The checksums and the storage class; the default for all other kinds.
    pub labels: ObjectLabels,
    /// The location of the entry's header.
    pub location: SegmentLocation,
}

impl IndexValue {
    /// Makes the value of a statement whose header is at `location`.
    pub fn of(statement: &EntryValue, location: SegmentLocation) -> Self {
        let kind = IndexValueKind::of(statement);
        let bare = Self {
            kind,
            is_null: statement.is_null(),
            size: 0,
            etag: ETag::default(),
            created: WallTime::default(),
            labels: ObjectLabels::default(),
            location,
        };
        match statement {
            EntryValue::Object(object) => Self {
                size: object.attributes.size,
                etag: object.attributes.etag,
                created: object.created,
                labels: ObjectLabels::of(object),
                ..bare
            },
            EntryValue::Marker { created, .. } => Self { created: *created, ..bare },
            EntryValue::Tombstone | EntryValue::NullTombstone => bare,
        }
    }

    /// Returns the numbers of the value: time (µs), size (bytes), then segment, position and index of the
    /// header. A kind without time or size repeats the numbers `before` of the preceding entry, which need
    /// the fewest bits in a column; readers ignore them.
    pub fn numbers(&self, before: [u64; 5]) -> [u64; 5] {
        let [mut created, mut size, ..] = before;
        if matches!(self.kind, IndexValueKind::Object | IndexValueKind::Marker) {
            created = self.created.micros() as u64;
        }
        if self.kind == IndexValueKind::Object {
            size = self.size;
        }
        let SegmentLocation { segment, position, index } = self.location;
        [created, size, segment.get(), position, index.into()]
    }

    /// Appends the variable part of the value: kind, flags, and for objects the ETag and the labels.
    pub fn encode(&self, out: &mut Encoder) {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let has_parts = flag(self.etag.parts > 0, HAS_PARTS);
        let has_labels = flag(self.labels != ObjectLabels::default(), HAS_LABELS);
        out.u8(self.kind.code() | flag(self.is_null, IS_NULL) | has_parts | has_labels);
        if self.kind == IndexValueKind::Object {
            out.raw(&self.etag.md5);
            if has_parts != 0 {
                out.u16(self.etag.parts);
            }
            if has_labels != 0 {
                self.labels.encode(out);
            }
        }
    }

    /// Returns the kind of an encoded value, and true for version `null`, from the first byte alone. Fails
    /// on an empty value or an unknown kind.
    pub fn kind_of(encoded: &[u8]) -> Result<(IndexValueKind, bool), DecodeError> {
        let flags = encoded.first().copied().unwrap_or_default();
        let kind = IndexValueKind::from_code(flags & KIND).ok_or(malformed("entry kind"))?;
        Ok((kind, flags & IS_NULL != 0))
    }

    /// Decodes a value from a key index. Fails on an unknown kind or flag, a missing byte, a surplus byte,
    /// or an encoding that the encoder never produces.
    pub fn decode(value: TableValue<'_>) -> Result<Self, DecodeError> {
        let (kind, is_null) = Self::kind_of(value.bytes)?;
        let (flags, mut rest) = (value.bytes[0], &value.bytes[1..]);
        let (mut labels, mut etag) = (ObjectLabels::default(), ETag::default());
        if kind == IndexValueKind::Object {
            etag.md5 = take(&mut rest)?;
            if flags & HAS_PARTS != 0 {
                etag.parts = u16::from_le_bytes(take(&mut rest)?);
            }
            if flags & HAS_LABELS != 0 {
                labels = ObjectLabels::decode(take(&mut rest)?)?;
            }
        }
        // A value has exactly one encoding, so that equal entries have equal bytes.
        let is_sound = rest.is_empty()
            && flags & !(KIND | IS_NULL | HAS_PARTS | HAS_LABELS) == 0
            && (flags & HAS_PARTS != 0) == (etag.parts > 0)
            && (flags & HAS_LABELS != 0) == (labels != ObjectLabels::default());
        if !is_sound {
            return Err(malformed("entry"));
        }
        let [mut created, mut size, segment, position, index] = value.numbers;
        if !matches!(kind, IndexValueKind::Object | IndexValueKind::Marker) {
            created = 0;
        }
        if kind != IndexValueKind::Object {
            size = 0;
        }
        let index = u32::try_from(index).map_err(|_| malformed("segment index"))?;
        let location = SegmentLocation { segment: SegmentId::new(segment), position, index };
        let created = WallTime::from_micros(created as i64);
        Ok(Self { kind, is_null, size, etag, created, labels, location })
    }
}

fn malformed(what: &'static str) -> DecodeError {
    DecodeError { what, position: 0 }
}

/// Removes an array from the front. Fails if fewer bytes are left.
fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(malformed("entry"))?;
    *bytes = rest;
    Ok(*taken)
}
