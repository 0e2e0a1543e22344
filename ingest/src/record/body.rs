//! The bodies of records: one variant for each kind, and the dispatch to the code of each kind.

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::ids::{BucketId, BulkId, CutNumber, NodeId, Offset, StreamId, WriterId};
use crate::name::{OBJECT_KEY_BYTES_MAX, ObjectKey};

use super::bucket::{CreateBucket, decode_deletion, encode_deletion};
use super::config::SetBucketConfig;
use super::control::{ClaimStage, CutDigest, RoomReport, decode_claim, decode_cut, encode_claim};
use super::event_cursor::EventCursor;
use super::kind::RecordKind;
use super::object::{DeleteObject, PutObject, RecordPayload, SetTags};
use super::part::RecordPart;
use super::rename::RenameObject;
use super::stream::{StreamPiece, StreamRef, decode_stream};
use super::upload::{AbortUpload, CompleteUpload, CreateUpload, PutPart};

/// The request, or the statement of the store, that a record carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordBody {
    /// The writer's instance begins. Records of older instances are refused from here on.
    OpenWriter,
    /// A bucket is to exist.
    CreateBucket(CreateBucket),
    /// A bucket is to be removed, if it is empty.
    DeleteBucket {
        /// The bucket.
        bucket: BucketId,
        /// The offset as of which the writer of this record found the bucket empty. Only a write at or above that
        /// offset can have changed that.
        seen: Offset,
    },
    /// One configuration document of a bucket is set or removed.
    SetBucketConfig(SetBucketConfig),
    /// An object version is to exist.
    PutObject(PutObject),
    /// An object, or one version of an object, is to be removed.
    DeleteObject(DeleteObject),
    /// An object version's tags are replaced.
    SetTags(SetTags),
    /// A multipart upload begins.
    CreateUpload(CreateUpload),
    /// A part of an upload is stored.
    PutPart(PutPart),
    /// An upload becomes an object.
    CompleteUpload(CompleteUpload),
    /// An upload is given up.
    AbortUpload(AbortUpload),
    /// All records below this one are to be folded into sealed files.
    Cut {
        /// One more than the last cut. Any other number is ignored, so that races do no harm.
        number: CutNumber,
    },
    /// No change. A reader that has met this record has met every record before it.
    Barrier,
    /// Payload of a large object, sent to every node. Without a record that names the stream, the payload has no
    /// effect.
    Data(StreamPiece),
    /// The digest that a node computed of the log up to a cut.
    Digest(CutDigest),
    /// A step in deciding which process has a node's id.
    Claim {
        /// The node's id.
        node: NodeId,
        /// The process that wants the id; random.
        process: WriterId,
        /// The step.
        stage: ClaimStage,
    },
    /// A stream has been given up: no record will name it.
    Abandon {
        /// The stream.
        stream: StreamId,
    },
    /// The free space of a node.
    Room(RoomReport),
    /// Events of a queue have been delivered, or a process takes over their delivery.
    EventCursor(EventCursor),
    /// An object gets another key.
    RenameObject(RenameObject),
}

impl RecordBody {
    /// The kind of the record.
    pub fn kind(&self) -> RecordKind {
        match self {
            RecordBody::OpenWriter => RecordKind::OpenWriter,
            RecordBody::CreateBucket(_) => RecordKind::CreateBucket,
            RecordBody::DeleteBucket { .. } => RecordKind::DeleteBucket,
            RecordBody::SetBucketConfig(_) => RecordKind::SetBucketConfig,
            RecordBody::PutObject(_) => RecordKind::PutObject,
            RecordBody::DeleteObject(_) => RecordKind::DeleteObject,
            RecordBody::SetTags(_) => RecordKind::SetTags,
            RecordBody::CreateUpload(_) => RecordKind::CreateUpload,
            RecordBody::PutPart(_) => RecordKind::PutPart,
            RecordBody::CompleteUpload(_) => RecordKind::CompleteUpload,
            RecordBody::AbortUpload(_) => RecordKind::AbortUpload,
            RecordBody::Cut { .. } => RecordKind::Cut,
            RecordBody::Barrier => RecordKind::Barrier,
            RecordBody::Data(_) => RecordKind::Data,
            RecordBody::Digest(_) => RecordKind::Digest,
            RecordBody::Claim { .. } => RecordKind::Claim,
            RecordBody::Abandon { .. } => RecordKind::Abandon,
            RecordBody::Room(_) => RecordKind::Room,
            RecordBody::EventCursor(_) => RecordKind::EventCursor,
            RecordBody::RenameObject(_) => RecordKind::RenameObject,
        }
    }

