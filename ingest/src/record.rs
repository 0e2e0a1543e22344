//! Record format v2: one fact in the log. `docs/formats/record.md` specifies the bytes.
//!
//! A record says what a client asked for and under which configuration it was accepted; what became of
//! it is decided where the log is applied, the same on every replica. Everything that decision needs is
//! inside: no clock, no look-up by name, no default that a later version might change.

use std::sync::Arc;

use bytes::Bytes;

use crate::bulk::FRAME_PAYLOAD_MAX;
use crate::codec::{DecodeError, Decoder, EncodeError, Encoder};
use crate::entry::{
    Attributes, CHECKSUM_BYTES_MAX, ETag, Extent, OWNER_BYTES_MAX, PARTS_MAX, StoredChecksum,
    get_bool,
};
use crate::ids::{
    BucketId, BulkId, ConfigVersion, CutNumber, Epoch, NodeId, Offset, PartNumber, Sequence,
    StreamId, UploadId, WriterId,
};
use crate::name::{BUCKET_NAME_BYTES_MAX, BucketName, OBJECT_KEY_BYTES_MAX, ObjectKey};
use crate::time::WallTime;

/// The version that this code writes and reads.
pub const RECORD_VERSION: u8 = 2;

/// The most bytes that a record may have, payload included.
pub const RECORD_BYTES_MAX: usize = 8 << 20;

/// Longest name of a request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 256;

/// Longest name of a region, in bytes.
pub const REGION_BYTES_MAX: usize = 64;

/// Most tags that a request may set.
pub const TAGS_MAX: usize = 64;
/// Longest key of a tag that a request sets, in bytes.
pub const TAG_KEY_BYTES_MAX: usize = 1024;
/// Longest value of a tag that a request sets, in bytes.
pub const TAG_VALUE_BYTES_MAX: usize = 2048;

/// The most inline payload that a record may have. Above it payload goes the bulk way.
pub const INLINE_BYTES_MAX: usize = 1 << 20;

/// The most payload that a [`RecordBody::Data`] record has, in whole frames of a bulk file, so that pieces lie
/// side by side in one extent: 15 frames, 959.5 KiB, below the longest message of a broker.
pub const DATA_BYTES_MAX: usize = 15 * FRAME_PAYLOAD_MAX as usize;

/// Names a record: its writer, the writer's instance and the record's number in the partition. A record
/// that turns up twice has the same name both times.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RecordId {
    /// The lane that wrote it.
    pub writer: WriterId,
    /// The lane's instance.
    pub epoch: Epoch,
    /// Its number, from 1; [`RecordBody::OpenWriter`] carries the last number of the instance before.
    pub sequence: Sequence,
}

/// One fact in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its name.
    pub id: RecordId,
    /// The user who asked: canonical id, empty for the store itself.
    pub principal: String,
    /// The request that asked, for tracing; empty for the store itself.
    pub request: String,
    /// The time that the writer gave it, which is bounded by what the writer's monotonic clock allows. It dates
    /// what the record makes. The epoch for a record that makes nothing.
    pub time: WallTime,
    /// What was asked.
    pub body: RecordBody,
}

/// What a record asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordBody {
    /// The writer's instance begins. Records of older instances are refused from here on.
    OpenWriter,
    /// A bucket is to exist.
    CreateBucket(CreateBucket),
    /// A bucket is to be no more, if it is empty.
    DeleteBucket {
        /// The bucket.
        bucket: BucketId,
        /// Whoever asks has found the bucket empty as of this offset. Only a write at or above it can have
        /// changed that.
        seen: Offset,
    },
    /// A bucket's versioning is switched.
    SetVersioning {
        /// The bucket.
        bucket: BucketId,
        /// On, or suspended.
        versioning: Versioning,
    },
    /// An object version is to exist.
    PutObject(PutObject),
    /// An object, or one version of it, is to be no more.
    DeleteObject(DeleteObject),
    /// An object version's tags are replaced.
    SetTags(SetTags),
    /// A multipart upload begins.
    CreateUpload(CreateUpload),
    /// A part of an upload is there.
    PutPart(PutPart),
    /// An upload becomes an object.
    CompleteUpload(CompleteUpload),
    /// An upload is given up.
    AbortUpload {
        /// The bucket.
        bucket: BucketId,
        /// The key that it was begun for.
        key: ObjectKey,
        /// The upload.
        upload: UploadId,
    },
    /// Everything below this record is to be folded into sealed files.
    Cut {
        /// One more than the last cut; any other number is ignored, so that races do no harm.
        number: CutNumber,
    },
    /// Nothing; a reader that has met it has met everything before it.
    Barrier,
    /// Payload of a large object, on its way to every node. Without a record that names its stream it
    /// means nothing.
    Data(StreamPiece),
    /// What a node made of the log up to a cut.
    Digest(CutDigest),
    /// Whose a node's id is.
    Claim {
        /// The node's id.
        node: NodeId,
        /// The process that wants it; random.
        process: WriterId,
        /// What is said of it.
        stage: ClaimStage,
    },
    /// A stream has been given up: no record will name it.
    Abandon {
        /// The stream.
        stream: StreamId,
    },
    /// How much room a node has.
    Room(RoomReport),
}

