//! A key index's value: what a listing shows of an entry, and where its header lies.
//!
//! Listings, look-ups and conditions are answered from the key index alone; the rest of an entry (owner,
//! headers, metadata, tags, extents) is in its header in a segment. `docs/formats/table.md` specifies the
//! bytes; `docs/decisions/key-index-value.md` says why ETags are here.

use ingest::codec::{DecodeError, Decoder, Encoder};
use ingest::entry::{ETag, SegmentLocation, Statement};
use ingest::words::{SegmentId, WallTime};

/// What an entry states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An object version.
    Object,
    /// A delete marker.
    Marker,
    /// One version is no more.
    Removed,
    /// Older `null` versions are no more.
    NullRemoved,
}

impl Kind {
    /// As a number, for the formats.
    pub fn code(self) -> u8 {
        match self {
            Kind::Object => 1,
            Kind::Marker => 2,
            Kind::Removed => 3,
            Kind::NullRemoved => 4,
        }
    }

    /// The kind of a statement.
    pub fn of(statement: &Statement) -> Self {
        match statement {
            Statement::Object(_) => Kind::Object,
            Statement::Marker { .. } => Kind::Marker,
            Statement::Removed => Kind::Removed,
            Statement::NullRemoved => Kind::NullRemoved,
        }
    }

    /// The kind with a number.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Kind::Object),
            2 => Some(Kind::Marker),
            3 => Some(Kind::Removed),
            4 => Some(Kind::NullRemoved),
            _ => None,
        }
    }
}

/// See the module's description.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    /// What the entry states.
    pub kind: Kind,
    /// Whether clients know the version as `null`.
    pub is_null: bool,
    /// Length in bytes; 0 for what is not an object.
    pub size: u64,
    /// Entity tag; empty for what is not an object.
    pub etag: ETag,
    /// When the version was made; 1970 for removals.
    pub created: WallTime,
    /// The algorithms of the object's checksums, bit n for algorithm n.
    pub checksums: u8,
    /// Where the entry's header lies.
    pub location: SegmentLocation,
}

impl Listed {
    /// What a listing shows of a statement whose header lies at a place.
    pub fn of(statement: &Statement, location: SegmentLocation) -> Self {
        let kind = Kind::of(statement);
        let bare = Self {
            kind,
            is_null: statement.is_null(),
            size: 0,
            etag: ETag::default(),
            created: WallTime::default(),
            checksums: 0,
            location,
        };
        match statement {
            Statement::Object(object) => Self {
                size: object.attributes.size,
                etag: object.attributes.etag,
                created: object.created,
                checksums: checksum_bits(&object.attributes.checksums),
                ..bare
            },
            Statement::Marker { created, .. } => Self { created: *created, ..bare },
            Statement::Removed | Statement::NullRemoved => bare,
        }
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Encoder) {
        out.u8(self.kind.code() | u8::from(self.is_null) << 7);
        if matches!(self.kind, Kind::Object | Kind::Marker) {
            out.i64(self.created.micros());
        }
        if self.kind == Kind::Object {
            out.varint(self.size).u8(self.checksums);
            self.etag.encode(out);
        }
        out.varint(self.location.segment.get());
        out.varint(self.location.position).varint(self.location.index.into());
    }

    /// What an encoded entry states, and whether about version `null`, without looking at the rest.
    pub fn kind_of(encoded: &[u8]) -> Result<(Kind, bool), DecodeError> {
        let flags = encoded.first().copied().unwrap_or_default();
        let kind = Kind::from_code(flags & 0x7f);
        let kind = kind.ok_or(DecodeError { what: "entry kind", position: 0 })?;
        Ok((kind, flags & 0x80 != 0))
    }

    /// Takes it off.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("entry kind");
        let flags = from.u8("entry kind")?;
        let kind = Kind::from_code(flags & 0x7f).ok_or(error)?;
        let has_time = matches!(kind, Kind::Object | Kind::Marker);
        let created = if has_time { from.i64("time")? } else { 0 };
        let (size, checksums, etag) = if kind == Kind::Object {
            (from.varint("size")?, from.u8("checksums")?, ETag::decode(from)?)
        } else {
            (0, 0, ETag::default())
        };
        let location = SegmentLocation {
            segment: SegmentId::new(from.varint("segment")?),
            position: from.varint("segment position")?,
            index: from.count(u32::MAX as usize, "segment index")? as u32,
        };
        from.end("end of entry")?;
        let created = WallTime::from_micros(created);
        Ok(Self { kind, is_null: flags & 0x80 != 0, size, etag, created, checksums, location })
    }
}

/// The algorithms of checksums as bits.
pub fn checksum_bits(checksums: &[ingest::entry::StoredChecksum]) -> u8 {
    checksums
        .iter()
        .fold(0, |bits, checksum| bits | 1u8.checked_shl(checksum.algorithm.into()).unwrap_or(0))
}
