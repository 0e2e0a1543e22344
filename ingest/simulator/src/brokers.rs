//! Brokers that crash, stand still, lose the connection to each other and to nodes, and repeat messages.
//!
//! Three brokers keep every partition, as a Kafka cluster would: three copies, of which at least two
//! are in sync when a message is acknowledged. Each broker is a controller too. Faults of such a
//! cluster and of its clients occur here for the same reasons:
//!
//! ```text
//!   node 0 ─producer─┐                       ┌─ broker 0: believes to lead, in epoch 3
//!   node 1 ─producer─┼─ latencies, cuts ─────┼─ broker 1: leads in epoch 4
//!   node 1 ─consumer─┘                       └─ broker 2: follows broker 1, lags by two messages
//! ```
//!
//! - A leader that is cut off from the others does not know that it has been replaced, accepts messages,
//!   acknowledges none, and truncates them when it learns of its successor. A consumer there waits in vain.
//! - A message that reached a broker in sync and was not acknowledged stays when that broker becomes
//!   the leader.
//! - A producer sends unacknowledged messages again, to the present leader; brokers drop those that
//!   they have. A dropped producer may continue for some seconds, so that its messages land behind
//!   those of its successor.
//! - A broker's log survives its process. A power loss of all brokers is a fault of its own.
//!
//! How it is built: `cluster::Cluster` is one state behind a lock, and timers of the world deliver its
//! events. Nothing ticks, so a cluster in which nothing happens costs nothing. The cluster's randomness
//! is its own, drawn from the world's, and every event goes into the world's history.
//!
//! Left out: several topics, groups and transactions; controllers apart from brokers; disks that fail;
//! metadata that differs between partitions of one broker.

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

/// Number of brokers in a cluster.
pub const BROKERS: usize = 3;
/// Number of brokers that must have a message before it is acknowledged.
const MIN_IN_SYNC: usize = 2;

/// A simulated cluster of brokers; see the module's description. Clones are handles of one cluster.
#[derive(Clone)]
pub struct SimBrokers {
    cluster: Arc<SharedCluster>,
}

impl SimBrokers {
    /// Makes a cluster in a world, with a configuration drawn from the world's seed. Every partition
    /// has a leader and is empty.
    pub fn new(sim: &Sim, partitions: usize) -> Self {
        Self { cluster: Cluster::new(sim.world(), partitions, BrokerConfig::draw) }
    }

    /// Makes a cluster with a given configuration in a world. The cluster's random decisions still
    /// follow from the world's seed, in the order in which they are drawn.
    pub fn with_knobs(sim: &Sim, partitions: usize, knobs: BrokerConfig) -> Self {
        Self { cluster: Cluster::new(sim.world(), partitions, |_| knobs) }
    }

    /// The cluster as one node reaches it. Clients made through the handle belong to the life that the
    /// node is in when they are made, and end with that life.
    pub fn handle(&self, node: usize) -> Arc<dyn Brokers> {
        Arc::new(NodeBrokers { cluster: self.cluster.clone(), node })
    }

    /// The present configuration. Changing the copy has no effect before [`SimBrokers::set_knobs`].
    pub fn knobs(&self) -> BrokerConfig {
        self.cluster.lock().knobs.clone()
    }

    /// Replaces the configuration from now on. Messages that are on their way already keep the delays
    /// drawn before.
    pub fn set_knobs(&self, knobs: BrokerConfig) {
        self.cluster.lock().knobs = knobs;
    }

    /// The leader that the controllers have decided on, even before that broker learns of it. None only
    /// while no broker in sync can lead.
    pub fn leader(&self, partition: PartitionId) -> Option<usize> {
        self.cluster.lock().partitions[partition.get() as usize].decided.leader
    }

    /// The committed messages of a partition in order, as its leader knows them. None while there is no
    /// leader, or before it has learned of its present epoch.
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

    /// Number of producers' requests that a broker has acknowledged, including those whose answer was
    /// lost on the way.
    pub fn acknowledgements(&self, broker: usize) -> u64 {
        self.cluster.lock().acknowledgements[broker]
    }
}

/// The cluster as one node reaches it.
struct NodeBrokers {
    cluster: Arc<SharedCluster>,
    node: usize,
}

impl NodeBrokers {
    /// The broker that a client asks first: another one than its predecessor asked.
    fn first_asked(&self, attempt: u32) -> usize {
        (self.node + attempt as usize) % BROKERS
    }

    /// The index of a partition. Fails when there is no such partition.
    fn check(cluster: &Cluster, partition: PartitionId) -> Result<usize, BrokerError> {
        let number = partition.get() as usize;
        match number < cluster.partitions.len() {
            true => Ok(number),
            false => Err(BrokerError(format!("there is no partition {partition}"))),
        }
    }

    /// Sends a request that needs no client; the future returns the answer.
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
