//! Leases of deliveries in a cluster: which node delivers a queue's events, and how soon another one goes on.

use std::sync::Arc;
use std::time::Duration;

use compactor::delivery::{DeliveryOptions, DueEvent, EventReceiver, RunningDelivery};
use compactor::partition;
use compactor::state::EventQueue;
use ingest::env::Fut;
use ingest::ids::{BucketId, NodeId};
use ingest::log::replicated::ReplicatedLog;
use ingest::name::ObjectKey;
use ingest::record::WriteCondition;
use parking_lot::Mutex;
use simulator::brokers::BrokerConfig;
use simulator::{Sim, SimBrokers, SimDisk, SimRandom};

use super::node::{self, Failure, Running, Settings, Start};
use crate::events::{QUEUE, reporting};
use crate::world::{Engine, STORE};

const NODES: usize = 2;
const SECOND: Duration = Duration::from_secs(1);

/// A receiver that one node reaches.
#[derive(Default)]
struct Receiver {
    came: Mutex<Vec<String>>,
    is_down: Mutex<bool>,
    tries: Mutex<usize>,
}

impl EventReceiver for Receiver {
    fn deliver<'a>(&'a self, events: &'a [DueEvent]) -> Fut<'a, Result<(), String>> {
        Box::pin(async move {
            *self.tries.lock() += 1;
            if *self.is_down.lock() {
                return Err("down".into());
            }
            let keys = events.iter().map(|due| due.event.key.as_str().to_owned());
            self.came.lock().extend(keys);
            Ok(())
        })
    }
}

/// Two nodes over one log, and a bucket that reports every write.
struct Cluster<'a> {
    sim: &'a Sim,
    nodes: Vec<Running>,
    engine: Engine,
    bucket: BucketId,
}

impl<'a> Cluster<'a> {
    async fn open(sim: &'a Sim, settings: &Settings, brokers: &SimBrokers) -> Self {
        let founder = sim.node_env(NODES, &SimDisk::new(sim));
        let (handle, partitions) = (brokers.handle(NODES), settings.partitions);
        let set_up = ReplicatedLog::establish(&founder, &handle, partitions, STORE, "cluster");
        set_up.await.expect("set up");
        let mut nodes = Vec::new();
        for number in 0..NODES {
            let env = sim.node_env(number, &SimDisk::new(sim));
            let id = NodeId::new(number as u32 + 1);
            let node = partition::ThisNode { id, held_before: false };
            let (brokers, settings) = (brokers.handle(number), settings.clone());
            match node::open(Start { env, brokers, settings, store: None, node }).await {
                Ok(running) => nodes.push(running),
                Err(Failure::Later(reason) | Failure::Never(reason)) => panic!("{reason}"),
            }
        }
        let engine = Engine::on_brokers(nodes[0].partitions[0].clone(), nodes[0].log.clone());
        let bucket = reporting(&engine).await.expect("a bucket");
        Self { sim, nodes, engine, bucket }
    }

    fn deliver(&self, node: usize, receiver: Option<&Arc<Receiver>>) -> RunningDelivery {
        let options = DeliveryOptions {
            page_events: 10,
            page_bytes: 10_000,
            waiting_bytes_max: 1 << 30,
            age_max: Duration::from_secs(7 * 86_400),
            expects_drops: false,
        };
        let receiver = receiver.map(|receiver| receiver.clone() as Arc<dyn EventReceiver>);
        self.nodes[node].partitions[0].deliver(QUEUE, receiver, options)
    }

    async fn put(&self, key: &str) {
        let key = ObjectKey::new(key.as_bytes().to_vec()).expect("a short key");
        let put = self.engine.put(self.bucket, &key, b"bytes", WriteCondition::Always);
        put.await.expect("written");
    }

    fn queue(&self) -> EventQueue {
        let queues = self.nodes[0].partitions[0].event_queues();
        queues.into_iter().find(|(name, _)| name == QUEUE).expect("the queue").1
    }

