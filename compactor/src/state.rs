//! Folded state besides object versions: buckets, open uploads and their parts, writers.
//!
//! A cut writes the state as keyed entries to a table beside the manifest, the *state table* of the run. A
//! change without a value removes the key. `docs/formats/state.md` specifies keys and values.
//!
//! ```text
//!   b bucket-id                      -> BucketState
//!   d stream-id                      -> StreamState
//!   l bucket-id                      -> offset of the last write, see LastWrites
//!   m queue                          -> EventQueue
//!   n queue 00 offset rule           -> ObjectEvent
//!   r bucket-id token                -> CompletedRename
//!   u bucket-id key 00 00 upload-id  -> UploadState, open
//!   v bucket-id key 00 00 upload-id  -> UploadState, completed
//!   p upload-id part-number          -> Part
//!   w writer-id                      -> WriterState
//! ```

mod bucket;
mod completed_rename;
mod event;
mod event_queue;
mod last_writes;
mod stream;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ingest::codec::{DecodeError, Decoder, Encoder};
use ingest::entry::{Attributes, EntryKey, PARTS_MAX};
use ingest::ids::{BucketId, Epoch, Offset, PartNumber, Sequence, StreamId, UploadId, WriterId};
use ingest::record::{RecordId, UploadPart};
use ingest::time::WallTime;

use crate::outcome::{RecordOutcome, Rejection, WrittenVersion};

pub use bucket::{BucketState, Buckets, ConfigDocument};
pub use completed_rename::{CompletedRename, RENAME_TOKEN_RECORDS};
pub use event::{DueEvent, NewEvent, ObjectEvent, event_bytes};
pub use event_queue::{EventFloors, EventQueue, EventQueues};
pub use last_writes::LastWrites;
pub use stream::StreamState;

/// The sort key of a state entry, as the table of the module shows. Numbers are big-endian, because keys
/// are ordered by their bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StateKey(pub Bytes);

impl StateKey {
    /// The key of a bucket. Keys of buckets are in the order of the bucket ids.
    pub fn bucket(bucket: BucketId) -> Self {
        Self([b"b".as_slice(), &bucket.get().to_be_bytes()].concat().into())
    }

    /// The first byte of the keys of all buckets, and of no other key.
    pub const BUCKETS: &[u8] = b"b";

    /// The key of a stream of payload that is still incomplete at a cut. The order of stream ids, which are
    /// random, has no meaning.
    pub fn stream(stream: StreamId) -> Self {
        Self([b"d".as_slice(), &stream.0].concat().into())
    }

    /// The first byte of the keys of all streams, and of no other key.
    pub const STREAMS: &[u8] = b"d";

    /// Returns true for the key of a stream. Only the first byte is read, so the rest may be malformed.
    pub fn is_stream(&self) -> bool {
        self.0.first() == Some(&b'd')
    }

    /// The key of the offset of a bucket's last write; see [`LastWrites`]. Must be removed with the bucket.
    pub fn last_write(bucket: BucketId) -> Self {
        Self([Self::LAST_WRITES, &bucket.get().to_be_bytes()].concat().into())
    }

    /// The first byte of the keys of all last writes, and of no other key.
    pub const LAST_WRITES: &[u8] = b"l";

    /// The first byte of the keys of all writers, and of no other key.
    pub const WRITERS: &[u8] = b"w";