    /// See [`super::Record::grows`].
    pub(super) fn grows(&self) -> bool {
        match self {
            RecordBody::SetBucketConfig(set) => set.grows(),
            other => other.kind().grows(),
        }
    }

    /// Appends the body, without its kind.
    pub(super) fn encode(&self, out: &mut Encoder) {
        match self {
            RecordBody::OpenWriter | RecordBody::Barrier => {}
            RecordBody::CreateBucket(body) => body.encode(out),
            RecordBody::DeleteBucket { bucket, seen } => encode_deletion(*bucket, *seen, out),
            RecordBody::SetBucketConfig(body) => body.encode(out),
            RecordBody::PutObject(body) => body.encode(out),
            RecordBody::DeleteObject(body) => body.encode(out),
            RecordBody::SetTags(body) => body.encode(out),
            RecordBody::CreateUpload(body) => body.encode(out),
            RecordBody::PutPart(body) => body.encode(out),
            RecordBody::CompleteUpload(body) => body.encode(out),
            RecordBody::AbortUpload(body) => body.encode(out),
            RecordBody::Cut { number } => {
                out.u64(number.get());
            }
            RecordBody::Data(piece) => piece.encode(out),
            RecordBody::Digest(digest) => digest.encode(out),
            RecordBody::Claim { node, process, stage } => {
                encode_claim(*node, *process, *stage, out);
            }
            RecordBody::Abandon { stream } => {
                out.raw(&stream.0);
            }
            RecordBody::Room(report) => report.encode(out),
            RecordBody::EventCursor(cursor) => cursor.encode(out),
            RecordBody::RenameObject(body) => body.encode(out),
        }
    }

    /// Takes the body of a kind off. Fails for bytes that [`RecordBody::encode`] never writes.
    pub(super) fn decode(kind: RecordKind, from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(match kind {
            RecordKind::OpenWriter => RecordBody::OpenWriter,
            RecordKind::Barrier => RecordBody::Barrier,
            RecordKind::CreateBucket => RecordBody::CreateBucket(CreateBucket::decode(from)?),
            RecordKind::DeleteBucket => {
                let (bucket, seen) = decode_deletion(from)?;
                RecordBody::DeleteBucket { bucket, seen }
            }
            RecordKind::SetBucketConfig => {
                RecordBody::SetBucketConfig(SetBucketConfig::decode(from)?)
            }
            RecordKind::PutObject => RecordBody::PutObject(PutObject::decode(from)?),
            RecordKind::DeleteObject => RecordBody::DeleteObject(DeleteObject::decode(from)?),
            RecordKind::SetTags => RecordBody::SetTags(SetTags::decode(from)?),
            RecordKind::CreateUpload => RecordBody::CreateUpload(CreateUpload::decode(from)?),
            RecordKind::PutPart => RecordBody::PutPart(PutPart::decode(from)?),
            RecordKind::CompleteUpload => RecordBody::CompleteUpload(CompleteUpload::decode(from)?),
            RecordKind::AbortUpload => RecordBody::AbortUpload(AbortUpload::decode(from)?),
            RecordKind::Cut => RecordBody::Cut { number: decode_cut(from)? },
            RecordKind::Data => RecordBody::Data(StreamPiece::decode(from)?),
            RecordKind::Digest => RecordBody::Digest(CutDigest::decode(from)?),
            RecordKind::Claim => {
                let (node, process, stage) = decode_claim(from)?;
                RecordBody::Claim { node, process, stage }
            }
            RecordKind::Abandon => RecordBody::Abandon { stream: decode_stream(from)? },
            RecordKind::Room => RecordBody::Room(RoomReport::decode(from)?),
            RecordKind::EventCursor => RecordBody::EventCursor(EventCursor::decode(from)?),
            RecordKind::RenameObject => RecordBody::RenameObject(RenameObject::decode(from)?),
        })
    }