/// A step in deciding whose a node's id is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ClaimStage {
    /// The process wants it.
    Claim,
    /// The process that has it objects.
    Object,
    /// Nobody objected in time.
    Confirm,
}

/// See [`RecordBody::Data`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamPiece {
    /// The stream that it belongs to.
    pub stream: StreamId,
    /// Its place in the stream, from 0.
    pub index: u32,
    /// How many bytes the whole stream has.
    pub total: u64,
    /// Its bytes; [`DATA_BYTES_MAX`] of them unless it is the last.
    pub bytes: Bytes,
}

/// Names a whole stream, as it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StreamRef {
    /// The stream.
    pub stream: StreamId,
    /// How many [`RecordBody::Data`] records it has.
    pub records: u32,
}

/// See [`RecordBody::Digest`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CutDigest {
    /// Whose.
    pub node: NodeId,
    /// Up to which cut.
    pub cut: CutNumber,
    /// Chained over all cuts: of the logical content, whatever files it lies in.
    pub digest: [u8; 32],
}

/// See [`RecordBody::Room`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoomReport {
    /// Whose.
    pub node: NodeId,
    /// Bytes of its device that payload may still take, when this was appended.
    pub bytes: u64,
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

/// See [`RecordBody::CreateBucket`]. The bucket's id has the partition in its upper 16 bits, and below them the offset
/// of this record plus one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateBucket {
    /// Its name.
    pub name: BucketName,
    /// Its owner: canonical id.
    pub owner: String,
    /// The region that the client named.
    pub region: String,
}

/// What must hold of the current version for a write to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WriteCondition {
    /// Nothing.
    #[default]
    Always,
    /// There is no current version (`If-None-Match: *`).
    IfAbsent,
    /// There is a current version (`If-Match: *`).
    IfPresent,
    /// The current version has this entity tag (`If-Match`).
    IfMatch(ETag),
}

/// Payload as a record names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordPayload {
    /// Inside the record.
    Inline(Bytes),
    /// In bulk files, written and synced before the record was appended.
    Bulk(Arc<[Extent]>),
    /// In records before this one in the same log; each node has put it into bulk files of its own.
    Stream(StreamRef),
}

/// See [`RecordBody::PutObject`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PutObject {
    /// The bucket.
    pub bucket: BucketId,
    /// The bucket's configuration under which the write was accepted.
    pub config: ConfigVersion,
    /// The key.
    pub key: ObjectKey,
    /// What must hold.
    pub condition: WriteCondition,
    /// What clients may learn of it.
    pub attributes: Attributes,
    /// CRC-64/NVME of the payload.
    pub digest: u64,
    /// The payload.
    pub payload: RecordPayload,
}

/// Which version a request speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum VersionRef {
    /// The newest.
    Current,
    /// The one that clients know as `null`.
    Null,
    /// The one made by the record at this offset.
    At(Offset),
}

/// See [`RecordBody::DeleteObject`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteObject {
    /// The bucket.
    pub bucket: BucketId,
    /// The bucket's configuration under which the request was accepted.
    pub config: ConfigVersion,
    /// The key.
    pub key: ObjectKey,
    /// Which version; [`VersionRef::Current`] leaves a delete marker where versions are kept.
    pub version: VersionRef,
    /// What must hold.
    pub condition: WriteCondition,
}

/// See [`RecordBody::SetTags`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetTags {
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: ObjectKey,
    /// Which version.
    pub version: VersionRef,
    /// The tags from now on.
    pub tags: Vec<(String, String)>,
}

