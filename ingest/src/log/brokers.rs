//! The brokers of a replicated log, as the log needs them. The interface is small, so that an adapter to real
//! brokers is thin: all decisions (when to replace a client, the meaning of a reply, the progress of reading)
//! are in [`super::replicated::ReplicatedLog`] and run in simulation as they run on Kafka.
//!
//! ```text
//!   ReplicatedLog ──producer(kind)──► Producer ──send──► partition's leader ──► followers
//!                 ──consumer(from)──► Consumer ◄─ next ── committed messages, in order
//! ```
//!
//! Promises of every implementation:
//! - Messages that one producer was *called* to send in some order are in the log in that order, each at most
//!   once, and complete.
//! - `Ok` from a send: the message is committed, on as many brokers as an acknowledgement requires, and every
//!   consumer delivers it.
//! - [`SendError::Unknown`]: the message may be in the log, or may appear later, as long as the
//!   producer lives and for some seconds after. Only reading settles the outcome.
//! - A consumer delivers committed messages only, in order, without a gap. A consumer may stay behind
//!   the committed end without limit and without an error, since its broker may have been deposed
//!   without knowing it.
//! - Bounds are the belief of *some* broker, and may be stale.
//!
//! A producer or consumer that makes no progress is replaced, never repaired: `attempt` counts the
//! clients that were replaced before in the same place, and an implementation begins at another broker
//! for each.

use bytes::Bytes;

use crate::env::Fut;
use crate::ids::{Offset, PartitionId};
use crate::time::WallTime;

/// The purpose of a producer. Each kind has its own connections, so that bulk payload delays nothing
/// else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ProducerKind {
    /// Payload of large objects, and the record that abandons such a stream.
    Data,
    /// Records that have an outcome, and all others that are neither payload nor barriers.
    Commits,
    /// Barrier records, which reads wait for.
    Barriers,
}

impl ProducerKind {
    /// Every kind, in ascending order.
    pub const ALL: [ProducerKind; 3] =
        [ProducerKind::Data, ProducerKind::Commits, ProducerKind::Barriers];
}

/// The brokers that keep a log's partitions. All methods may be called from many tasks at once.
pub trait Brokers: Send + Sync {
    /// Creates a producer without I/O. Fails only when the client cannot be created; errors of
    /// connections appear when a message is sent.
    fn producer(&self, lane: ProducerKind, attempt: u32) -> Result<Box<dyn Producer>, BrokerError>;

    /// Creates a consumer of one partition that begins at an offset, without I/O. Fails only when the
    /// client cannot be created or the partition does not exist; other errors appear in
    /// [`Consumer::next`].
    fn consumer(
        &self,
        partition: PartitionId,
        from: Offset,
        attempt: u32,
    ) -> Result<Box<dyn Consumer>, BrokerError>;

    /// Returns the bounds of a partition, as one broker believes them. Fails when no broker answers in
    /// time; a retry may reach another broker.
    fn bounds(&self, partition: PartitionId) -> Fut<'_, Result<PartitionBounds, BrokerError>>;

    /// Deletes every message below an offset, for all consumers and permanently. Only committed
    /// messages can be deleted. After an error the deletion may have happened, and repeating it is
    /// safe.
    fn delete_below(
        &self,
        partition: PartitionId,
        below: Offset,
    ) -> Fut<'_, Result<(), BrokerError>>;
}

/// Sends messages. Dropping the producer abandons its unacknowledged messages: each may still appear in
/// the log, some seconds later at most.
pub trait Producer: Send + Sync {
    /// Sends a message and resolves once it is acknowledged. The message takes its place in the order
    /// when this function is *called*; dropping the future does not withdraw it. Never blocks: a full
    /// queue is [`SendError::NotSent`].
    fn send(&self, partition: PartitionId, value: Bytes) -> Fut<'static, Result<(), SendError>>;
}

/// Delivers a partition's committed messages in order.
pub trait Consumer: Send {
    /// Waits for the next messages and returns at least one, at most a few MiB, in order and without a
    /// gap. Dropping the future loses no message. After an error the caller must not expect further
    /// messages of this consumer, and replaces it.
    fn next(&mut self) -> Fut<'_, Result<Vec<CommittedMessage>, ConsumeError>>;
}

/// A committed message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommittedMessage {
    /// The message's offset in its partition.
    pub offset: Offset,
    /// Wall-clock time at which the brokers accepted the message.
    pub time: WallTime,
    /// The message's content, as it was sent.
    pub value: Bytes,
}

/// The beginning and the end of a partition, as some broker believes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionBounds {
    /// The lowest offset that can be read.
    pub first: Offset,
    /// The offset after the last committed message.
    pub end: Offset,
}

/// Brokers did not answer, or refused a request. The text is the reason; a retry may help.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BrokerError(pub String);

/// A message was not acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// The message was never sent: it is too long, or the queue is full. The message is not in the log
    /// and never will be.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The outcome is unknown: only reading the log settles if the message is in it.
    #[error("not acknowledged: {0}")]
    Unknown(String),
}

/// An error after which a consumer delivers nothing more.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConsumeError {
    /// No message is at the requested offset: the log begins above it, or ends below it.
    #[error("the offset wanted is not in the log")]
    OutOfRange,
    /// The brokers cannot be read now. A new consumer may succeed.
    #[error("{0}")]
    Unavailable(String),
    /// A retry will not help: the topic does not exist, or this user may not read it.
    #[error("{0}")]
    Refused(String),
}
