//! The log: the one place where writes get their order and become durable.
//!
//! ```text
//!   writers ──admit, append──►  partition's log  ──read──►  the fold
//!   (writer, epoch, sequence)     o o o o o o o             (in order, committed only)
//!                                       ▲
//!                         trim below ───┘        barrier: a token that a later read meets
//! ```
//!
//! Promises of every implementation (the `simulator::conformance` suite checks them):
//! - An append that resolved with `Ok` is durable: every later reader delivers the record, after any
//!   crash that the implementation's fault model allows.
//! - Records of one partition have one order, the same for every reader, and strictly rising offsets.
//!   Appends of one caller that were *called* in some order are read in that order.
//! - A record whose append failed with [`AppendError::Unknown`] may or may not be in the log, at most
//!   as often as it was appended. With [`AppendError::Refused`] or [`AppendError::Full`] the record is
//!   never in the log.
//! - Only committed records are read: no record that a reader has delivered is ever withdrawn.
//! - Every reader meets a barrier's token once it has delivered all records that were acknowledged before the
//!   barrier was requested.
//!
//! Not promised: an acknowledgement that carries the offset, dense offsets, or exactly one record for
//! each append. The fold finds outcomes by (writer, epoch, sequence) and drops duplicates, so a log
//! that repeats or delays records serves as well.

pub mod brokers;
pub mod embedded;
pub mod replicated;
mod second_look;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::env::{DiskError, DiskErrorKind, Fut};
use crate::ids::{Offset, PartitionId};
use crate::record::{Record, RecordId};
use crate::time::WallTime;

pub use crate::entry::LogLocation;
pub use second_look::{confirm, mended};

/// A partition's durable, ordered sequence of records. All methods may be called from many tasks at
/// once. Callers must name only partitions that the log was opened with; any other number panics.
pub trait Log: Send + Sync {
    /// Waits until a record of at most `bytes` may be queued; the first to wait is the first admitted.
    /// Back-pressure happens here: the bytes that are admitted and not yet acknowledged are bounded.
    ///
    /// Dropping the future or the permit returns the capacity. Fails with [`AppendError::Full`] when
    /// space on the device is short, and with [`AppendError::Refused`] when the log takes no records or
    /// the record is too large.
    fn admit(
        &self,
        partition: PartitionId,
        bytes: usize,
    ) -> Fut<'_, Result<AppendPermit, AppendError>>;

    /// Appends a record and resolves once the record is durable. The record takes its place in the
    /// order when this function is *called*, before the future is polled. Dropping the future does not
    /// withdraw the record. After [`AppendError::Unknown`] the record may be in the log; after any
    /// other error it is not and never will be.
    ///
    /// Panics, in the embedded log, when the encoded record is longer than the permit admits.
    fn append(
        &self,
        permit: AppendPermit,
        record: Arc<Record>,
    ) -> Fut<'static, Result<(), AppendError>>;