/// See [`RecordBody::CreateUpload`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateUpload {
    /// The bucket.
    pub bucket: BucketId,
    /// The key that the object will have.
    pub key: ObjectKey,
    /// The upload's id.
    pub upload: UploadId,
    /// The object's attributes as far as they are known: owner, headers, metadata, tags.
    pub attributes: Attributes,
    /// The checksum algorithm announced (see [`StoredChecksum::algorithm`]); 0 for none.
    pub checksum_algorithm: u8,
    /// Whether the object's checksum is to be one over the parts' checksums.
    pub checksum_is_composite: bool,
}

/// See [`RecordBody::PutPart`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PutPart {
    /// The bucket.
    pub bucket: BucketId,
    /// The key that the upload was begun for.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// The part's number; a part of the same number is replaced.
    pub number: PartNumber,
    /// What is known of it.
    pub part: UploadPart,
    /// Where its bytes are, when they came through the log; then the part names no extents.
    pub stream: Option<StreamRef>,
}

/// A part of an upload.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UploadPart {
    /// Length in bytes.
    pub size: u64,
    /// MD5 of its bytes.
    pub md5: [u8; 16],
    /// CRC-64/NVME of its bytes.
    pub digest: u64,
    /// The checksum that the client sent, or that was computed for the upload's algorithm.
    pub checksum: Option<StoredChecksum>,
    /// Its bytes, in bulk files.
    pub extents: Arc<[Extent]>,
}

/// See [`RecordBody::CompleteUpload`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompleteUpload {
    /// The bucket.
    pub bucket: BucketId,
    /// The bucket's configuration under which the request was accepted.
    pub config: ConfigVersion,
    /// The key that the upload was begun for.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// The parts that the client names, in order, each with its MD5.
    pub parts: Vec<(PartNumber, [u8; 16])>,
    /// What must hold.
    pub condition: WriteCondition,
    /// The whole object's checksum, combined from the parts' or given by the client.
    pub checksum: Option<StoredChecksum>,
}

mod kind {
    pub const OPEN_WRITER: u8 = 1;
    pub const CREATE_BUCKET: u8 = 2;
    pub const DELETE_BUCKET: u8 = 3;
    pub const SET_VERSIONING: u8 = 4;
    pub const PUT_OBJECT: u8 = 5;
    pub const DELETE_OBJECT: u8 = 6;
    pub const SET_TAGS: u8 = 7;
    pub const CREATE_UPLOAD: u8 = 8;
    pub const PUT_PART: u8 = 9;
    pub const COMPLETE_UPLOAD: u8 = 10;
    pub const ABORT_UPLOAD: u8 = 11;
    pub const CUT: u8 = 12;
    pub const BARRIER: u8 = 13;
    pub const DATA: u8 = 14;
    pub const DIGEST: u8 = 15;
    pub const CLAIM: u8 = 16;
    pub const ABANDON: u8 = 17;
    pub const ROOM: u8 = 18;
}

impl Record {
    /// A record that the store writes by itself, and that dates nothing.
    pub fn of_the_store(id: RecordId, body: RecordBody) -> Self {
        let (principal, request, time) = Default::default();
        Self { id, principal, request, time, body }
    }

    /// Hash of the bucket and key that the record is about; 0 when it is about none. Recovery uses it
    /// to tell which keys a damaged stretch of the log concerned.
    pub fn key_hash(&self) -> u64 {
        match self.body.target() {
            Some((bucket, key)) => key_hash(bucket, key.as_bytes()),
            None => 0,
        }
    }

    /// Whether it makes the store larger. When room runs out the rest of it goes to records that do not:
    /// removals, and the cuts that make their space free.
    pub fn grows(&self) -> bool {
        match self.body {
            RecordBody::CreateBucket(_)
            | RecordBody::PutObject(_)
            | RecordBody::SetTags(_)
            | RecordBody::CreateUpload(_)
            | RecordBody::PutPart(_)
            | RecordBody::Data(_)
            | RecordBody::CompleteUpload(_) => true,
            RecordBody::OpenWriter
            | RecordBody::DeleteBucket { .. }
            | RecordBody::SetVersioning { .. }
            | RecordBody::DeleteObject(_)
            | RecordBody::AbortUpload { .. }
            | RecordBody::Cut { .. }
            | RecordBody::Digest(_)
            | RecordBody::Claim { .. }
            | RecordBody::Abandon { .. }
            | RecordBody::Room(_)
            | RecordBody::Barrier => false,
        }
    }

