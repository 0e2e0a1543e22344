//! One partition: the controllers' decisions about it, and the state of each broker's copy.

use std::collections::VecDeque;

use super::call::PendingDeletion;
use super::exchange::ClientId;
use super::network::BrokerSet;
use super::replica_log::ReplicaLog;
use super::{BROKERS, MIN_IN_SYNC};

/// The leader of a partition, and the brokers that may become leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leadership {
    pub leader: Option<usize>,
    /// Rises with every change of the leader.
    pub epoch: u32,
    /// The brokers that have every committed message.
    pub in_sync: BrokerSet,
}

/// A partition of the topic.
pub struct Partition {
    /// The present decision, which brokers may not know yet.
    pub decided: Leadership,
    pub replicas: [Replica; BROKERS],
}

/// The copy and the beliefs of one broker.
pub struct Replica {
    pub log: ReplicaLog,
    /// The last decision that this broker has received.
    pub heard: Leadership,
    /// The role in which the broker acts on that decision.
    pub role: ReplicaRole,
}

/// A broker's role for a partition.
pub enum ReplicaRole {
    /// No role yet: the broker has just been started.
    None,
    Leader(LeaderState),
    Follower(FollowerState),
}

/// A leader's knowledge. Ends with its epoch.
#[derive(Default)]
pub struct LeaderState {
    /// Every broker that may become the next leader. Never smaller than the decided set, so that
    /// messages that all of these have are safe.
    pub in_sync: BrokerSet,
    /// The end of the leader's log when it became the leader.
    pub since: u64,
    /// Progress of the followers, from their fetches in this epoch.
    pub followers: [Option<FollowerProgress>; BROKERS],
    /// Numbers of the fetches that wait for new messages.
    pub parked: [Option<u64>; BROKERS],
    /// Producers' requests that wait to be committed, in order.
    pub pending: VecDeque<PendingProduce>,
    /// Consumers' fetches that wait for new messages.
    pub readers: Vec<ParkedReader>,
    pub deletions: Vec<PendingDeletion>,
    /// True while a refresh is scheduled.
    pub is_refresh_due: bool,
}

/// The bounds of a follower's log, as its leader knows them.
#[derive(Clone, Copy)]
pub struct FollowerProgress {
    pub position: u64,
    pub start: u64,
}

/// A producer's request, to be answered once all messages below an offset are committed.
pub struct PendingProduce {
    pub needs: u64,
    pub client: ClientId,
    pub connection: u64,
    pub first: u64,
}

/// A consumer's fetch that waits for new messages.
#[derive(Clone, Copy)]
pub struct ParkedReader {
    pub client: ClientId,
    pub connection: u64,
    pub from: u64,
}

/// A follower's knowledge. Ends with its leader's epoch.
#[derive(Default)]
pub struct FollowerState {
    /// The number of the fetch under way.
    pub fetch: Option<u64>,
    /// True once the follower's log is known to be a part of its leader's.
    pub is_checked: bool,
}

impl Partition {
    /// An empty partition with a decided leader. No broker has received that decision yet, so none
    /// leads before it does.
    pub fn new(leader: usize) -> Self {
        let unheard = Leadership { leader: None, epoch: 0, in_sync: BrokerSet::default() };
        let replica =
            |_| Replica { log: ReplicaLog::default(), heard: unheard, role: ReplicaRole::None };
        Self {
            decided: Leadership { leader: Some(leader), epoch: 1, in_sync: BrokerSet::ALL },
            replicas: [0, 1, 2].map(replica),
        }
    }
}

impl LeaderState {
    /// True only while enough brokers are in sync to commit a message.
    pub fn may_commit(&self) -> bool {
        self.in_sync.len() >= MIN_IN_SYNC
    }
}

impl Replica {
    /// The leader's knowledge; none unless this broker believes that it leads, rightly or not.
    pub fn leading(&mut self) -> Option<&mut LeaderState> {
        match &mut self.role {
            ReplicaRole::Leader(leading) => Some(leading),
            ReplicaRole::None | ReplicaRole::Follower(_) => None,
        }
    }

    /// The follower's knowledge; none unless this broker believes that it follows.
    pub fn following(&mut self) -> Option<&mut FollowerState> {
        match &mut self.role {
            ReplicaRole::Follower(following) => Some(following),
            ReplicaRole::None | ReplicaRole::Leader(_) => None,
        }
    }
}
