//! What clients and brokers say to each other.

use bytes::Bytes;
use ingest::log::brokers::CommittedMessage;

/// A client: what speaks with the leader of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientId {
    /// A producer's way to a partition.
    Pipe(usize),
    /// A consumer.
    Reader(usize),
}

/// What a client asks.
pub enum ClientRequest {
    Leader,
    Produce(MessageBatch),
    Fetch { from: u64 },
}

/// Messages on their way to a leader.
pub struct MessageBatch {
    /// The number of the pipe that they come from.
    pub pipe: usize,
    pub producer_epoch: u32,
    /// The sequence of the first; the others follow.
    pub first: u64,
    pub values: Vec<Bytes>,
    /// Whether they have come in before, and were held up.
    pub is_late: bool,
}

/// What a client is answered.
pub enum ClientAnswer {
    /// Who leads in this epoch, if anybody does.
    Leader(Option<usize>, u32),
    /// The messages from this sequence on are committed.
    Acknowledged {
        first: u64,
    },
    /// Messages before this sequence are missing.
    OutOfOrder {
        first: u64,
    },
    /// Too few brokers are in sync to commit anything.
    NotEnoughReplicas,
    NotLeader,
    Messages(Vec<CommittedMessage>),
    OutOfRange,
    /// There is no such process, or none any more.
    Reset,
}