    /// The key of an open upload of an object. Uploads of one bucket are in the order of their object keys, then of
    /// their ids.
    pub fn upload(bucket: BucketId, key: &[u8], upload: UploadId) -> Self {
        let mut out = Self::uploads_from(bucket, key).to_vec();
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&upload.0);
        Self(out.into())
    }

    /// The key of a completed upload of an object. Completed uploads have keys of their own, so that a listing of open ones
    /// does not read them: a busy bucket has many more of them.
    pub fn completed_upload(bucket: BucketId, key: &[u8], upload: UploadId) -> Self {
        Self(completed(&Self::upload(bucket, key, upload).0))
    }

    /// The lower bound and the end of the keys of a bucket's completed uploads.
    pub fn completed_uploads(bucket: BucketId) -> (Bytes, Bytes) {
        (completed(&Self::uploads_from(bucket, b"")), completed(&Self::uploads_end(bucket)))
    }

    /// Returns true for the key of a completed upload. Only the first byte is read, so the rest may be malformed.
    pub fn is_completed_upload(&self) -> bool {
        self.0.first() == Some(&b'v')
    }

    /// The lower bound of the uploads for `key` and for all later keys of the bucket. The uploads for earlier
    /// keys are below the bound.
    pub fn uploads_from(bucket: BucketId, key: &[u8]) -> Bytes {
        [b"u".as_slice(), &EntryKey::seek_key(bucket, key)].concat().into()
    }

    /// The bound after the uploads for `key`: above all of them, and at or below the uploads for all later
    /// keys of the bucket.
    pub fn uploads_after(bucket: BucketId, key: &[u8]) -> Bytes {
        [b"u".as_slice(), &EntryKey::seek_after_key(bucket, key)].concat().into()
    }

    /// The bound after the uploads for keys that begin with `prefix`. `None` if no key of the bucket can come
    /// after them, because the prefix is empty or consists of bytes `FF` only.
    pub fn uploads_after_prefix(bucket: BucketId, prefix: &[u8]) -> Option<Bytes> {
        let after = EntryKey::seek_after_prefix(bucket, prefix)?;
        Some([b"u".as_slice(), &after].concat().into())
    }

    /// The bound after all uploads of the bucket, at or below the uploads of buckets with higher ids.
    pub fn uploads_end(bucket: BucketId) -> Bytes {
        [b"u".as_slice(), &EntryKey::seek_after_bucket(bucket)].concat().into()
    }

    /// Parses the key of an open upload into bucket, object key and upload id. `None` for a key of another kind,
    /// and for bytes that [`Self::upload`] never makes; callers must treat the second case as corruption.
    pub fn parse_upload(&self) -> Option<(BucketId, Bytes, UploadId)> {
        let body = self.0.strip_prefix(b"u")?;
        let (entry, upload) = body.split_last_chunk::<16>()?;
        // With a version and an offset at its end the rest has the form of an entry key, which can be parsed.
        let entry = [entry, &[0u8; 16]].concat();
        let entry = EntryKey::from_bytes(entry.into()).ok()?;
        Some((entry.bucket(), entry.object_key(), UploadId(*upload)))
    }

    /// The key of a part of an upload. Keys of one upload's parts are in the order of the part numbers.
    pub fn part(upload: UploadId, number: PartNumber) -> Self {
        Self([b"p".as_slice(), &upload.0, &number.get().to_be_bytes()].concat().into())
    }

    /// The lower bound of the parts of an upload from `number` on, that number included. Parts with lower
    /// numbers are below the bound.
    pub fn parts_from(upload: UploadId, number: PartNumber) -> Bytes {
        Self::part(upload, number).0
    }

    /// The bound after all parts of the upload, up to the highest number that a key can have.
    pub fn parts_end(upload: UploadId) -> Bytes {
        [b"p".as_slice(), &upload.0, &[0xff, 0xff, 0]].concat().into()
    }

    /// The part number in the key of a part, which must have been checked by [`Self::is_part`] before. `None`
    /// only for a key of fewer than two bytes.
    pub fn part_number(&self) -> Option<PartNumber> {
        self.0.last_chunk().map(|bytes| PartNumber::new(u16::from_be_bytes(*bytes)))
    }

    /// Returns true for the key of a part. Only the first byte is read, so the rest may be malformed.
    pub fn is_part(&self) -> bool {
        self.0.first() == Some(&b'p')
    }

    /// The key of a writer's state. The order of writer ids, which are random, has no meaning.
    pub fn writer(writer: WriterId) -> Self {
        Self([b"w".as_slice(), &writer.0].concat().into())
    }
}

/// Returns the key or bound of completed uploads that corresponds to one of open uploads.
fn completed(open: &[u8]) -> Bytes {
    [b"v".as_slice(), &open[1..]].concat().into()
}

/// The state of a multipart upload. An aborted upload has none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UploadState {
    /// Parts are accepted.
    Open(OpenUpload),
    /// The upload has become an object. The state stays for [`COMPLETED_UPLOAD_RECORDS`] records, so that a
    /// repeated completion gets the first outcome.
    Completed {
        /// The outcome of the completion.
        written: WrittenVersion,
        /// The number and MD5 of each part that the completion named, in its order.
        parts: Vec<(PartNumber, [u8; 16])>,
        /// The offset of the record that completed the upload.
        at: Offset,
    },
}

/// An upload that accepts parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenUpload {
    /// The time of the record that created the upload.
    pub created: WallTime,
    /// The attributes of the future object, as far as they are known before the completion.
    pub attributes: Attributes,
    /// The number of the checksum algorithm that the client announced; 0 for none.
    pub checksum_algorithm: u8,
    /// True if the object's checksum must be computed from the parts' checksums, false if it must be that of the whole
    /// object.
    pub checksum_is_composite: bool,
}

/// The number of records after its completion for which a completed upload answers a repeated completion with the first
/// outcome.
pub const COMPLETED_UPLOAD_RECORDS: u64 = 1_000_000;

