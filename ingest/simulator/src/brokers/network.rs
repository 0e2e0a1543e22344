//! The state of processes, and the connections between them.

use super::BROKERS;

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// A node of the store.
    Node(usize),
    /// A broker.
    Broker(usize),
}

/// A set of brokers.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct BrokerSet(u8);

impl BrokerSet {
    /// All brokers.
    pub const ALL: Self = Self((1 << BROKERS) - 1);

    /// The set of one broker only. The number must be below [`BROKERS`], as for every operation of a
    /// set.
    pub fn one(broker: usize) -> Self {
        Self(1 << broker)
    }

    /// True only if the broker is in the set. Never fails for a number below [`BROKERS`].
    pub fn contains(self, broker: usize) -> bool {
        self.0 & (1 << broker) != 0
    }

    /// The set with a broker in addition; the same set when it has the broker before.
    pub fn with(self, broker: usize) -> Self {
        Self(self.0 | (1 << broker))
    }

    /// The set without a broker; the same set when it does not have the broker before.
    pub fn without(self, broker: usize) -> Self {
        Self(self.0 & !(1 << broker))
    }

    /// Number of brokers in the set, which quorums and acknowledgements depend on.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// True only for the set without any broker: no majority, or no broker in sync.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The brokers in ascending order, so that every run of a seed treats them in the same order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..BROKERS).filter(move |broker| self.contains(*broker))
    }
}

impl std::fmt::Debug for BrokerSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The state of a broker's process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcessState {
    Up,
    /// Stopped as by SIGSTOP: connections stay, and events that arrive wait.
    Paused,
    Down,
}

/// The processes, and the connections that are cut.
pub struct Network {
    processes: [ProcessState; BROKERS],
    /// For each broker the brokers that it cannot reach.
    broker_cuts: [BrokerSet; BROKERS],
    /// For each node the brokers that it cannot reach.
    node_cuts: Vec<BrokerSet>,
}

impl Network {
    /// A network in which every broker's process runs and no connection is cut, before any fault of a
    /// test.
    pub fn new() -> Self {
        Self {
            processes: [ProcessState::Up; BROKERS],
            broker_cuts: [BrokerSet::default(); BROKERS],
            node_cuts: Vec::new(),
        }
    }

    /// The state of a broker's process. Says nothing about its connections, which may be cut while the
    /// process runs.
    pub fn process(&self, broker: usize) -> ProcessState {
        self.processes[broker]
    }

    /// Sets the state of a broker's process. The caller must then re-evaluate the connections, see
    /// `Cluster::review`.
    pub fn set_process(&mut self, broker: usize, process: ProcessState) {
        self.processes[broker] = process;
    }

    /// True only while a broker's process runs: neither paused nor down, even if all its connections
    /// are cut.
    pub fn is_up(&self, broker: usize) -> bool {
        self.processes[broker] == ProcessState::Up
    }

    /// Cuts or restores the connection between two endpoints, in both directions. Between two nodes
    /// there is none, so this does nothing then.
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

    /// Restores all connections. Processes that are paused or down stay so, unless they are resumed or
    /// restarted.
    pub fn heal(&mut self) {
        self.broker_cuts = [BrokerSet::default(); BROKERS];
        self.node_cuts.clear();
    }

    /// True only while the connection between two brokers is not cut. Neither process has to run.
    pub fn joins(&self, a: usize, b: usize) -> bool {
        !self.broker_cuts[a].contains(b)
    }

    /// True only while the connection between a node and a broker is not cut. The broker's process does
    /// not have to run.
    pub fn serves(&self, node: usize, broker: usize) -> bool {
        !self.node_cuts.get(node).is_some_and(|cuts| cuts.contains(broker))
    }

    /// True only while a node can get answers from a broker: its process runs and the connection is not
    /// cut.
    pub fn answers(&self, node: usize, broker: usize) -> bool {
        self.is_up(broker) && self.serves(node, broker)
    }

    /// The brokers whose controllers can decide: a majority whose processes run and are connected.
    /// Empty when there is no such majority. Each of the three brokers is a controller too.
    pub fn quorum(&self) -> BrokerSet {
        let up = (0..BROKERS).filter(|broker| self.is_up(*broker));
        // Of three brokers, any two that are connected are a majority.
        let has_peer = |broker: &usize| {
            let mut others = (0..BROKERS).filter(|other| other != broker);
            others.any(|other| self.is_up(other) && self.joins(*broker, other))
        };
        up.filter(has_peer).fold(BrokerSet::default(), BrokerSet::with)
    }
}