    /// Whether its writer numbers it, so that it is applied once and its outcome is remembered. What
    /// changes nothing, or is told apart by its content, needs no number.
    pub fn is_numbered(&self) -> bool {
        !matches!(
            self.body,
            RecordBody::OpenWriter
                | RecordBody::Barrier
                | RecordBody::Data(_)
                | RecordBody::Digest(_)
                | RecordBody::Claim { .. }
                | RecordBody::Abandon { .. }
                | RecordBody::Room(_)
        )
    }

    /// The stream whose payload it names.
    pub fn stream(&self) -> Option<StreamRef> {
        match &self.body {
            RecordBody::PutObject(PutObject { payload: RecordPayload::Stream(stream), .. }) => {
                Some(*stream)
            }
            RecordBody::PutPart(put) => put.stream,
            _ => None,
        }
    }

    /// The bulk files that its payload lies in.
    pub fn bulk_files(&self) -> Vec<BulkId> {
        let extents = match &self.body {
            RecordBody::PutObject(PutObject { payload: RecordPayload::Bulk(extents), .. }) => {
                extents
            }
            RecordBody::PutPart(put) => &put.part.extents,
            _ => return Vec::new(),
        };
        extents.iter().map(|extent| extent.file).collect()
    }

    /// The inline payload, if there is any.
    pub fn inline_payload(&self) -> Option<&Bytes> {
        match &self.body {
            RecordBody::PutObject(PutObject { payload: RecordPayload::Inline(bytes), .. }) => {
                Some(bytes)
            }
            _ => None,
        }
    }

    /// A bound on the encoded length, for [`crate::log::Log::admit`], without encoding.
    pub fn bytes_estimate(&self) -> usize {
        let pairs = |pairs: &[(String, String)]| -> usize {
            pairs.iter().map(|(name, value)| name.len() + value.len() + 8).sum()
        };
        let attributes = |a: &Attributes| {
            let checksums = a.checksums.len() * (CHECKSUM_BYTES_MAX + 8);
            let fixed = a.owner.len() + 512;
            let lists = pairs(&a.headers) + pairs(&a.metadata) + pairs(&a.tags) + checksums;
            lists + a.parts.len() * (CHECKSUM_BYTES_MAX + 32) + fixed
        };
        let body = match &self.body {
            RecordBody::PutObject(put) => {
                let payload = match &put.payload {
                    RecordPayload::Inline(bytes) => bytes.len(),
                    RecordPayload::Bulk(extents) => extents.len() * 32,
                    RecordPayload::Stream(_) => 32,
                };
                attributes(&put.attributes) + payload + OBJECT_KEY_BYTES_MAX
            }
            RecordBody::CreateUpload(create) => {
                attributes(&create.attributes) + OBJECT_KEY_BYTES_MAX
            }
            RecordBody::PutPart(put) => put.part.extents.len() * 32 + 256 + OBJECT_KEY_BYTES_MAX,
            RecordBody::CompleteUpload(complete) => {
                complete.parts.len() * 24 + 256 + OBJECT_KEY_BYTES_MAX
            }
            RecordBody::SetTags(set) => pairs(&set.tags) + OBJECT_KEY_BYTES_MAX + 64,
            RecordBody::Data(data) => data.bytes.len() + 64,
            RecordBody::Abandon { .. } | RecordBody::Room(_) => 32,
            _ => OBJECT_KEY_BYTES_MAX + 512,
        };
        body + self.principal.len() + self.request.len() + 128
    }

