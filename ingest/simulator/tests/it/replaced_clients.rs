//! A client that was given up is gone before its successor sends anything: what it still holds would land
//! behind newer records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ingest::env::Fut;
use ingest::ids::{Offset, PartitionId};
use ingest::log::brokers::{
    BrokerError, Brokers, Consumer, PartitionBounds, Producer, ProducerKind, SendError,
};
use ingest::mutant::Mutant;
use parking_lot::Mutex;
use simulator::brokers::{BROKERS, BrokerConfig, Endpoint};
use simulator::conformance::{LogFactory, OnBrokers, append, record};
use simulator::{Sim, SimBrokers, SimDisk};

const NODE: usize = 1;

/// Producers that are alive, by lane, and the most that there were when one sent something.
#[derive(Default)]
struct Count {
    alive: BTreeMap<ProducerKind, u32>,
    most: u32,
    made: u32,
}

/// Brokers that count their producers.
struct Counting {
    inner: Arc<dyn Brokers>,
    count: Arc<Mutex<Count>>,
}

struct Counted {
    inner: Box<dyn Producer>,
    lane: ProducerKind,
    count: Arc<Mutex<Count>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        *self.count.lock().alive.entry(self.lane).or_default() -= 1;
    }
}

impl Producer for Counted {
    fn send(&self, partition: PartitionId, value: Bytes) -> Fut<'static, Result<(), SendError>> {
        let mut count = self.count.lock();
        count.most = count.most.max(count.alive.get(&self.lane).copied().unwrap_or_default());
        self.inner.send(partition, value)
    }
}

impl Brokers for Counting {
    fn producer(&self, lane: ProducerKind, attempt: u32) -> Result<Box<dyn Producer>, BrokerError> {
        let inner = self.inner.producer(lane, attempt)?;
        let mut count = self.count.lock();
        *count.alive.entry(lane).or_default() += 1;
        count.made += 1;
        Ok(Box::new(Counted { inner, lane, count: self.count.clone() }))
    }

    fn consumer(
        &self,
        partition: PartitionId,
        from: Offset,
        attempt: u32,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        self.inner.consumer(partition, from, attempt)
    }

    fn bounds(&self, partition: PartitionId) -> Fut<'_, Result<PartitionBounds, BrokerError>> {
        self.inner.bounds(partition)
    }

    fn delete_below(
        &self,
        partition: PartitionId,
        below: Offset,
    ) -> Fut<'_, Result<(), BrokerError>> {
        self.inner.delete_below(partition, below)
    }
}

/// Appends through a cut between node and brokers; says how many clients of one lane there were at most
/// when one of them sent something.
fn most_at_a_time(mutant: Option<Mutant>) -> u32 {
    let mut sim = Sim::new(1);
    sim.set_mutant(mutant);
    let disk = SimDisk::new(&sim);
    let brokers = SimBrokers::with_knobs(&sim, 1, BrokerConfig::calm());
    let env = sim.node_env(NODE, &disk);
    let count = Arc::new(Mutex::new(Count::default()));
    let run = sim.block_on_cluster(async {
        let counting = || -> Arc<dyn Brokers> {
            Arc::new(Counting { inner: brokers.handle(NODE), count: count.clone() })
        };
        let log = OnBrokers::new(env, counting).open().await;
        let made = count.lock().made;
        append(&log, record(1, 1, b"before")).await.expect("appended");
        brokers.isolate_node(NODE);
        for sequence in 2..5 {
            let unknown = append(&log, record(1, sequence, b"meanwhile")).await;
            unknown.expect_err("nobody can be reached");
        }
        for broker in 0..BROKERS {
            brokers.join(Endpoint::Node(NODE), Endpoint::Broker(broker));
        }
        sim.sleep(Duration::from_secs(30)).await;
        append(&log, record(1, 9, b"after")).await.expect("appended");
        assert!(count.lock().made > made, "no client was replaced");
    });
    assert_eq!(run, Ok(()));
    count.lock().most
}

#[test]
fn a_client_is_never_kept_beside_its_successor() {
    assert_eq!(most_at_a_time(None), 1);
}

#[cfg(feature = "mutants")]
#[test]
fn seeded_bug_that_keeps_them_is_found() {
    assert!(most_at_a_time(Some(Mutant::KeepReplacedClient)) > 1);
}
