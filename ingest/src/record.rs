//! Record format v3: one fact in the log. `docs/formats/record.md` specifies the bytes.
//!
//! A record carries a client's request and the configuration under which the request was accepted. The outcome
//! is decided where the log is applied, the same on every replica. Everything that the decision needs is inside:
//! no clock, no look-up by name, no default that a later version might change.
//!
//! `kind.rs` is the table of kinds, `body.rs` dispatches to the code of each; the bodies of a family stand in one
//! file, encoding beside decoding.

mod body;
mod bucket;
mod config;
mod control;
mod event_cursor;
mod fields;
mod kind;
mod notification;
mod object;
mod part;
mod rename;
mod stream;
mod upload;

use bytes::Bytes;

use crate::codec::{DecodeError, Decoder, EncodeError, Encoder};
use crate::entry::OWNER_BYTES_MAX;
use crate::ids::{BucketId, BulkId, Epoch, Sequence, WriterId};
use crate::time::WallTime;

pub use body::RecordBody;
pub use bucket::{CreateBucket, REGION_BYTES_MAX, Versioning};
pub use config::{
    CONFIG_BYTES_MAX, CONFIG_DOCUMENT_BYTES_MAX, CONFIG_DOCUMENTS_MAX, ConfigKind, SetBucketConfig,
    decode_document, encode_document,
};
pub use control::{ClaimStage, CutDigest, RoomReport};
pub use event_cursor::{EventCursor, EventPosition};
pub use kind::RecordKind;
pub use notification::{
    ARN_BYTES_MAX, EventName, NOTIFICATION_RULES_MAX, NotificationRule, NotificationRules,
    QUEUE_BYTES_MAX, RULE_ID_BYTES_MAX, RuleElement,
};
pub use object::{
    DeleteObject, INLINE_BYTES_MAX, PutObject, RecordPayload, SetTags, TAG_KEY_BYTES_MAX,
    TAG_VALUE_BYTES_MAX, TAGS_MAX, VersionRef, WriteCondition,
};
pub use rename::{CLIENT_TOKEN_BYTES_MAX, RenameCondition, RenameObject};
pub use stream::{DATA_BYTES_MAX, StreamPiece, StreamRef};
pub use upload::{AbortUpload, CompleteUpload, CreateUpload, PutPart, UploadPart};

/// The version that this code writes and reads.
pub const RECORD_VERSION: u8 = 3;

/// The most bytes that a record may have, payload included.
pub const RECORD_BYTES_MAX: usize = 8 << 20;

/// Longest name of a request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 256;

/// Names a record: the writer, the writer's instance and the record's number in the partition. A record that the
/// log delivers twice has the same name both times.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RecordId {
    /// The writer.
    pub writer: WriterId,
    /// The writer's instance.
    pub epoch: Epoch,
    /// The record's number, from 1; [`RecordBody::OpenWriter`] carries the last number of the instance before.
    pub sequence: Sequence,
}

/// One fact in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The name of the record.
    pub id: RecordId,
    /// The canonical id of the user who asked; empty for the store itself.
    pub principal: String,
    /// The id of the request, for tracing; empty for the store itself.
    pub request: String,
    /// The time that the writer gave the record, which is bounded by what the writer's monotonic clock allows. This
    /// time dates what the record makes. The epoch for a record that makes nothing.
    pub time: WallTime,
    /// The request.
    pub body: RecordBody,
}

impl Record {
    /// A record that the store writes by itself, and that dates nothing.
    pub fn of_the_store(id: RecordId, body: RecordBody) -> Self {
        let (principal, request, time) = Default::default();
        Self { id, principal, request, time, body }
    }

    /// Hash of the bucket and key that the record is about; 0 for a record about no object. Recovery of a damaged
    /// log names the keys concerned by these hashes.
    pub fn key_hash(&self) -> u64 {
        match self.body.target() {
            Some((bucket, key)) => key_hash(bucket, key.as_bytes()),
            None => 0,
        }
    }

    /// True for a record that makes the store larger. When room runs out, the rest of the room is kept for records
    /// that do not: removals, and the cuts that make space free.
    pub fn grows(&self) -> bool {
        self.body.grows()
    }

    /// True when the writer numbers the record, so that it is applied once and its outcome is remembered. A record
    /// that changes nothing, or that is recognised by its content, needs no number.
    pub fn is_numbered(&self) -> bool {
        self.body.kind().is_numbered()
    }

    /// The stream with the record's payload; `None` for payload that came another way.
    pub fn stream(&self) -> Option<StreamRef> {
        self.body.stream()
    }

    /// The bulk files in which the record's payload lies, one for each extent, in order.
    pub fn bulk_files(&self) -> Vec<BulkId> {
        self.body.bulk_files()
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

    /// A bound on the encoded length in bytes, for [`crate::log::Log::admit`], without encoding.
    pub fn bytes_estimate(&self) -> usize {
        self.body.bytes_estimate() + self.principal.len() + self.request.len() + 128
    }

    /// Encodes the record. The log frames and checksums the bytes.
    ///
    /// Panics when a field is beyond its limit, so callers ask [`Record::check`] before.
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::with_capacity(self.bytes_estimate());
        self.encode_into(&mut out);
        out.finish()
    }

    /// Checks that a log may take the record, since a record that cannot be decoded must not be acknowledged. Every
    /// record that came from outside is checked before it is numbered. Fails with the first field that is beyond
    /// its limit.
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
        out.u8(RECORD_VERSION).u8(self.body.kind().number());
        out.raw(&self.id.writer.0).u32(self.id.epoch.get()).u64(self.id.sequence.get());
        out.i64(self.time.micros());
        out.bounded(self.principal.as_bytes(), OWNER_BYTES_MAX, "principal");
        out.bounded(self.request.as_bytes(), REQUEST_BYTES_MAX, "request id");
        self.body.encode(out);
    }

    /// Decodes a record; the inline payload shares the input's memory. Fails for an unknown version or kind: a fold
    /// that skipped an unknown record would differ from one that knows it.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let version = from.u8("record version")?;
        if version != RECORD_VERSION {
            return Err(DecodeError { what: "a record of a version other than 3", position: 0 });
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
        let unknown = DecodeError { what: "record kind", position: 1 };
        let kind = RecordKind::of_number(kind).ok_or(unknown)?;
        let body = RecordBody::decode(kind, &mut from)?;
        from.end("end of record")?;
        Ok(Self { id, principal, request, time, body })
    }
}

/// Hash of a bucket and key; see [`Record::key_hash`]. Never 0.
pub fn key_hash(bucket: BucketId, key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(key, bucket.get()).max(1)
}

#[cfg(test)]
mod tests;