    /// Encodes the record. The log frames and checksums it.
    ///
    /// Panics when it is beyond a limit: see [`Record::check`].
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::with_capacity(self.bytes_estimate());
        self.encode_into(&mut out);
        out.finish()
    }

    /// Says whether a log may take the record: what cannot be decoded must not be acknowledged. Asked of every
    /// record that came from outside, before it is numbered.
    pub fn check(&self) -> Result<(), EncodeError> {
        let mut out = Encoder::checking();
        self.encode_into(&mut out);
        out.refused()?;
        // An estimate is a bound.
        let found = self.bytes_estimate();
        if found > RECORD_BYTES_MAX {
            return Err(EncodeError { what: "bytes of a record", found, limit: RECORD_BYTES_MAX });
        }
        Ok(())
    }

    fn encode_into(&self, out: &mut Encoder) {
        out.u8(RECORD_VERSION).u8(self.body.kind());
        out.raw(&self.id.writer.0).u32(self.id.epoch.get()).u64(self.id.sequence.get());
        out.i64(self.time.micros());
        out.bounded(self.principal.as_bytes(), OWNER_BYTES_MAX, "principal");
        out.bounded(self.request.as_bytes(), REQUEST_BYTES_MAX, "request id");
        self.body.encode(out);
    }

    /// Decodes a record; its inline payload shares the input's memory. An unknown version or kind is
    /// refused: a fold that skipped what it does not know would diverge from one that knows it.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let version = from.u8("record version")?;
        if version != RECORD_VERSION {
            return Err(DecodeError { what: "record version", position: 0 });
        }
        let kind = from.u8("record kind")?;
        let id = RecordId {
            writer: WriterId(from.array("writer")?),
            epoch: Epoch::new(from.u32("epoch")?),
            sequence: Sequence::new(from.u64("sequence")?),
        };
        let time = WallTime::from_micros(from.i64("record time")?);
        let principal = from.text(OWNER_BYTES_MAX, "principal")?;
        let request = from.text(REQUEST_BYTES_MAX, "request id")?;
        let body = RecordBody::decode(kind, &mut from)?;
        from.end("end of record")?;
        Ok(Self { id, principal, request, time, body })
    }
}

/// Hash of a bucket and key; see [`Record::key_hash`]. Never 0.
pub fn key_hash(bucket: BucketId, key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(key, bucket.get()).max(1)
}

impl WriteCondition {
    fn encode(self, out: &mut Encoder) {
        match self {
            WriteCondition::Always => out.u8(0),
            WriteCondition::IfAbsent => out.u8(1),
            WriteCondition::IfPresent => out.u8(2),
            WriteCondition::IfMatch(etag) => {
                etag.encode(out.u8(3));
                out
            }
        };
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("condition");
        Ok(match from.u8("condition")? {
            0 => WriteCondition::Always,
            1 => WriteCondition::IfAbsent,
            2 => WriteCondition::IfPresent,
            3 => WriteCondition::IfMatch(ETag::decode(from)?),
            _ => return Err(error),
        })
    }
}

impl Versioning {
    /// As a byte, for the formats.
    pub fn code(self) -> u8 {
        match self {
            Versioning::Off => 0,
            Versioning::On => 1,
            Versioning::Suspended => 2,
        }
    }

    /// Takes the byte off.
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

impl StreamRef {
    fn encode(&self, out: &mut Encoder) {
        out.raw(&self.stream.0).u32(self.records);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            stream: StreamId(from.array("stream")?),
            records: from.u32("records of a stream")?,
        })
    }
}

impl RecordPayload {
    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("payload kind");
        Ok(match from.u8("payload kind")? {
            0 => RecordPayload::Inline(from.bytes(INLINE_BYTES_MAX, "payload")?),
            1 => RecordPayload::Bulk(Extent::decode_all(from)?),
            2 => RecordPayload::Stream(StreamRef::decode(from)?),
            _ => return Err(error),
        })
    }
}

impl VersionRef {
    fn encode(self, out: &mut Encoder) {
        match self {
            VersionRef::Current => out.u8(0),
            VersionRef::Null => out.u8(1),
            VersionRef::At(offset) => out.u8(2).u64(offset.get()),
        };
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let error = from.error("version");
        Ok(match from.u8("version")? {
            0 => VersionRef::Current,
            1 => VersionRef::Null,
            2 => VersionRef::At(Offset::new(from.u64("version offset")?)),
            _ => return Err(error),
        })
    }
}

impl UploadPart {
    /// Appends it.
    pub fn encode(&self, out: &mut Encoder) {
        out.varint(self.size).raw(&self.md5).u64(self.digest);
        encode_checksum(self.checksum.as_ref(), out);
        Extent::encode_all(&self.extents, out);
    }

    /// Takes it off.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            size: from.varint("part size")?,
            md5: from.array("part md5")?,
            digest: from.u64("part digest")?,
            checksum: decode_checksum(from)?,
            extents: Extent::decode_all(from)?,
        })
    }
}

fn encode_checksum(checksum: Option<&StoredChecksum>, out: &mut Encoder) {
    out.u8(u8::from(checksum.is_some()));
    if let Some(checksum) = checksum {
        checksum.encode(out);
    }
}

