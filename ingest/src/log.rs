//! The log: the one place where writes get their order and become durable.
//!
//! ```text
//!   lanes ──admit, append──►  partition's log  ──read──►  the fold
//!   (writer, epoch, sequence)   o o o o o o o             (in order, committed only)
//!                                     ▲
//!                       trim below ───┘        barrier: a token that a later read meets
//! ```
//!
//! What every implementation promises (the `simulator::conformance` suite checks it):
//! - An append that resolved with `Ok` is durable: every later reader delivers it, after any crash that
//!   the implementation's fault model allows.
//! - Records of one partition have one order, the same for every reader, and strictly rising offsets.
//!   Appends of one caller that were *called* in some order are read in that order.
//! - An append that failed with [`AppendError::Unknown`] may or may not turn up, at most as often as it
//!   was appended; with [`AppendError::Refused`] or [`AppendError::Full`] it never turns up.
//! - Only committed records are read: nothing that a reader has delivered is ever taken back.
//! - A barrier's token is met by every reader once it has delivered everything that was acknowledged
//!   before the barrier was asked for.
//!
//! What it does not promise: that an acknowledgement tells the offset, that offsets are dense, or that
//! one append leaves one record. The fold finds outcomes by (writer, epoch, sequence) and drops
//! duplicates, so that a log which repeats or delays records serves as well.

pub mod brokers;
pub mod embedded;
pub mod replicated;
mod second_look;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::env::{DiskError, DiskErrorKind, Fut};
use crate::ids::{Offset, PartitionId};
use crate::record::{Record, RecordId};
use crate::time::WallTime;

pub use second_look::{confirm, mended};

/// A partition's durable, ordered sequence of records.
pub trait Log: Send + Sync {
    /// Waits for room for a record of about `bytes`. Back-pressure lives here: the bytes that are
    /// admitted and not yet acknowledged are bounded. Dropping the permit gives the room back.
    fn admit(
        &self,
        partition: PartitionId,
        bytes: usize,
    ) -> Fut<'_, Result<AppendPermit, AppendError>>;

    /// Appends a record; resolves when it is durable. The record takes its place in the order when this
    /// is *called*; dropping the future does not take it back.
    fn append(&self, permit: AppendPermit, record: Record)
    -> Fut<'static, Result<(), AppendError>>;

    /// Reads committed records from an offset on, in order, waiting for more at the end.
    /// [`ReadError::Trimmed`] when `from` lies below the trim point.
    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
    ) -> Fut<'_, Result<Box<dyn LogReader>, ReadError>>;

    /// Reads like [`Log::read`], for somebody who does not fold: what it delivers need not be fetched again,
    /// and says nothing of how far this process has come.
    fn review(
        &self,
        partition: PartitionId,
        from: Offset,
    ) -> Fut<'_, Result<Box<dyn LogReader>, ReadError>> {
        self.read(partition, from)
    }

    /// Gives a token that a reader meets once it has delivered everything that was acknowledged before
    /// this was called.
    fn barrier(&self, partition: PartitionId) -> Fut<'_, Result<BarrierToken, AppendError>>;

    /// Where the log ends, as far as can be told without a barrier: for certain where one process writes
    /// it, else as some broker believes, which may be stale.
    fn end(&self, partition: PartitionId) -> Fut<'_, Result<Offset, ReadError>>;

    /// Reads the inline payload of a committed record again, verified by the record's own checksum.
    /// [`ReadError::Trimmed`] once the record has been trimmed away: look the object up again.
    fn fetch(
        &self,
        partition: PartitionId,
        location: LogLocation,
    ) -> Fut<'_, Result<Bytes, ReadError>>;

    /// Says that this reader's node will not [`Log::fetch`] below an offset any more: copies of its own
    /// may go. What is in the log stays.
    fn release(&self, partition: PartitionId, below: Offset) -> Fut<'_, ()>;

    /// Lets go of everything below an offset, for everybody. Space may be reused from then on, never
    /// earlier. Where several nodes fold one log, all of them must have sealed what lies below.
    fn trim(&self, partition: PartitionId, below: Offset) -> Fut<'_, Result<(), ReadError>>;

    /// Says how a partition's log is.
    fn status(&self, partition: PartitionId) -> LogStatus;
}

/// Delivers a partition's committed records in order.
pub trait LogReader: Send {
    /// Waits for the next records, at least one.
    fn next(&mut self) -> Fut<'_, Result<Vec<CommittedRecord>, ReadError>>;
}

/// Room for one record.
pub struct AppendPermit {
    /// The partition it is for.
    pub partition: PartitionId,
    /// How many bytes it admits.
    pub bytes: usize,
    /// Held until the record is durable, then dropped.
    pub room: OwnedSemaphorePermit,
}

/// A record that the log has committed.
#[derive(Clone, Debug)]
pub struct CommittedRecord {
    /// Its place.
    pub offset: Offset,
    /// When the log took it. It orders nothing and may jump; the fold keeps it from going backwards.
    pub time: WallTime,
    /// Where its inline payload can be fetched again.
    pub location: LogLocation,
    /// The record.
    pub record: Record,
}

/// Where in the log a record's inline payload lies. Meaningful only to the log that gave it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LogLocation {
    /// The file's number.
    pub file: u64,
    /// Where the record begins, in bytes.
    pub position: u64,
    /// The whole record's length in bytes.
    pub len: u32,
}