    /// The bucket and the key, for a record about an object; `None` for every other record. The key of a rename is the
    /// new one.
    pub fn target(&self) -> Option<(BucketId, &ObjectKey)> {
        match self {
            RecordBody::PutObject(body) => Some((body.bucket, &body.key)),
            RecordBody::DeleteObject(body) => Some((body.bucket, &body.key)),
            RecordBody::SetTags(body) => Some((body.bucket, &body.key)),
            RecordBody::CreateUpload(body) => Some((body.bucket, &body.key)),
            RecordBody::PutPart(body) => Some((body.bucket, &body.key)),
            RecordBody::CompleteUpload(body) => Some((body.bucket, &body.key)),
            RecordBody::AbortUpload(body) => Some((body.bucket, &body.key)),
            RecordBody::RenameObject(body) => Some((body.bucket, &body.key)),
            RecordBody::OpenWriter
            | RecordBody::CreateBucket(_)
            | RecordBody::DeleteBucket { .. }
            | RecordBody::SetBucketConfig(_)
            | RecordBody::Cut { .. }
            | RecordBody::Data(_)
            | RecordBody::Digest(_)
            | RecordBody::Claim { .. }
            | RecordBody::Abandon { .. }
            | RecordBody::Room(_)
            | RecordBody::EventCursor(_)
            | RecordBody::Barrier => None,
        }
    }

    /// A bound on the encoded bytes of the body, without encoding it.
    pub(super) fn bytes_estimate(&self) -> usize {
        match self {
            RecordBody::PutObject(body) => body.bytes_estimate(),
            RecordBody::SetTags(body) => body.bytes_estimate(),
            RecordBody::CreateUpload(body) => body.bytes_estimate(),
            RecordBody::PutPart(body) => body.bytes_estimate(),
            RecordBody::CompleteUpload(body) => body.bytes_estimate(),
            RecordBody::Data(piece) => piece.bytes.len() + 64,
            RecordBody::Abandon { .. } | RecordBody::Room(_) => 32,
            RecordBody::EventCursor(cursor) => cursor.bytes_estimate(),
            RecordBody::AbortUpload(body) => body.bytes_estimate(),
            RecordBody::CreateBucket(body) => body.bytes_estimate(),
            RecordBody::SetBucketConfig(body) => body.bytes_estimate(),
            RecordBody::DeleteObject(body) => body.bytes_estimate(),
            RecordBody::RenameObject(body) => body.bytes_estimate(),
            RecordBody::OpenWriter
            | RecordBody::DeleteBucket { .. }
            | RecordBody::Cut { .. }
            | RecordBody::Barrier
            | RecordBody::Digest(_)
            | RecordBody::Claim { .. } => OBJECT_KEY_BYTES_MAX + 512,
        }
    }

    /// See [`super::Record::stream`].
    pub(super) fn stream(&self) -> Option<StreamRef> {
        match self {
            RecordBody::PutObject(PutObject { payload: RecordPayload::Stream(stream), .. }) => {
                Some(*stream)
            }
            RecordBody::PutPart(put) => put.stream,
            _ => None,
        }
    }

    /// See [`super::Record::bulk_files`].
    pub(super) fn bulk_files(&self) -> Vec<BulkId> {
        let extents = match self {
            RecordBody::PutObject(PutObject { payload: RecordPayload::Bulk(extents), .. }) => {
                extents
            }
            RecordBody::PutPart(put) => &put.part.extents,
            _ => return Vec::new(),
        };
        extents.iter().map(|extent| extent.file).collect()
    }
}