fn decode_checksum(from: &mut Decoder) -> Result<Option<StoredChecksum>, DecodeError> {
    Ok(if get_bool(from, "checksum")? { Some(StoredChecksum::decode(from)?) } else { None })
}

fn decode_bucket(from: &mut Decoder) -> Result<BucketId, DecodeError> {
    Ok(BucketId::new(from.u64("bucket id")?))
}

fn decode_config(from: &mut Decoder) -> Result<ConfigVersion, DecodeError> {
    Ok(ConfigVersion::new(from.u32("configuration version")?))
}

fn decode_key(from: &mut Decoder) -> Result<ObjectKey, DecodeError> {
    let error = from.error("object key");
    ObjectKey::new(from.bytes(OBJECT_KEY_BYTES_MAX, "object key")?).map_err(|_| error)
}

fn decode_upload(from: &mut Decoder) -> Result<UploadId, DecodeError> {
    Ok(UploadId(from.array("upload id")?))
}

impl RecordBody {
    /// The bucket and key that it is about, if it is about an object.
    pub fn target(&self) -> Option<(BucketId, &ObjectKey)> {
        match self {
            RecordBody::PutObject(body) => Some((body.bucket, &body.key)),
            RecordBody::DeleteObject(body) => Some((body.bucket, &body.key)),
            RecordBody::SetTags(body) => Some((body.bucket, &body.key)),
            RecordBody::CreateUpload(body) => Some((body.bucket, &body.key)),
            RecordBody::PutPart(body) => Some((body.bucket, &body.key)),
            RecordBody::CompleteUpload(body) => Some((body.bucket, &body.key)),
            RecordBody::AbortUpload { bucket, key, .. } => Some((*bucket, key)),
            RecordBody::OpenWriter
            | RecordBody::CreateBucket(_)
            | RecordBody::DeleteBucket { .. }
            | RecordBody::SetVersioning { .. }
            | RecordBody::Cut { .. }
            | RecordBody::Data(_)
            | RecordBody::Digest(_)
            | RecordBody::Claim { .. }
            | RecordBody::Abandon { .. }
            | RecordBody::Room(_)
            | RecordBody::Barrier => None,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            RecordBody::OpenWriter => kind::OPEN_WRITER,
            RecordBody::CreateBucket(_) => kind::CREATE_BUCKET,
            RecordBody::DeleteBucket { .. } => kind::DELETE_BUCKET,
            RecordBody::SetVersioning { .. } => kind::SET_VERSIONING,
            RecordBody::PutObject(_) => kind::PUT_OBJECT,
            RecordBody::DeleteObject(_) => kind::DELETE_OBJECT,
            RecordBody::SetTags(_) => kind::SET_TAGS,
            RecordBody::CreateUpload(_) => kind::CREATE_UPLOAD,
            RecordBody::PutPart(_) => kind::PUT_PART,
            RecordBody::CompleteUpload(_) => kind::COMPLETE_UPLOAD,
            RecordBody::AbortUpload { .. } => kind::ABORT_UPLOAD,
            RecordBody::Cut { .. } => kind::CUT,
            RecordBody::Barrier => kind::BARRIER,
            RecordBody::Data(_) => kind::DATA,
            RecordBody::Digest(_) => kind::DIGEST,
            RecordBody::Claim { .. } => kind::CLAIM,
            RecordBody::Abandon { .. } => kind::ABANDON,
            RecordBody::Room(_) => kind::ROOM,
        }
    }