impl LogLocation {
    /// Appends it.
    pub fn encode(&self, out: &mut Encoder) {
        out.varint(self.file).varint(self.position).u32(self.len);
    }

    /// Takes it off.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            file: from.varint("log file")?,
            position: from.varint("log position")?,
            len: from.u32("log record length")?,
        })
    }
}

/// What a reader has to deliver before a barrier is met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BarrierToken {
    /// Everything below an offset; for a log whose end one process knows for certain.
    Below(Offset),
    /// A certain record, met by its content; for a log whose end nobody knows for certain.
    Record(RecordId),
}

/// How a partition's log is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogStatus {
    /// The lowest offset that can still be read.
    pub first: Offset,
    /// The offset after the last committed record.
    pub end: Offset,
    /// Why appends are refused, when they are.
    pub refusing: Option<AppendError>,
    /// Room is running out: what is left should go to records that free space.
    pub is_short: bool,
}

/// An append did not succeed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// Space is short: the record was not appended. Reads and removals go on; try again later.
    #[error("the log of partition {partition} has no room: {detail}")]
    Full {
        /// The partition.
        partition: PartitionId,
        /// What is short.
        detail: String,
    },
    /// The log takes no records (stopped, poisoned by a failed sync, or corrupt): not appended.
    #[error("the log of partition {partition} takes no records: {reason}")]
    Refused {
        /// The partition.
        partition: PartitionId,
        /// Why.
        reason: String,
    },
    /// Whether the record is in the log is not known. Only reading the log tells.
    #[error("the outcome of an append to partition {partition} is unknown: {reason}")]
    Unknown {
        /// The partition.
        partition: PartitionId,
        /// Why.
        reason: String,
    },
}

/// A read did not succeed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset lies below the trim point.
    #[error("offset {offset} of partition {partition} has been trimmed away")]
    Trimmed {
        /// The partition.
        partition: PartitionId,
        /// The offset asked for; for a fetch, the first that can still be read.
        offset: Offset,
    },
    /// The log ends below what has been read from it: it was cut off, or made anew. What was acknowledged
    /// is missing from it, and nothing here may go on as if it were not.
    #[error(
        "partition {partition} of the log ends at offset {end}, and {read} had been read from it: it was cut off or made anew"
    )]
    Lost {
        /// The partition.
        partition: PartitionId,
        /// Where it ends.
        end: Offset,
        /// What would have been read next.
        read: Offset,
    },
    /// Bytes are not what was written.
    #[error("{0}")]
    Corrupt(#[from] Corruption),
    /// The bytes cannot be read now, for a reason that says nothing of them: handles or memory have run out,
    /// brokers do not answer, the log has been stopped. Try again later.
    #[error("partition {partition} cannot be read now: {reason}")]
    Unavailable {
        /// The partition.
        partition: PartitionId,
        /// Why.
        reason: String,
    },
}

impl ReadError {
    /// Classifies an error of the disk for whoever reads a file that must be there and whole. Only what the
    /// device says of the bytes is damage, and the caller reads once more before it believes that:
    /// see [`confirm`].
    pub fn of_disk(partition: PartitionId, position: u64, error: &DiskError) -> Self {
        let detail = match error.kind {
            DiskErrorKind::NotFound => "the file is missing".into(),
            DiskErrorKind::ShortRead => "the file ends before".into(),
            kind if kind.is_of_the_bytes() => error.detail.clone(),
            _ => return ReadError::Unavailable { partition, reason: error.to_string() },
        };
        ReadError::Corrupt(Corruption { file: error.path.to_string(), position, detail })
    }

    /// Tells whether trying again may help without anybody's doing: the error says nothing of the bytes.
    pub fn is_transient(&self) -> bool {
        match self {
            ReadError::Unavailable { .. } => true,
            ReadError::Trimmed { .. } | ReadError::Lost { .. } | ReadError::Corrupt(_) => false,
        }
    }
}

/// Bytes that are not what was written, with their place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file} is corrupt at byte {position}: {detail}")]
pub struct Corruption {
    /// The file, below the data directory.
    pub file: String,
    /// Where the damaged unit begins, in bytes.
    pub position: u64,
    /// What does not fit, with both checksums where there are two.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::FilePath;

    /// A process without handles called whole files corrupt, and clients gave their objects up.
    #[test]
    fn only_what_the_device_says_of_the_bytes_is_damage() {
        let table = [
            (DiskErrorKind::NotFound, true),
            (DiskErrorKind::ShortRead, true),
            (DiskErrorKind::Io, true),
            (DiskErrorKind::Exists, false),
            (DiskErrorKind::NoSpace, false),
            (DiskErrorKind::Exhausted, false),
            (DiskErrorKind::Refused, false),
        ];
        for (kind, is_damage) in table {
            let path = FilePath::new("p0003/runs/f");
            let error = DiskError { kind, operation: "open", path, detail: "said".into() };
            let found = ReadError::of_disk(PartitionId::new(3), 7, &error);
            assert_eq!(matches!(found, ReadError::Corrupt(_)), is_damage, "{kind:?}: {found}");
            assert_eq!(found.is_transient(), !is_damage, "{kind:?}");
        }
    }
}
