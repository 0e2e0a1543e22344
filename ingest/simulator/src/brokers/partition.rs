//! One partition: what the controllers have decided about it, and what each broker makes of it.

use std::collections::VecDeque;

use super::call::PendingDeletion;
use super::exchange::ClientId;
use super::network::BrokerSet;
use super::replica_log::ReplicaLog;
use super::{BROKERS, MIN_IN_SYNC};

/// Who leads a partition, and who may come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leadership {
    pub leader: Option<usize>,
    /// Rises with every change of the leader.
    pub epoch: u32,
    /// Those that hold everything that is committed.
    pub in_sync: BrokerSet,
}

/// See the module's description.
pub struct Partition {
    /// What holds, though not everybody has heard of it.
    pub decided: Leadership,
    pub replicas: [Replica; BROKERS],
}

/// What one broker has and believes.
pub struct Replica {
    pub log: ReplicaLog,
    /// What it has last heard from the controllers.
    pub heard: Leadership,
    pub role: ReplicaRole,
}

/// What a broker does for a partition.
pub enum ReplicaRole {
    /// Nothing yet: it has just been started.
    None,
    Leader(LeaderState),
    Follower(FollowerState),
}

/// A leader's knowledge, which ends with its epoch.
#[derive(Default)]
pub struct LeaderState {
    /// Holds everybody who may become the next leader: it is smaller than what has been decided at no
    /// time, so that what all of these have is safe.
    pub in_sync: BrokerSet,
    /// Where its log ended when it became the leader.
    pub since: u64,
    /// How far the others are, from their fetches in this epoch.
    pub followers: [Option<FollowerProgress>; BROKERS],
    /// The numbers of the fetches that wait for something new.
    pub parked: [Option<u64>; BROKERS],
    /// Requests of producers that wait to be committed, in order.
    pub pending: VecDeque<PendingProduce>,
    /// Consumers that wait for something new.
    pub readers: Vec<ParkedReader>,
    pub deletions: Vec<PendingDeletion>,
    /// Whether a refresh is on its way.
    pub is_refresh_due: bool,
}

/// How far a follower is.
#[derive(Clone, Copy)]
pub struct FollowerProgress {
    pub position: u64,
    pub start: u64,
}

/// A request that is answered once everything below an offset is committed.
pub struct PendingProduce {
    pub needs: u64,
    pub client: ClientId,
    pub connection: u64,
    pub first: u64,
}

/// A consumer's request that waits for something new.
#[derive(Clone, Copy)]
pub struct ParkedReader {
    pub client: ClientId,
    pub connection: u64,
    pub from: u64,
}

/// A follower's knowledge, which ends with its leader's epoch.
#[derive(Default)]
pub struct FollowerState {
    /// The number of the fetch that is under way.
    pub fetch: Option<u64>,
    /// Whether its log is known to be a part of its leader's.
    pub is_checked: bool,
}

impl Partition {
    /// An empty partition with a leader, of which no broker has heard yet.
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
    /// Whether enough brokers are in sync to commit anything.
    pub fn may_commit(&self) -> bool {
        self.in_sync.len() >= MIN_IN_SYNC
    }
}

impl Replica {
    /// The leader's knowledge, if this broker believes that it leads.
    pub fn leading(&mut self) -> Option<&mut LeaderState> {
        match &mut self.role {
            ReplicaRole::Leader(leading) => Some(leading),
            ReplicaRole::None | ReplicaRole::Follower(_) => None,
        }
    }

    /// The follower's knowledge, if this broker believes that it follows.
    pub fn following(&mut self) -> Option<&mut FollowerState> {
        match &mut self.role {
            ReplicaRole::Follower(following) => Some(following),
            ReplicaRole::None | ReplicaRole::Leader(_) => None,
        }
    }
}
