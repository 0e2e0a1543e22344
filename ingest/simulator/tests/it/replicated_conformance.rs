//! The log on brokers keeps the contract of a log, whatever its brokers do.

use std::time::Duration;

use ingest::env::{FilePath, timeout};
use ingest::ids::StoreId;
use ingest::log::replicated::{ReplicatedLog, ReplicatedLogOptions};
use simulator::brokers::BrokerConfig;
use simulator::conformance::{self, OnBrokers};
use simulator::{Sim, SimBrokers, SimDisk};

const STORE: StoreId = StoreId([3; 16]);
const NODE: usize = 1;

fn check(seed: u64, is_calm: bool) {
    let sim = Sim::new(seed);
    let disk = SimDisk::new(&sim);
    let brokers = SimBrokers::new(&sim, 1);
    if is_calm {
        brokers.set_knobs(BrokerConfig::calm());
    }
    let env = sim.node_env(NODE, &disk);
    let factory = OnBrokers::new(env, || brokers.handle(NODE));
    let run = sim.block_on_cluster(conformance::check_all(&factory));
    assert_eq!(run, Ok(()), "seed {seed}");
}

#[test]
fn a_log_on_calm_brokers_keeps_the_contract() {
    (0..20).for_each(|seed| check(seed, true));
}

#[test]
fn a_log_on_brokers_as_they_are_keeps_the_contract() {
    (0..60).for_each(|seed| check(seed, false));
}

#[test]
fn setting_up_that_was_interrupted_is_finished_for_the_same_store() {
    let mut finished = 0;
    for step in 0..60 {
        let sim = Sim::new(step);
        let disk = SimDisk::new(&sim);
        let brokers = SimBrokers::with_knobs(&sim, 3, BrokerConfig::calm());
        let env = sim.node_env(NODE, &disk);
        let handle = brokers.handle(NODE);
        let run = sim.block_on_cluster(async {
            let first = ReplicatedLog::establish(&env, &handle, 3, STORE, "cluster");
            let _ = timeout(env.clock.as_ref(), Duration::from_micros(step * 100), first).await;
            env.clock.sleep(Duration::from_secs(10)).await;
            let other = StoreId([4; 16]);
            let second = ReplicatedLog::establish(&env, &handle, 3, other, "cluster").await;
            second.expect("set up");
            env.clock.sleep(Duration::from_secs(1)).await;
            let options = ReplicatedLogOptions::new(FilePath::new("spool"));
            let log = ReplicatedLog::open(&env, handle.clone(), 3, None, options).await;
            log.expect("all partitions are one store's").store()
        });
        finished += u64::from(run == Ok(STORE));
    }
    assert!((1..60).contains(&finished), "{finished} of 60 were finished, the others begun anew");
}
