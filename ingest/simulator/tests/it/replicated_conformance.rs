//! The log on brokers keeps the contract of a log, whatever its brokers do.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ingest::env::{Env, FilePath, timeout};
use ingest::log::Log;
use ingest::log::replicated::{Options, ReplicatedLog};
use ingest::words::StoreId;
use parking_lot::Mutex;
use simulator::brokers::Knobs;
use simulator::conformance::{self, Factory};
use simulator::{Sim, SimBrokers, SimDisk};

const STORE: StoreId = StoreId([3; 16]);
const NODE: usize = 1;

struct Replicated {
    env: Env,
    brokers: Arc<SimBrokers>,
    open: Mutex<Option<Arc<ReplicatedLog>>>,
}

impl Factory for Replicated {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Log>> {
        Box::pin(async move {
            let brokers = self.brokers.handle(NODE);
            let set_up = ReplicatedLog::establish(&self.env, &brokers, 1, STORE, "cluster").await;
            set_up.expect("set up");
            let options = Options::new(FilePath::new("spool"));
            let log = ReplicatedLog::open(&self.env, brokers, 1, Some(STORE), options).await;
            let log = Arc::new(log.expect("opened"));
            *self.open.lock() = Some(log.clone());
            log as Arc<dyn Log>
        })
    }

    fn close(&self, _log: Arc<dyn Log>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let open = self.open.lock().take();
            if let Some(open) = open {
                open.close().await;
            }
        })
    }
}

fn check(seed: u64, is_calm: bool) {
    let sim = Sim::new(seed);
    let disk = SimDisk::new(&sim);
    let brokers = Arc::new(SimBrokers::new(&sim, 1));
    if is_calm {
        brokers.set_knobs(Knobs::calm());
    }
    let env = sim.node_env(NODE, &disk);
    let factory = Replicated { env, brokers, open: Mutex::default() };
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
        let brokers = SimBrokers::with_knobs(&sim, 3, Knobs::calm());
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
            let options = Options::new(FilePath::new("spool"));
            let log = ReplicatedLog::open(&env, handle.clone(), 3, None, options).await;
            log.expect("all partitions are one store's").store()
        });
        finished += u64::from(run == Ok(STORE));
    }
    assert!((1..60).contains(&finished), "{finished} of 60 were finished, the others begun anew");
}
