//! Who is up, and who can reach whom.

use super::BROKERS;

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// A node of the store.
    Node(usize),
    /// A broker.
    Broker(usize),
}

/// Some of the brokers.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct BrokerSet(u8);

impl BrokerSet {
    pub const ALL: Self = Self((1 << BROKERS) - 1);

    pub fn one(broker: usize) -> Self {
        Self(1 << broker)
    }

    pub fn contains(self, broker: usize) -> bool {
        self.0 & (1 << broker) != 0
    }

    pub fn with(self, broker: usize) -> Self {
        Self(self.0 | (1 << broker))
    }

    pub fn without(self, broker: usize) -> Self {
        Self(self.0 & !(1 << broker))
    }

    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..BROKERS).filter(move |broker| self.contains(*broker))
    }
}

impl std::fmt::Debug for BrokerSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// How a broker's process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcessState {
    Up,
    /// Stands still, as after SIGSTOP: its connections stay, and what arrives waits.
    Paused,
    Down,
}

/// Processes, and the ways between them that are cut.
pub struct Network {
    processes: [ProcessState; BROKERS],
    /// For each broker the brokers that it cannot reach.
    broker_cuts: [BrokerSet; BROKERS],
    /// For each node the brokers that it cannot reach.
    node_cuts: Vec<BrokerSet>,
}

impl Network {
    pub fn new() -> Self {
        Self {
            processes: [ProcessState::Up; BROKERS],
            broker_cuts: [BrokerSet::default(); BROKERS],
            node_cuts: Vec::new(),
        }
    }

    pub fn process(&self, broker: usize) -> ProcessState {
        self.processes[broker]
    }

    pub fn set_process(&mut self, broker: usize, process: ProcessState) {
        self.processes[broker] = process;
    }

    pub fn is_up(&self, broker: usize) -> bool {
        self.processes[broker] == ProcessState::Up
    }

    /// Cuts or mends the way between two places. There is nothing to cut between two nodes here.
    pub fn set_cut(&mut self, a: Endpoint, b: Endpoint, is_cut: bool) {
        let set = |cuts: &mut BrokerSet, broker| {
            *cuts = if is_cut { cuts.with(broker) } else { cuts.without(broker) };
        };
        match (a, b) {
            (Endpoint::Broker(a), Endpoint::Broker(b)) => {
                set(&mut self.broker_cuts[a], b);
                set(&mut self.broker_cuts[b], a);
            }
            (Endpoint::Node(node), Endpoint::Broker(broker))
            | (Endpoint::Broker(broker), Endpoint::Node(node)) => {
                if self.node_cuts.len() <= node {
                    self.node_cuts.resize(node + 1, BrokerSet::default());
                }
                set(&mut self.node_cuts[node], broker);
            }
            (Endpoint::Node(_), Endpoint::Node(_)) => {}
        }
    }

    /// Mends all ways.
    pub fn heal(&mut self) {
        self.broker_cuts = [BrokerSet::default(); BROKERS];
        self.node_cuts.clear();
    }

    /// Whether the way between two brokers is open.
    pub fn joins(&self, a: usize, b: usize) -> bool {
        !self.broker_cuts[a].contains(b)
    }

    /// Whether the way between a node and a broker is open.
    pub fn serves(&self, node: usize, broker: usize) -> bool {
        !self.node_cuts.get(node).is_some_and(|cuts| cuts.contains(broker))
    }

    /// Whether a node gets answers from a broker.
    pub fn answers(&self, node: usize, broker: usize) -> bool {
        self.is_up(broker) && self.serves(node, broker)
    }

    /// The brokers whose controllers can decide: a majority that runs and hangs together. Each broker of
    /// the three is a controller too. Empty when there is no majority.
    pub fn quorum(&self) -> BrokerSet {
        let up = (0..BROKERS).filter(|broker| self.is_up(*broker));
        let has_peer = |broker: &usize| {
            let mut others = (0..BROKERS).filter(|other| other != broker);
            others.any(|other| self.is_up(other) && self.joins(*broker, other))
        };
        up.filter(has_peer).fold(BrokerSet::default(), BrokerSet::with)
    }
}
