//! The model on each log: on one machine, on simulated brokers, and on real ones.
#![allow(clippy::disallowed_types, reason = "real brokers are met in the real world")]

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ingest::env::system::IDENTITY_FILES;
use ingest::env::{Env, production};
use ingest::log::brokers::Brokers;
use ingest::log::replicated::ReplicatedLog;
use ingest::place::Place;
use kafka::{ConnectionSecurity, KafkaBrokers};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use simulator::brokers::BrokerConfig;
use simulator::{CrashSurvival, Sim, SimBrokers, SimDisk, SimRandom};

use super::{Kept, Op, is_power_cut, live, lives, op};
use crate::cluster::node::{self, Settings};
use crate::world::{Engine, STORE, open};

const NODE: usize = 0;

/// Each restart or power cut ends one life of the engine.
fn on_one_machine(ops: &[Op]) -> Result<(), String> {
    let sim = Sim::new(ops.len() as u64);
    let disk = SimDisk::new(&sim);
    let mut kept = None;
    for life in lives(ops) {
        let lived = sim.block_on(&disk, async {
            let engine = open(&sim, &disk).await?;
            live(engine, &mut kept, life).await
        });
        lived.map_err(|stopped| format!("{stopped:?}"))??;
        match is_power_cut(life) {
            true => sim.crash(&disk, CrashSurvival::DropAll),
            false => sim.stop(),
        }
    }
    Ok(())
}

fn settings() -> Settings {
    let mut settings = Settings::draw(&SimRandom::new(1));
    settings.partitions = 1;
    settings
}

/// Makes the folder of the cold place, which a server makes at its first start, as the disk recognises it.
fn make_cold_folder(data: &Path) -> std::io::Result<()> {
    let folder = data.join(Place::FOLDER);
    std::fs::create_dir_all(&folder)?;
    IDENTITY_FILES.iter().try_for_each(|name| std::fs::write(folder.join(name), "a test's"))
}

/// Opens a node on brokers, as a server does.
async fn open_node(
    env: Env,
    brokers: Arc<dyn Brokers>,
    kept: Option<&Kept>,
) -> Result<Engine, String> {
    let mut running = node::open_alone(env, brokers, settings(), kept.is_some()).await?;
    let partition = running.partitions.pop().ok_or("no partition")?;
    Ok(Engine::on_brokers(partition, running.log))
}

/// The same on brokers that are slow now and then, and lose nothing.
fn on_simulated_brokers(ops: &[Op]) -> Result<(), String> {
    let sim = Sim::new(ops.len() as u64);
    let disk = SimDisk::new(&sim);
    let brokers = SimBrokers::with_knobs(&sim, 1, BrokerConfig::calm());
    let run = sim.block_on_cluster(async {
        let founder = sim.node_env(NODE + 1, &SimDisk::new(&sim));
        let handle = brokers.handle(NODE + 1);
        let set_up = ReplicatedLog::establish(&founder, &handle, 1, STORE, "model").await;
        set_up.map_err(|error| error.to_string())?;
        let mut kept = None;
        for life in lives(ops) {
            let env = sim.node_env(NODE, &disk);
            let engine = open_node(env, brokers.handle(NODE), kept.as_ref()).await?;
            live(engine, &mut kept, life).await?;
            match is_power_cut(life) {
                true => sim.crash_node(NODE, &disk, CrashSurvival::DropAll),
                false => sim.stop_node(NODE),
            }
        }
        Ok(())
    });
    run.map_err(|stopped| format!("{stopped:?}"))?
}

/// The same on real brokers and a real folder. A power cut there is a process that ends where it stands.
fn on_real_brokers(servers: &[String], folder: &Path, ops: &[Op]) -> Result<(), String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
    let cluster = format!("model-{:x}", since.as_nanos());
    let settings =
        kafka::KafkaSettings::new(servers.to_vec(), cluster, ConnectionSecurity::default());
    let settings = settings.map_err(|error| error.to_string())?;
    let mut kept = None;
    for (number, life) in lives(ops).enumerate() {
        // What belongs to a life ends with its runtime.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(async {
            make_cold_folder(folder).map_err(|error| error.to_string())?;
            let env = production::of(folder).map_err(|error| error.to_string())?;
            let brokers: Arc<dyn Brokers> = Arc::new(KafkaBrokers::new(settings.clone()));
            if number == 0 {
                let known = kafka::describe(&settings).await.map_err(|error| error.to_string())?;
                let replicas = if known.brokers < 3 { 1 } else { 3 };
                kafka::create(&settings, 1, replicas).await.map_err(|error| error.to_string())?;
                let set_up = ReplicatedLog::establish(&env, &brokers, 1, STORE, "model").await;
                set_up.map_err(|error| error.to_string())?;
            }
            let engine = open_node(env, brokers, kept.as_ref()).await?;
            live(engine, &mut kept, life).await
        })?;
    }
    Ok(())
}

/// Runs the model over so many drawn sequences.
fn check(cases: u32, run: impl Fn(&[Op]) -> Result<(), String>) {
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        source_file: Some(file!()),
        ..ProptestConfig::default()
    });
    let checked = runner
        .run(&prop::collection::vec(op(), 1..60), |ops| run(&ops).map_err(TestCaseError::fail));
    if let Err(failed) = checked {
        panic!("{failed}");
    }
}

#[test]
fn the_engine_does_what_a_simple_s3_does() {
    check(40, on_one_machine);
}

#[test]
fn the_engine_on_simulated_brokers_does_what_a_simple_s3_does() {
    check(40, on_simulated_brokers);
}

#[test]
fn the_engine_on_real_brokers_does_what_a_simple_s3_does() {
    let Ok(servers) = std::env::var("SILTSTONE_KAFKA") else {
        println!("SKIPPED the model on real brokers: SILTSTONE_KAFKA names none");
        return;
    };
    let servers: Vec<String> = servers.split(',').map(str::to_owned).collect();
    check(8, |ops| {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        on_real_brokers(&servers, folder.path(), ops)
    });
}
