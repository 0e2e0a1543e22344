//! The requests and answers between clients and brokers.

use bytes::Bytes;
use ingest::log::brokers::CommittedMessage;

/// A client: the producer or consumer of one partition in one process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientId {
    /// A producer's pipe to a partition.
    Pipe(usize),
    /// A consumer.
    Reader(usize),
}

/// A request of a client.
pub enum ClientRequest {
    Leader,
    Produce(MessageBatch),
    Fetch { from: u64 },
}

/// Messages on their way to a leader.
pub struct MessageBatch {
    /// The number of the pipe that sent them.
    pub pipe: usize,
    pub producer_epoch: u32,
    /// The sequence of the first message; the others follow without gaps.
    pub first: u64,
    pub values: Vec<Bytes>,
    /// True when the batch has arrived before and was delayed then.
    pub is_late: bool,
}

/// An answer to a client.
pub enum ClientAnswer {
    /// The leader, as the broker believes, and its epoch.
    Leader(Option<usize>, u32),
    /// The messages of the request from this sequence on are committed.
    Acknowledged {
        first: u64,
    },
    /// Messages before this sequence are missing.
    OutOfOrder {
        first: u64,
    },
    /// Too few brokers are in sync to commit a message.
    NotEnoughReplicas,
    NotLeader,
    Messages(Vec<CommittedMessage>),
    OutOfRange,
    /// The broker's process does not run, or has ended since.
    Reset,
}
