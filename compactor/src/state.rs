//! Folded state besides object versions: buckets, open uploads and their parts, writers.
//!
//! All of it is keyed entries in a sibling of the manifest, the *state run*; a missing value is a
//! removal. `docs/formats/state.md` specifies keys and values.
//!
//! ```text
//!   b bucket-id                      -> BucketState
//!   d stream-id                      -> StreamState
//!   l bucket-id                      -> offset of the last write, see LastWrites
//!   u bucket-id key 00 00 upload-id  -> UploadState
//!   p upload-id part-number          -> Part
//!   w writer-id                      -> WriterState
//! ```

mod bucket;
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
pub use last_writes::LastWrites;
pub use stream::StreamState;

/// Sort key of a state entry; see the table above. Numbers are big-endian, so that bytes compare as
/// numbers do.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StateKey(pub Bytes);

impl StateKey {
    /// A bucket's.
    pub fn bucket(bucket: BucketId) -> Self {
        Self([b"b".as_slice(), &bucket.get().to_be_bytes()].concat().into())
    }

    /// Begins every bucket's.
    pub const BUCKETS: &[u8] = b"b";

    /// A stream's.
    pub fn stream(stream: StreamId) -> Self {
        Self([b"d".as_slice(), &stream.0].concat().into())
    }

    /// Begins every stream's.
    pub const STREAMS: &[u8] = b"d";

    /// Whether it is a stream's.
    pub fn is_stream(&self) -> bool {
        self.0.first() == Some(&b'd')
    }

    /// A bucket's last write.
    pub fn last_write(bucket: BucketId) -> Self {
        Self([Self::LAST_WRITES, &bucket.get().to_be_bytes()].concat().into())
    }

    /// Begins every last write's.
    pub const LAST_WRITES: &[u8] = b"l";

    /// Begins every writer's.
    pub const WRITERS: &[u8] = b"w";

    /// An upload's.
    pub fn upload(bucket: BucketId, key: &[u8], upload: UploadId) -> Self {
        let mut out = Self::uploads_from(bucket, key).to_vec();
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&upload.0);
        Self(out.into())
    }

    /// At or below the uploads for `key` and all later keys of the bucket.
    pub fn uploads_from(bucket: BucketId, key: &[u8]) -> Bytes {
        [b"u".as_slice(), &EntryKey::seek_key(bucket, key)].concat().into()
    }

    /// Above the uploads for `key`, at or below those for all later keys of the bucket.
    pub fn uploads_after(bucket: BucketId, key: &[u8]) -> Bytes {
        [b"u".as_slice(), &EntryKey::seek_after_key(bucket, key)].concat().into()
    }

    /// Above the uploads for keys that begin with `prefix`; `None` when nothing can be above within the
    /// bucket.
    pub fn uploads_after_prefix(bucket: BucketId, prefix: &[u8]) -> Option<Bytes> {
        let after = EntryKey::seek_after_prefix(bucket, prefix)?;
        Some([b"u".as_slice(), &after].concat().into())
    }

    /// Above all uploads of the bucket.
    pub fn uploads_end(bucket: BucketId) -> Bytes {
        [b"u".as_slice(), &EntryKey::seek_after_bucket(bucket)].concat().into()
    }

    /// The key and the id in an upload's state key.
    pub fn parse_upload(&self) -> Option<(BucketId, Bytes, UploadId)> {
        let body = self.0.strip_prefix(b"u")?;
        let (entry, upload) = body.split_last_chunk::<16>()?;
        // Completed with a version and a sequence it has the form of an entry key, which can be taken apart.
        let entry = [entry, &[0u8; 16]].concat();
        let entry = EntryKey::from_bytes(entry.into()).ok()?;
        Some((entry.bucket(), entry.object_key(), UploadId(*upload)))
    }

    /// Tells that the value of an upload's state key is an open upload's, without decoding the rest.
    pub fn is_open_upload(value: &[u8]) -> bool {
        value.first() == Some(&1)
    }

    /// A part's.
    pub fn part(upload: UploadId, number: PartNumber) -> Self {
        Self([b"p".as_slice(), &upload.0, &number.get().to_be_bytes()].concat().into())
    }

    /// At or below the parts of an upload from `number` on.
    pub fn parts_from(upload: UploadId, number: PartNumber) -> Bytes {
        Self::part(upload, number).0
    }

    /// Above all parts of the upload.
    pub fn parts_end(upload: UploadId) -> Bytes {
        [b"p".as_slice(), &upload.0, &[0xff, 0xff, 0]].concat().into()
    }

    /// The number in a part's state key.
    pub fn part_number(&self) -> Option<PartNumber> {
        self.0.last_chunk().map(|bytes| PartNumber::new(u16::from_be_bytes(*bytes)))
    }

    /// Whether it is a part's.
    pub fn is_part(&self) -> bool {
        self.0.first() == Some(&b'p')
    }

    /// A writer's.
    pub fn writer(writer: WriterId) -> Self {
        Self([b"w".as_slice(), &writer.0].concat().into())
    }
}

