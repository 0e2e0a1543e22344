//! What a replicated log needs of its brokers: little enough for a thin adapter, so that everything that
//! decides (when to give a client up, what an answer means, what has been read) is
//! [`super::replicated::ReplicatedLog`] and runs in simulation as it runs on Kafka.
//!
//! ```text
//!   ReplicatedLog ──producer(lane)──► Producer ──send──► partition's leader ──► followers
//!                 ──consumer(from)──► Consumer ◄─ next ── committed messages, in order
//! ```
//!
//! What an implementation promises:
//! - Messages that one producer was *called* to send in some order stand in the log in that order. Each is
//!   there at most once, and whole.
//! - `Ok` from a send: the message is committed, on as many brokers as an acknowledgement asks for, and no
//!   consumer misses it, ever.
//! - [`SendError::Unknown`]: it may be there, or may come to be there later, as long as the producer lives
//!   and for some time after. Only reading tells.
//! - A consumer delivers committed messages only, in order, none left out. It may lag without end behind
//!   what is committed, and say so nowhere: its broker may have been deposed without knowing it.
//! - Bounds are what *some* broker believes. They may be stale.
//!
//! A producer or consumer that does not get on is not mended but replaced: `attempt` counts the clients
//! that were given up before in this place, and an implementation begins elsewhere for each.

use bytes::Bytes;

use crate::env::Fut;
use crate::ids::{Offset, PartitionId};
use crate::time::WallTime;

/// What a producer is for. Each has its own connections, so that bulk payload delays nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ProducerKind {
    /// Payload of large objects.
    Data,
    /// Everything that has an outcome.
    Commits,
    /// Records that reads wait for.
    Barriers,
}

impl ProducerKind {
    /// All of them.
    pub const ALL: [ProducerKind; 3] =
        [ProducerKind::Data, ProducerKind::Commits, ProducerKind::Barriers];
}

/// The brokers that keep a log's partitions.
pub trait Brokers: Send + Sync {
    /// Makes a producer. Does no I/O: what is wrong shows when something is sent.
    fn producer(&self, lane: ProducerKind, attempt: u32) -> Result<Box<dyn Producer>, BrokerError>;

    /// Makes a consumer of one partition that begins at an offset. Does no I/O.
    fn consumer(
        &self,
        partition: PartitionId,
        from: Offset,
        attempt: u32,
    ) -> Result<Box<dyn Consumer>, BrokerError>;

    /// Asks where a partition begins and ends.
    fn bounds(&self, partition: PartitionId) -> Fut<'_, Result<PartitionBounds, BrokerError>>;

    /// Deletes every message below an offset, for everybody and for ever.
    fn delete_below(
        &self,
        partition: PartitionId,
        below: Offset,
    ) -> Fut<'_, Result<(), BrokerError>>;
}

/// Sends messages. Dropping it gives up what has not been acknowledged: such a message may still turn up
/// in the log, some seconds later at most.
pub trait Producer: Send + Sync {
    /// Sends a message. It takes its place in the order when this is *called*; dropping the future does
    /// not take it back.
    fn send(&self, partition: PartitionId, value: Bytes) -> Fut<'static, Result<(), SendError>>;
}

/// Delivers a partition's committed messages in order.
pub trait Consumer: Send {
    /// Waits for the next messages, at least one; a few MiB at most. Dropping the future loses none.
    fn next(&mut self) -> Fut<'_, Result<Vec<CommittedMessage>, ConsumeError>>;
}

/// A committed message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommittedMessage {
    /// Its place.
    pub offset: Offset,
    /// When the brokers took it.
    pub time: WallTime,
    /// Its bytes.
    pub value: Bytes,
}

/// Where a partition begins and ends, as some broker believes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionBounds {
    /// The lowest offset that can be read.
    pub first: Offset,
    /// The offset after the last committed message.
    pub end: Offset,
}

/// Brokers could not be asked, or refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BrokerError(pub String);

/// A message was not acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// It never left: too long, or the queue is full. It is not in the log and never will be.
    #[error("not sent: {0}")]
    NotSent(String),
    /// Whether it is in the log is not known.
    #[error("not acknowledged: {0}")]
    Unknown(String),
}

/// A consumer cannot go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConsumeError {
    /// There is nothing at the offset wanted: the log begins above it, or ends below it.
    #[error("the offset wanted is not in the log")]
    OutOfRange,
    /// The brokers cannot be read just now. A new consumer may get on.
    #[error("{0}")]
    Unavailable(String),
    /// Trying again will not help: the topic is gone, or reading it is not allowed.
    #[error("{0}")]
    Refused(String),
}