    /// Waits until no event waits; the seconds until then. Panics after `most` seconds.
    async fn drain(&self, most: u64) -> u64 {
        for second in 0..=most {
            if self.queue().waiting() == 0 {
                return second;
            }
            self.sim.sleep(SECOND).await;
        }
        panic!("events still wait after {most} s: {:?}", self.queue());
    }
}

/// Runs a story in a cluster without faults.
fn calm(story: impl AsyncFnOnce(&Cluster<'_>)) {
    let sim = Sim::new(4);
    let settings = Settings::draw(&SimRandom::new(3));
    let partitions = settings.partitions as usize;
    let brokers = SimBrokers::with_knobs(&sim, partitions, BrokerConfig::calm());
    let ran = sim.block_on_cluster(async {
        let cluster = Cluster::open(&sim, &settings, &brokers).await;
        story(&cluster).await;
    });
    ran.unwrap_or_else(|stopped| panic!("{stopped:?}"));
}

#[test]
fn a_node_without_the_destination_leaves_the_queue_to_the_others() {
    calm(async |cluster| {
        let receiver = Arc::new(Receiver::default());
        let _without = cluster.deliver(0, None);
        cluster.put("first").await;
        cluster.sim.sleep(300 * SECOND).await;
        assert_eq!(cluster.queue().lease, 0, "nobody who can deliver is there");
        let with = cluster.deliver(1, Some(&receiver));
        cluster.drain(5).await;
        let lease = cluster.queue().lease;
        drop(with);
        cluster.put("second").await;
        cluster.sim.sleep(300 * SECOND).await;
        assert_eq!((cluster.queue().lease, cluster.queue().waiting()), (lease, 1));
        // Much later that node keeps the queue within its bounds, and gives way as soon as another one can deliver.
        cluster.sim.sleep(600 * SECOND).await;
        assert_eq!((cluster.queue().lease, cluster.queue().waiting()), (lease + 1, 1));
        let _with = cluster.deliver(1, Some(&receiver));
        cluster.drain(60).await;
        assert_eq!(*receiver.came.lock(), ["first", "second"]);
    });
}

#[test]
fn a_node_that_cannot_reach_the_receiver_leaves_the_queue_to_the_others() {
    calm(async |cluster| {
        let (cut_off, reached) = (Arc::new(Receiver::default()), Arc::new(Receiver::default()));
        *cut_off.is_down.lock() = true;
        let _cut_off = cluster.deliver(0, Some(&cut_off));
        cluster.put("key").await;
        cluster.sim.sleep(2 * SECOND).await;
        assert_eq!(cluster.queue().lease, 1);
        let _reached = cluster.deliver(1, Some(&reached));
        let took = cluster.drain(90).await;
        assert_eq!(*reached.came.lock(), ["key"]);
        assert!(took >= 40, "taken from a node that has tried for {took} s only");
    });
}

#[test]
fn a_receiver_that_no_node_reaches_is_tried_again_and_again() {
    calm(async |cluster| {
        let receiver = Arc::new(Receiver::default());
        *receiver.is_down.lock() = true;
        let _deliveries = [0, 1].map(|node| cluster.deliver(node, Some(&receiver)));
        cluster.put("key").await;
        for _ in 0..20 {
            let before = *receiver.tries.lock();
            cluster.sim.sleep(60 * SECOND).await;
            assert!(*receiver.tries.lock() > before, "a minute without a try");
        }
        *receiver.is_down.lock() = false;
        cluster.drain(60).await;
    });
}

#[test]
fn a_clean_stop_hands_a_queue_over_at_once() {
    calm(async |cluster| {
        let (first, second) = (Arc::new(Receiver::default()), Arc::new(Receiver::default()));
        let stopped = cluster.deliver(0, Some(&first));
        cluster.put("one").await;
        cluster.drain(5).await;
        let _second = cluster.deliver(1, Some(&second));
        stopped.stop().await;
        cluster.put("two").await;
        cluster.drain(5).await;
        assert_eq!(
            (first.came.lock().clone(), second.came.lock().clone()),
            (vec!["one".to_owned()], vec!["two".to_owned()])
        );
    });
}