/// A multipart upload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UploadState {
    /// Parts may come.
    Open(OpenUpload),
    /// It has become an object. Kept for a while, so that completing it again gets the same answer.
    Completed {
        /// The answer.
        written: WrittenVersion,
        /// The parts that were named.
        parts: Vec<(PartNumber, [u8; 16])>,
        /// The record that completed it.
        at: Offset,
    },
}

/// See [`UploadState::Open`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenUpload {
    /// When it was begun, by the log.
    pub created: WallTime,
    /// What the object's attributes will be, as far as they are known.
    pub attributes: Attributes,
    /// The checksum algorithm announced; 0 for none.
    pub checksum_algorithm: u8,
    /// Whether the object's checksum is to be one over the parts' checksums.
    pub checksum_is_composite: bool,
}

/// For how many records a completed upload answers a repeated completion.
pub const COMPLETED_UPLOAD_RECORDS: u64 = 1_000_000;

impl UploadState {
    /// Encodes the value.
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

    /// Decodes the value.
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

/// Encodes a part's value.
pub fn encode_part(part: &UploadPart, created: WallTime) -> Bytes {
    let mut out = Encoder::new();
    out.i64(created.micros());
    part.encode(&mut out);
    out.finish()
}

/// Decodes a part's value: when it came, and what is known of it.
pub fn decode_part(bytes: Bytes) -> Result<(WallTime, UploadPart), DecodeError> {
    let mut from = Decoder::new(bytes);
    let created = WallTime::from_micros(from.i64("time")?);
    let part = UploadPart::decode(&mut from)?;
    from.end("end of part")?;
    Ok((created, part))
}

/// How many outcomes of a writer are remembered.
pub const OUTCOMES_MAX: usize = 1024;

/// For how many records a silent writer is remembered.
pub const WRITER_RECORDS: u64 = 1_000_000;

/// What the fold knows of one writer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WriterState {
    /// Its newest instance.
    pub epoch: Epoch,
    /// The last record taken from it.
    pub last: Sequence,
    /// Where in the log that was.
    pub seen: Offset,
    /// The outcomes of its latest records, `last` at the back.
    pub outcomes: VecDeque<RecordOutcome>,
}

impl WriterState {
    /// Encodes the value.
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::new();
        out.u32(self.epoch.get()).u64(self.last.get()).u64(self.seen.get());
        out.count(self.outcomes.len(), OUTCOMES_MAX, "outcomes");
        for outcome in &self.outcomes {
            outcome.encode(&mut out);
        }
        out.finish()
    }

    /// Decodes the value.
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

/// What the fold makes of a record's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordAdmission {
    /// It is the writer's next record.
    Next,
    /// It was applied before, with this outcome.
    Repeated(RecordOutcome),
    /// It must not be applied.
    Rejected(Rejection),
}

/// All writers that are remembered. A record is applied once, however often the log delivers it.
#[derive(Clone, Default, Debug)]
pub struct WriterStates {
    by_id: BTreeMap<WriterId, WriterState>,
}

impl WriterStates {
    /// Puts a writer back, as a state run knew it.
    pub fn restore(&mut self, id: WriterId, state: WriterState) {
        self.by_id.insert(id, state);
    }

    /// All writers.
    pub fn iter(&self) -> impl Iterator<Item = (&WriterId, &WriterState)> {
        self.by_id.iter()
    }

    /// The last record taken from a writer.
    pub fn last(&self, id: &WriterId) -> Option<Sequence> {
        self.by_id.get(id).map(|writer| writer.last)
    }

    /// Says whether a record is to be applied.
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

    /// Opens an instance of a writer, which continues after `id.sequence`. An instance that is not newer
    /// than the known one changes nothing.
    pub fn open(&mut self, id: &RecordId, at: Offset) -> RecordOutcome {
        match self.by_id.get_mut(&id.writer) {
            Some(writer) if id.epoch <= writer.epoch => {
                return RecordOutcome::Rejected(Rejection::WrongEpoch);
            }
            // What the old instance wrote stays answered; the new one goes on where the fold stands.
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

    /// Remembers what became of the writer's next record.
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

    /// Forgets writers that have been silent for [`WRITER_RECORDS`]; gives their ids. Decided by log
    /// position, so that replicas agree.
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