impl UploadState {
    /// Encodes the value of an upload's key. Panics for more than [`PARTS_MAX`] parts, which no completion may
    /// name.
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::new();
        match self {
            UploadState::Open(open) => {
                out.u8(1).i64(open.created.micros()).u8(open.checksum_algorithm);
                out.u8(u8::from(open.checksum_is_composite));
                open.attributes.encode(&mut out);
            }
            UploadState::Completed { written, parts, at } => {
                out.u8(2).u64(at.get());
                RecordOutcome::Written(*written).encode(&mut out);
                out.count(parts.len(), PARTS_MAX, "parts");
                for (number, md5) in parts {
                    out.u16(number.get()).raw(md5);
                }
            }
        }
        out.finish()
    }

    /// Decodes the value of an upload's key. Fails for an unknown kind, for a completion whose outcome is not
    /// `Written`, for more than [`PARTS_MAX`] parts, and for bytes that are missing or left over.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let error = from.error("upload state");
        let state = match from.u8("upload state")? {
            1 => UploadState::Open(OpenUpload {
                created: WallTime::from_micros(from.i64("time")?),
                checksum_algorithm: from.u8("checksum algorithm")?,
                checksum_is_composite: from.u8("checksum type")? == 1,
                attributes: Attributes::decode(&mut from)?,
            }),
            2 => {
                let at = Offset::new(from.u64("offset")?);
                let RecordOutcome::Written(written) = RecordOutcome::decode(&mut from)? else {
                    return Err(error);
                };
                let count = from.count(PARTS_MAX, "parts")?;
                let part = |from: &mut Decoder| {
                    Ok((PartNumber::new(from.u16("part number")?), from.array("part md5")?))
                };
                let parts =
                    (0..count).map(|_| part(&mut from)).collect::<Result<_, DecodeError>>()?;
                UploadState::Completed { written, parts, at }
            }
            _ => return Err(error),
        };
        from.end("end of upload state")?;
        Ok(state)
    }
}

/// Encodes the value of a part's key. `created` is the time of the record that stored the part.
pub fn encode_part(part: &UploadPart, created: WallTime) -> Bytes {
    let mut out = Encoder::new();
    out.i64(created.micros());
    part.encode(&mut out);
    out.finish()
}

/// Decodes the value of a part's key: the time of the record that stored the part, and the part. Fails for
/// bytes that [`encode_part`] never writes.
pub fn decode_part(bytes: Bytes) -> Result<(WallTime, UploadPart), DecodeError> {
    let mut from = Decoder::new(bytes);
    let created = WallTime::from_micros(from.i64("time")?);
    let part = UploadPart::decode(&mut from)?;
    from.end("end of part")?;
    Ok((created, part))
}

/// The number of latest outcomes that are kept for each writer.
pub const OUTCOMES_MAX: usize = 1024;

/// The number of records in the log after a writer's last record for which the writer's state is kept.
pub const WRITER_RECORDS: u64 = 1_000_000;

/// The state of one writer, by which the fold recognises repeated records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WriterState {
    /// The number of the newest instance. Records of older instances are rejected.
    pub epoch: Epoch,
    /// The number of the writer's last record that the fold has processed.
    pub last: Sequence,
    /// The offset of that record, or of the record that opened the newest instance, if that is later.
    pub seen: Offset,
    /// The outcomes of the writer's latest records, at most [`OUTCOMES_MAX`]; that of `last` is at the back.
    pub outcomes: VecDeque<RecordOutcome>,
}

impl WriterState {
    /// Encodes the value of a writer's key. Panics for more than [`OUTCOMES_MAX`] outcomes, which
    /// [`WriterStates::record`] never keeps.
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::new();
        out.u32(self.epoch.get()).u64(self.last.get()).u64(self.seen.get());
        out.count(self.outcomes.len(), OUTCOMES_MAX, "outcomes");
        for outcome in &self.outcomes {
            outcome.encode(&mut out);
        }
        out.finish()
    }

    /// Decodes the value of a writer's key. Fails for more than [`OUTCOMES_MAX`] outcomes, and for bytes that
    /// are missing or left over.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let epoch = Epoch::new(from.u32("epoch")?);
        let last = Sequence::new(from.u64("sequence")?);
        let seen = Offset::new(from.u64("offset")?);
        let count = from.count(OUTCOMES_MAX, "outcomes")?;
        let outcomes = (0..count)
            .map(|_| RecordOutcome::decode(&mut from))
            .collect::<Result<_, DecodeError>>()?;
        from.end("end of writer")?;
        Ok(Self { epoch, last, seen, outcomes })
    }
}