    fn encode(&self, out: &mut Encoder) {
        match self {
            RecordBody::OpenWriter | RecordBody::Barrier => {}
            RecordBody::CreateBucket(body) => {
                out.bytes(body.name.as_bytes());
                out.bounded(body.owner.as_bytes(), OWNER_BYTES_MAX, "owner");
                out.bounded(body.region.as_bytes(), REGION_BYTES_MAX, "region");
            }
            RecordBody::DeleteBucket { bucket, seen } => {
                out.u64(bucket.get()).u64(seen.get());
            }
            RecordBody::SetVersioning { bucket, versioning } => {
                out.u64(bucket.get()).u8(versioning.code());
            }
            RecordBody::PutObject(body) => {
                out.u64(body.bucket.get()).u32(body.config.get()).bytes(body.key.as_bytes());
                body.condition.encode(out);
                body.attributes.encode(out);
                out.u64(body.digest);
                match &body.payload {
                    RecordPayload::Inline(bytes) => {
                        out.u8(0).bounded(bytes, INLINE_BYTES_MAX, "payload");
                    }
                    RecordPayload::Bulk(extents) => Extent::encode_all(extents, out.u8(1)),
                    RecordPayload::Stream(stream) => stream.encode(out.u8(2)),
                }
            }
            RecordBody::DeleteObject(body) => {
                out.u64(body.bucket.get()).u32(body.config.get()).bytes(body.key.as_bytes());
                body.version.encode(out);
                body.condition.encode(out);
            }
            RecordBody::SetTags(body) => {
                out.u64(body.bucket.get()).bytes(body.key.as_bytes());
                body.version.encode(out);
                out.count(body.tags.len(), TAGS_MAX, "tags");
                for (name, value) in &body.tags {
                    out.bounded(name.as_bytes(), TAG_KEY_BYTES_MAX, "tag key");
                    out.bounded(value.as_bytes(), TAG_VALUE_BYTES_MAX, "tag value");
                }
            }
            RecordBody::CreateUpload(body) => {
                out.u64(body.bucket.get()).bytes(body.key.as_bytes()).raw(&body.upload.0);
                body.attributes.encode(out);
                out.u8(body.checksum_algorithm).u8(u8::from(body.checksum_is_composite));
            }
            RecordBody::PutPart(body) => {
                out.u64(body.bucket.get()).bytes(body.key.as_bytes()).raw(&body.upload.0);
                out.u16(body.number.get());
                body.part.encode(out);
                out.u8(u8::from(body.stream.is_some()));
                if let Some(stream) = &body.stream {
                    stream.encode(out);
                }
            }
            RecordBody::CompleteUpload(body) => {
                out.u64(body.bucket.get()).u32(body.config.get()).bytes(body.key.as_bytes());
                out.raw(&body.upload.0).count(body.parts.len(), PARTS_MAX, "parts");
                for (number, md5) in &body.parts {
                    out.u16(number.get()).raw(md5);
                }
                body.condition.encode(out);
                encode_checksum(body.checksum.as_ref(), out);
            }
            RecordBody::AbortUpload { bucket, key, upload } => {
                out.u64(bucket.get()).bytes(key.as_bytes()).raw(&upload.0);
            }
            RecordBody::Cut { number } => {
                out.u64(number.get());
            }
            RecordBody::Data(data) => {
                out.raw(&data.stream.0).u32(data.index).u64(data.total);
                out.bounded(&data.bytes, DATA_BYTES_MAX, "payload of a stream");
            }
            RecordBody::Digest(digest) => {
                out.u32(digest.node.get()).u64(digest.cut.get()).raw(&digest.digest);
            }
            RecordBody::Claim { node, process, stage } => {
                let stage = match stage {
                    ClaimStage::Claim => 0,
                    ClaimStage::Object => 1,
                    ClaimStage::Confirm => 2,
                };
                out.u32(node.get()).raw(&process.0).u8(stage);
            }
            RecordBody::Abandon { stream } => {
                out.raw(&stream.0);
            }
            RecordBody::Room(room) => {
                out.u32(room.node.get()).u64(room.bytes);
            }
        }
    }

