//! A copy that differs from more copies than it agrees with serves nothing, over restarts too.

use std::time::Duration;

use compactor::partition::SubmitError;
use ingest::ids::{CutNumber, Epoch, NodeId, PartitionId, Sequence, WriterId};
use ingest::log::replicated::ReplicatedLog;
use ingest::log::{Log, ReadError};
use ingest::record::{CutDigest, Record, RecordBody, RecordId, Versioning};
use simulator::brokers::BrokerConfig;
use simulator::{DiskFault, DiskOperation, FaultKind, Sim, SimBrokers, SimDisk, SimRandom};

use super::node::{self, Running, Settings};
use crate::world::{Engine, STORE};

const NODE: usize = 0;

fn settings() -> Settings {
    Settings::draw(&SimRandom::new(3))
}

async fn start(sim: &Sim, disk: &SimDisk, brokers: &SimBrokers, again: bool) -> Running {
    let env = sim.node_env(NODE, disk);
    node::open_alone(env, brokers.handle(NODE), settings(), again).await.expect("opened")
}

/// Says in another node's name what it made of a cut.
async fn say(log: &ReplicatedLog, node: u32, cut: CutNumber, digest: [u8; 32]) {
    let id = RecordId {
        writer: WriterId([node as u8; 16]),
        epoch: Epoch::ZERO,
        sequence: Sequence::new(1),
    };
    let body = RecordBody::Digest(CutDigest { node: NodeId::new(node), cut, digest });
    let record = Record::of_the_store(id, body);
    let permit = log.admit(PartitionId::ZERO, record.bytes_estimate()).await.expect("room");
    log.append(permit, record.into()).await.expect("appended");
}

async fn assert_serves_nothing(engine: &Engine) {
    let written = engine.partition.submit("owner", "request", RecordBody::Barrier).await;
    assert!(matches!(written, Err(SubmitError::Quarantined(_))), "{written:?}");
    let read = engine.partition.fresh().await.map(|_| ());
    assert!(matches!(read, Err(ReadError::Unavailable { .. })), "{read:?}");
}

#[test]
fn a_copy_that_is_outvoted_serves_nothing_any_more() {
    let sim = Sim::new(1);
    let (disk, partitions) = (SimDisk::new(&sim), settings().partitions);
    let brokers = SimBrokers::with_knobs(&sim, partitions as usize, BrokerConfig::calm());
    let run = sim.block_on_cluster(async {
        let founder = sim.node_env(NODE + 1, &SimDisk::new(&sim));
        let handle = brokers.handle(NODE + 1);
        let set_up = ReplicatedLog::establish(&founder, &handle, partitions, STORE, "cluster");
        set_up.await.expect("set up");

        let Running { partitions, log, .. } = start(&sim, &disk, &brokers, false).await;
        let engine = Engine::on_brokers(partitions[0].clone(), log.clone());
        engine.bucket("bucket", Versioning::Off).await.expect("made");
        let cut = engine.partition.cut().await.expect("cut");
        // One other opinion is no majority: the alarm is raised, and service goes on.
        say(&log, 2, cut, [7; 32]).await;
        sim.sleep(Duration::from_secs(5)).await;
        engine.partition.fresh().await.expect("fresh");
        assert_eq!(engine.partition.quarantined(), None);
        say(&log, 3, cut, [7; 32]).await;
        sim.sleep(Duration::from_secs(5)).await;
        assert_serves_nothing(&engine).await;
        drop((engine, partitions, log));
        sim.stop_node(NODE);

        let Running { partitions, log, .. } = start(&sim, &disk, &brokers, true).await;
        assert_serves_nothing(&Engine::on_brokers(partitions[0].clone(), log)).await;
        drop(partitions);
        sim.stop_node(NODE);

        // Whoever cannot read why, and not even whether, serves nothing either.
        disk.inject(DiskFault::once(DiskOperation::Open, "quarantine", 0, FaultKind::Error));
        let Running { partitions, log, .. } = start(&sim, &disk, &brokers, true).await;
        assert_serves_nothing(&Engine::on_brokers(partitions[0].clone(), log)).await;
    });
    assert_eq!(run, Ok(()));
}