/// The decision about a numbered record, by its writer, epoch and sequence alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordAdmission {
    /// The record is the writer's next one and must be applied.
    Next,
    /// The record was processed before, with this outcome, and must not be applied again.
    Repeated(RecordOutcome),
    /// The record must not be applied.
    Rejected(Rejection),
}

/// The states of all writers that are kept. With them the fold applies a record once, even if the log
/// contains copies of the record.
#[derive(Clone, Default, Debug)]
pub struct WriterStates {
    by_id: BTreeMap<WriterId, WriterState>,
}

impl WriterStates {
    /// Restores a writer from the state tables. Called at a start, before any record is folded.
    pub fn restore(&mut self, id: WriterId, state: WriterState) {
        self.by_id.insert(id, state);
    }

    /// The states of all writers, in the order of their ids, as a cut must write them.
    pub fn iter(&self) -> impl Iterator<Item = (&WriterId, &WriterState)> {
        self.by_id.iter()
    }

    /// The number of the last record of a writer that was processed; `None` for a writer that was never
    /// opened or has expired.
    pub fn last(&self, id: &WriterId) -> Option<Sequence> {
        self.by_id.get(id).map(|writer| writer.last)
    }

    /// Decides if a numbered record must be applied. Changes nothing; after the record has been applied, its
    /// outcome must be passed to [`Self::record`] before the next record is decided.
    ///
    /// An unknown writer and another epoch than the newest give `WrongEpoch`, a number after the next one gives
    /// `SequenceGap`, and a repetition whose outcome is no longer kept gives `Expired`.
    pub fn admit(&self, id: &RecordId) -> RecordAdmission {
        let Some(writer) = self.by_id.get(&id.writer) else {
            return RecordAdmission::Rejected(Rejection::WrongEpoch);
        };
        if id.epoch != writer.epoch {
            return RecordAdmission::Rejected(Rejection::WrongEpoch);
        }
        if id.sequence > writer.last {
            let is_next = id.sequence == writer.last.next();
            return if is_next {
                RecordAdmission::Next
            } else {
                RecordAdmission::Rejected(Rejection::SequenceGap)
            };
        }
        let back = (writer.last.get() - id.sequence.get()) as usize;
        match writer.outcomes.iter().nth_back(back) {
            Some(outcome) => RecordAdmission::Repeated(*outcome),
            None => RecordAdmission::Rejected(Rejection::Expired),
        }
    }

    /// Opens an instance of a writer. An unknown writer begins after `id.sequence`; a known one continues after
    /// its last processed record. An instance that is not newer than the known one changes nothing, and the
    /// outcome is `WrongEpoch`.
    pub fn open(&mut self, id: &RecordId, at: Offset) -> RecordOutcome {
        match self.by_id.get_mut(&id.writer) {
            Some(writer) if id.epoch <= writer.epoch => {
                return RecordOutcome::Rejected(Rejection::WrongEpoch);
            }
            // Outcomes of the old instance stay, so that a repeated record gets the first outcome.
            Some(writer) => {
                writer.epoch = id.epoch;
                writer.seen = at;
            }
            None => {
                let writer = WriterState {
                    epoch: id.epoch,
                    last: id.sequence,
                    seen: at,
                    outcomes: VecDeque::new(),
                };
                self.by_id.insert(id.writer, writer);
            }
        }
        RecordOutcome::Done
    }

    /// Stores the outcome of the writer's next record, for which [`Self::admit`] has returned `Next`. The oldest
    /// outcome is dropped when there are more than [`OUTCOMES_MAX`].
    pub fn record(&mut self, id: &RecordId, at: Offset, outcome: RecordOutcome) {
        let Some(writer) = self.by_id.get_mut(&id.writer) else {
            return;
        };
        writer.last = id.sequence;
        writer.seen = at;
        if writer.outcomes.len() == OUTCOMES_MAX {
            writer.outcomes.pop_front();
        }
        writer.outcomes.push_back(outcome);
    }

    /// Removes the writers whose last record is more than [`WRITER_RECORDS`] offsets before `now`, and returns
    /// their ids in order. Called only at cuts. The decision depends on offsets alone, so all nodes agree.
    pub fn expire(&mut self, now: Offset) -> Vec<WriterId> {
        let is_silent =
            |writer: &WriterState| now.get().saturating_sub(writer.seen.get()) > WRITER_RECORDS;
        let silent: Vec<WriterId> =
            self.by_id.iter().filter(|(_, w)| is_silent(w)).map(|(id, _)| *id).collect();
        for id in &silent {
            self.by_id.remove(id);
        }
        silent
    }
}

#[cfg(test)]
mod tests;