    fn decode(kind: u8, from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(match kind {
            kind::OPEN_WRITER => RecordBody::OpenWriter,
            kind::BARRIER => RecordBody::Barrier,
            kind::CREATE_BUCKET => {
                let error = from.error("bucket name");
                let name = BucketName::new(from.bytes(BUCKET_NAME_BYTES_MAX, "bucket name")?)
                    .map_err(|_| error)?;
                let owner = from.text(OWNER_BYTES_MAX, "owner")?;
                RecordBody::CreateBucket(CreateBucket {
                    name,
                    owner,
                    region: from.text(REGION_BYTES_MAX, "region")?,
                })
            }
            kind::DELETE_BUCKET => RecordBody::DeleteBucket {
                bucket: decode_bucket(from)?,
                seen: Offset::new(from.u64("offset of a look")?),
            },
            kind::SET_VERSIONING => RecordBody::SetVersioning {
                bucket: decode_bucket(from)?,
                versioning: Versioning::decode(from)?,
            },
            kind::PUT_OBJECT => RecordBody::PutObject(PutObject {
                bucket: decode_bucket(from)?,
                config: decode_config(from)?,
                key: decode_key(from)?,
                condition: WriteCondition::decode(from)?,
                attributes: Attributes::decode(from)?,
                digest: from.u64("digest")?,
                payload: RecordPayload::decode(from)?,
            }),
            kind::DELETE_OBJECT => RecordBody::DeleteObject(DeleteObject {
                bucket: decode_bucket(from)?,
                config: decode_config(from)?,
                key: decode_key(from)?,
                version: VersionRef::decode(from)?,
                condition: WriteCondition::decode(from)?,
            }),
            kind::SET_TAGS => RecordBody::SetTags(SetTags {
                bucket: decode_bucket(from)?,
                key: decode_key(from)?,
                version: VersionRef::decode(from)?,
                tags: {
                    let count = from.count(TAGS_MAX, "tags")?;
                    let tag = |from: &mut Decoder| {
                        Ok((
                            from.text(TAG_KEY_BYTES_MAX, "tag key")?,
                            from.text(TAG_VALUE_BYTES_MAX, "tag value")?,
                        ))
                    };
                    (0..count).map(|_| tag(from)).collect::<Result<_, DecodeError>>()?
                },
            }),
            kind::CREATE_UPLOAD => RecordBody::CreateUpload(CreateUpload {
                bucket: decode_bucket(from)?,
                key: decode_key(from)?,
                upload: decode_upload(from)?,
                attributes: Attributes::decode(from)?,
                checksum_algorithm: from.u8("checksum algorithm")?,
                checksum_is_composite: get_bool(from, "checksum type")?,
            }),
            kind::PUT_PART => RecordBody::PutPart(PutPart {
                bucket: decode_bucket(from)?,
                key: decode_key(from)?,
                upload: decode_upload(from)?,
                number: PartNumber::new(from.u16("part number")?),
                part: UploadPart::decode(from)?,
                stream: match get_bool(from, "stream of a part")? {
                    true => Some(StreamRef::decode(from)?),
                    false => None,
                },
            }),
            kind::COMPLETE_UPLOAD => {
                let bucket = decode_bucket(from)?;
                let config = decode_config(from)?;
                let key = decode_key(from)?;
                let upload = decode_upload(from)?;
                let count = from.count(PARTS_MAX, "parts")?;
                let part = |from: &mut Decoder| {
                    Ok((PartNumber::new(from.u16("part number")?), from.array("part md5")?))
                };
                let parts = (0..count).map(|_| part(from)).collect::<Result<_, DecodeError>>()?;
                let condition = WriteCondition::decode(from)?;
                let checksum = decode_checksum(from)?;
                RecordBody::CompleteUpload(CompleteUpload {
                    bucket,
                    config,
                    key,
                    upload,
                    parts,
                    condition,
                    checksum,
                })
            }
            kind::ABORT_UPLOAD => RecordBody::AbortUpload {
                bucket: decode_bucket(from)?,
                key: decode_key(from)?,
                upload: decode_upload(from)?,
            },
            kind::CUT => RecordBody::Cut { number: CutNumber::new(from.u64("cut number")?) },
            kind::DATA => RecordBody::Data(StreamPiece {
                stream: StreamId(from.array("stream")?),
                index: from.u32("index in a stream")?,
                total: from.u64("length of a stream")?,
                bytes: from.bytes(DATA_BYTES_MAX, "payload of a stream")?,
            }),
            kind::DIGEST => RecordBody::Digest(CutDigest {
                node: NodeId::new(from.u32("node")?),
                cut: CutNumber::new(from.u64("cut number")?),
                digest: from.array("digest")?,
            }),
            kind::CLAIM => RecordBody::Claim {
                node: NodeId::new(from.u32("node")?),
                process: WriterId(from.array("process")?),
                stage: {
                    let error = from.error("stage of a claim");
                    match from.u8("stage of a claim")? {
                        0 => ClaimStage::Claim,
                        1 => ClaimStage::Object,
                        2 => ClaimStage::Confirm,
                        _ => return Err(error),
                    }
                },
            },
            kind::ABANDON => RecordBody::Abandon { stream: StreamId(from.array("stream")?) },
            kind::ROOM => RecordBody::Room(RoomReport {
                node: NodeId::new(from.u32("node")?),
                bytes: from.u64("room")?,
            }),
            _ => return Err(DecodeError { what: "record kind", position: 1 }),
        })
    }
}

#[cfg(test)]
mod tests;
