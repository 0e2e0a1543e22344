//! Brokers that crash, stand still, lose touch with each other and with nodes, and repeat themselves.
//!
//! Three brokers keep every partition, as a Kafka cluster would: three copies, of which two at least are in
//! sync when a message is acknowledged; each broker is a controller too. What can go wrong with such a
//! cluster and with its clients goes wrong here for the same reasons:
//!
//! ```text
//!   node 0 ─producer─┐                       ┌─ broker 0: leads in epoch 3, it believes
//!   node 1 ─producer─┼─ latencies, cuts ─────┼─ broker 1: leads in epoch 4
//!   node 1 ─consumer─┘                       └─ broker 2: follows broker 1, lags by two messages
//! ```
//!
//! - A leader that is cut off from the others does not know that it has been replaced. It takes messages,
//!   acknowledges none, and cuts them off when it hears of its successor. A consumer there waits in vain.
//! - A message that reached a broker in sync and was not acknowledged stays when that broker comes to lead.
//! - A producer sends again, to whoever leads, what was not acknowledged; brokers drop what they have. One
//!   that is dropped may go on for some seconds, so that its messages land behind those of its successor.
//! - A broker's log survives its process. Losing the power of all is a fault of its own.
//!
//! How it is built: `cluster::Cluster` is one state behind a lock, and timers of the world bring it events.
//! Nothing ticks: a cluster in which nothing happens costs nothing. Its randomness is its own, drawn from
//! the world's, and everything that happens goes into the world's history.
//!
//! What it leaves out: several topics, groups and transactions; controllers apart from brokers; disks that
//! fail; metadata that differs between partitions of one broker.

mod call;
mod cluster;
mod config;
mod consumer;
mod controller;
mod discovery;
mod exchange;
mod faults;
mod network;
mod partition;
mod producer;
mod replica_log;
mod replication;

use std::sync::Arc;

use futures::channel::oneshot;
use ingest::env::Fut;
use ingest::ids::{Offset, PartitionId};
use ingest::log::brokers::{
    BrokerError, Brokers, CommittedMessage, Consumer, PartitionBounds, Producer, ProducerKind,
};

use crate::executor::Sim;
use call::{AdminCall, AdminRequest};
use cluster::{Cluster, SharedCluster};
use consumer::{Reader, SimConsumer};
use producer::SimProducer;

pub use config::BrokerConfig;
pub use network::Endpoint;

/// The brokers of a cluster.
pub const BROKERS: usize = 3;
/// So many must hold a message before it is acknowledged.
const MIN_IN_SYNC: usize = 2;

/// See the module's description. Clones are handles of one cluster.
#[derive(Clone)]
pub struct SimBrokers {
    cluster: Arc<SharedCluster>,
}

impl SimBrokers {
    /// Makes a cluster in a world, with a character drawn from the world's seed.
    pub fn new(sim: &Sim, partitions: usize) -> Self {
        Self { cluster: Cluster::new(sim.world(), partitions, BrokerConfig::draw) }
    }

    /// Makes a cluster of a given character in a world.
    pub fn with_knobs(sim: &Sim, partitions: usize, knobs: BrokerConfig) -> Self {
        Self { cluster: Cluster::new(sim.world(), partitions, |_| knobs) }
    }

    /// What one node sees of the cluster. Clients made through it belong to the life that the node is in
    /// when they are made.
    pub fn handle(&self, node: usize) -> Arc<dyn Brokers> {
        Arc::new(NodeBrokers { cluster: self.cluster.clone(), node })
    }

    /// How the cluster and its clients are.
    pub fn knobs(&self) -> BrokerConfig {
        self.cluster.lock().knobs.clone()
    }

    /// Changes how they are from now on.
    pub fn set_knobs(&self, knobs: BrokerConfig) {
        self.cluster.lock().knobs = knobs;
    }

    /// Who leads a partition in truth, as the controllers have decided; none while nobody may.
    pub fn leader(&self, partition: PartitionId) -> Option<usize> {
        self.cluster.lock().partitions[partition.get() as usize].decided.leader
    }

    /// What is committed in a partition, as its leader knows; none while there is no leader that knows.
    pub fn committed(&self, partition: PartitionId) -> Option<Vec<CommittedMessage>> {
        let cluster = self.cluster.lock();
        let partition = &cluster.partitions[partition.get() as usize];
        let replica = &partition.replicas[partition.decided.leader?];
        let is_leading = matches!(replica.role, partition::ReplicaRole::Leader(_));
        let is_current = replica.heard.epoch == partition.decided.epoch;
        let log = &replica.log;
        let committed = log.committed_from(log.start()).map(consumer::message);
        (is_leading && is_current).then(|| committed.collect())
    }

    /// How many of the producers' requests a broker has acknowledged.
    pub fn acknowledgements(&self, broker: usize) -> u64 {
        self.cluster.lock().acknowledgements[broker]
    }
}

/// One node's way to the cluster.
struct NodeBrokers {
    cluster: Arc<SharedCluster>,
    node: usize,
}

impl NodeBrokers {
    /// A new client begins at another broker than the one before it in its place.
    fn first_asked(&self, attempt: u32) -> usize {
        (self.node + attempt as usize) % BROKERS
    }

    fn check(cluster: &Cluster, partition: PartitionId) -> Result<usize, BrokerError> {
        let number = partition.get() as usize;
        match number < cluster.partitions.len() {
            true => Ok(number),
            false => Err(BrokerError(format!("there is no partition {partition}"))),
        }
    }

    fn call<T: Send + 'static>(
        &self,
        partition: PartitionId,
        question: impl FnOnce(oneshot::Sender<Result<T, BrokerError>>) -> AdminRequest,
    ) -> Fut<'static, Result<T, BrokerError>> {
        let (sender, receiver) = oneshot::channel();
        let mut cluster = self.cluster.lock();
        match Self::check(&cluster, partition) {
            Ok(partition) => {
                let question = question(sender);
                cluster.call(AdminCall { node: self.node, partition, question });
            }
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        }
        let gone = |_| Err(BrokerError("the broker has gone".into()));
        Box::pin(async move { receiver.await.unwrap_or_else(gone) })
    }
}

impl Brokers for NodeBrokers {
    fn producer(
        &self,
        _lane: ProducerKind,
        attempt: u32,
    ) -> Result<Box<dyn Producer>, BrokerError> {
        let cluster = self.cluster.lock();
        Ok(Box::new(SimProducer {
            cluster: self.cluster.clone(),
            life: cluster.world.life(self.node),
            deaths: cluster.deaths(self.node),
            first_asked: self.first_asked(attempt),
            pipes: Default::default(),
        }))
    }

    fn consumer(
        &self,
        partition: PartitionId,
        from: Offset,
        attempt: u32,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        let mut cluster = self.cluster.lock();
        let partition = Self::check(&cluster, partition)?;
        let life = cluster.world.life(self.node);
        let first_asked = self.first_asked(attempt);
        cluster.readers.push(Reader::new(life, partition, from.get(), first_asked));
        let number = cluster.readers.len() - 1;
        Ok(Box::new(SimConsumer { cluster: self.cluster.clone(), number }))
    }

    fn bounds(&self, partition: PartitionId) -> Fut<'_, Result<PartitionBounds, BrokerError>> {
        self.call(partition, AdminRequest::Bounds)
    }

    fn delete_below(
        &self,
        partition: PartitionId,
        below: Offset,
    ) -> Fut<'_, Result<(), BrokerError>> {
        self.call(partition, |reply| AdminRequest::DeleteBelow(below.get(), reply))
    }
}