    /// Begins to read committed records at an offset, in order; the reader waits for more records at
    /// the end. Fails with [`ReadError::Trimmed`], here or at the reader's first [`LogReader::next`],
    /// when `from` lies below the trim point. Meant for the fold: a replicated log spools payload for
    /// such a reader and counts what it delivers as this process's progress. Other readers use
    /// [`Log::review`].
    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
    ) -> Fut<'_, Result<Box<dyn LogReader>, ReadError>>;

    /// Begins to read like [`Log::read`], for readers other than the fold. Records that such a reader
    /// delivers are not kept for [`Log::fetch`] and do not count as this process's progress. Order and
    /// errors are the same.
    fn review(
        &self,
        partition: PartitionId,
        from: Offset,
    ) -> Fut<'_, Result<Box<dyn LogReader>, ReadError>> {
        self.read(partition, from)
    }

    /// Returns a token that a reader meets only after it has delivered all records acknowledged before
    /// this call. Where one process writes the log, this never waits or fails. A replicated log appends
    /// a record for the purpose and resolves when that is acknowledged, or fails as [`Log::append`]
    /// does.
    fn barrier(&self, partition: PartitionId) -> Fut<'_, Result<BarrierToken, AppendError>>;

    /// Returns the offset after the last committed record, without a barrier. Exact where one process
    /// writes the log; else the belief of one broker, which may be stale. Fails with
    /// [`ReadError::Unavailable`] when no broker answers.
    fn end(&self, partition: PartitionId) -> Fut<'_, Result<Offset, ReadError>>;

    /// Reads the inline payload of a committed record again and verifies the record's checksum. The
    /// record must have inline payload, and `location` must come from a reader of this log.
    ///
    /// Fails with [`ReadError::Trimmed`] once the record has been trimmed away; the caller then looks
    /// the object up again, since a run holds the payload by then.
    fn fetch(
        &self,
        partition: PartitionId,
        location: LogLocation,
    ) -> Fut<'_, Result<Bytes, ReadError>>;

    /// Declares that this process will never call [`Log::fetch`] for a record below an offset again.
    /// The log removes only its own copies; the records stay in the log. Files that cannot be removed
    /// stay until the next start.
    fn release(&self, partition: PartitionId, below: Offset) -> Fut<'_, ()>;

    /// Deletes all records below an offset, for all nodes. Never moves the trim point down, and never
    /// reuses space before this call. The caller must have flushed and published all that lies below;
    /// where several nodes fold one log, each of them must have. Fails with [`ReadError::Unavailable`]
    /// when brokers do not confirm the deletion, and may then be called again.
    fn trim(&self, partition: PartitionId, below: Offset) -> Fut<'_, Result<(), ReadError>>;

    /// Returns a partition's bounds and the reason why appends are refused, if they are. Reads memory
    /// only, never waits, and may be stale when it returns.
    fn status(&self, partition: PartitionId) -> LogStatus;
}

/// Delivers a partition's committed records in order.
pub trait LogReader: Send {
    /// Waits for the next records, in order and without a gap, and returns at least one. After a
    /// transient error ([`ReadError::is_transient`]) the caller may call again, and reading continues
    /// at the same place.
    ///
    /// A caller that drops this future before its end must drop the reader as well: a replicated log's
    /// reader may have taken messages that it would not deliver again.
    fn next(&mut self) -> Fut<'_, Result<Vec<CommittedRecord>, ReadError>>;
}

/// The right to append one record. Dropping the permit returns its capacity.
pub struct AppendPermit {
    /// The partition that the record goes to.
    pub partition: PartitionId,
    /// The most bytes that the encoded record may have.
    pub bytes: usize,
    /// The admitted capacity, dropped by the log once the record's outcome is known.
    pub room: OwnedSemaphorePermit,
}

/// A record that the log has committed.
#[derive(Clone, Debug)]
pub struct CommittedRecord {
    /// The record's place in its partition.
    pub offset: Offset,
    /// Wall-clock time at which the log accepted the record. Not an order: the time may jump, and only
    /// the fold makes it monotonic.
    pub time: WallTime,
    /// The place at which [`Log::fetch`] reads the inline payload again.
    pub location: LogLocation,
    /// The decoded record, inline payload included. The log, its readers and the writer share it.
    pub record: Arc<Record>,
}

/// The condition under which a reader has met a barrier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BarrierToken {
    /// Everything below an offset; for a log whose end one process knows exactly.
    Below(Offset),
    /// A certain record, met by its content; for a log whose end is never known for certain.
    Record(RecordId),
}

/// The state of a partition's log, as this process knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogStatus {
    /// The lowest offset that can still be read.
    pub first: Offset,
    /// The offset after the last committed record; in a replicated log, after the last one that this
    /// process has read or found at its start.
    pub end: Offset,
    /// The error with which appends are refused; none while they are accepted.
    pub refusing: Option<AppendError>,
    /// True while space runs out: the rest should be kept for records that free space. Always false in
    /// a replicated log.
    pub is_short: bool,
}

/// An error of an append. The variants differ in what the caller may do next.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// Space is short, and the record was not appended. Reads and deletes continue. A retry helps once
    /// space is free.
    #[error("the log of partition {partition} has no room: {detail}")]
    Full {
        /// The partition.
        partition: PartitionId,
        /// The resource that is short, with numbers where there are some.
        detail: String,
    },
    /// The log takes no records (closed, poisoned by a failed sync, or corrupt), or the record is too
    /// long. The record was not appended.
    #[error("the log of partition {partition} takes no records: {reason}")]
    Refused {
        /// The partition.
        partition: PartitionId,
        /// The reason.
        reason: String,
    },
    /// The outcome is unknown: only reading the log settles if the record is in it. An append of the
    /// same record may duplicate it.
    #[error("the outcome of an append to partition {partition} is unknown: {reason}")]
    Unknown {
        /// The partition.
        partition: PartitionId,
        /// The reason.
        reason: String,
    },
}

/// An error of a read. Only [`ReadError::Unavailable`] may pass without anyone's action.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset lies below the trim point.
    #[error("offset {offset} of partition {partition} has been trimmed away")]
    Trimmed {
        /// The partition.
        partition: PartitionId,
        /// The requested offset; for a fetch, the first offset that can still be read.
        offset: Offset,
    },
    /// The log ends below an offset that this process has read, so the log was cut off or made anew.
    /// Acknowledged records are missing, and the node must not continue.
    #[error(
        "partition {partition} of the log ends at offset {end}, and {read} had been read from it: it was cut off or made anew"
    )]
    Lost {
        /// The partition.
        partition: PartitionId,
        /// The offset at which the log ends now.
        end: Offset,
        /// The offset that would have been read next.
        read: Offset,
    },
    /// The bytes differ from those that were written, or are gone. Believed only after a second read
    /// agrees: see [`confirm`].
    #[error("{0}")]
    Corrupt(#[from] Corruption),
    /// The bytes cannot be read now, for a reason other than the bytes themselves: handles or memory
    /// have run out, brokers do not answer, the log is closed. A retry may help.
    #[error("partition {partition} cannot be read now: {reason}")]
    Unavailable {
        /// The partition.
        partition: PartitionId,
        /// The reason.
        reason: String,
    },
}

impl ReadError {
    /// Classifies a disk error of a read from a file that must exist and be complete. A missing file, a
    /// short file and an I/O error become [`ReadError::Corrupt`]; any other error becomes
    /// [`ReadError::Unavailable`]. One such error is not proof yet: the caller must read once more
    /// before it reports damage, see [`confirm`].
    pub fn of_disk(partition: PartitionId, position: u64, error: &DiskError) -> Self {
        let detail = match error.kind {
            DiskErrorKind::NotFound => "the file is missing".into(),
            DiskErrorKind::ShortRead => "the file ends before".into(),
            kind if kind.is_of_the_bytes() => error.detail.clone(),
            _ => return ReadError::Unavailable { partition, reason: error.to_string() },
        };
        ReadError::Corrupt(Corruption { file: error.path.to_string(), position, detail })
    }

    /// Returns true only for an error that a retry may resolve without anyone's action. Trimmed, lost
    /// and corrupt data never come back by themselves.
    pub fn is_transient(&self) -> bool {
        match self {
            ReadError::Unavailable { .. } => true,
            ReadError::Trimmed { .. } | ReadError::Lost { .. } | ReadError::Corrupt(_) => false,
        }
    }
}

/// Bytes that differ from those that were written, with their place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file} is corrupt at byte {position}: {detail}")]
pub struct Corruption {
    /// The file, below the data directory.
    pub file: String,
    /// Where the damaged unit begins, in bytes.
    pub position: u64,
    /// The contradiction that was found, with both checksums where there are two.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::FilePath;

    /// A process without handles reported intact files as corrupt, and clients gave up their objects.
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
