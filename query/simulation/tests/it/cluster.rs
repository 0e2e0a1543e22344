//! A whole cluster in simulation: three nodes fold one log on three brokers, clients ask any of them, and
//! brokers, nodes, ways and clocks fail as the seed says.
//!
//! ```text
//!   clients ──put, get, list──► node 0, 1, 2 ──► brokers 0, 1, 2
//!      │                         ▲ kill, pause,    ▲ crash, pause,
//!      ▼                         │ wipe, power     │ split
//!   history of each key ──► one order must explain it (`history`)
//! ```
//!
//! Checked: every history is linearizable, with unknown outcomes left open and refused ones excluded;
//! a listing is a read of every key at one moment; payload comes back byte for byte; no node stops, is
//! quarantined, or is refused at a start; once everything is mended, all nodes come up, come to one cut
//! with one digest, and show what clients were told, and a node that begins anew comes to the same.
//!
//! Not checked: how long things take, but that they end; disks that fail other than by losing power or being
//! full;
//! brokers that lose what they have acknowledged, since then nothing is promised.

mod ask;
mod client;
mod ending;
mod faults;
mod history;
mod leases;
pub mod node;
mod quarantine;
mod world;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use compactor::outcome::RecordOutcome;
use futures::future::{Either, join, join_all, select};
use ingest::env::Random as _;
use ingest::log::replicated::ReplicatedLog;
use ingest::mutant::Mutant;
use ingest::name::BucketName;
use ingest::record::{CreateBucket, RecordBody};
use simulator::brokers::BrokerConfig;
use simulator::trace::{Trace, assert_repeatable};
use simulator::{Sim, SimBrokers, SimRandom};

use client::Client;
use faults::Faults;
use node::Settings;
use world::{NODES, Tally, World};

use crate::world::STORE;

const CLIENTS: u64 = 4;

/// Sets the log up and makes a bucket in each partition that all nodes know.
async fn found(world: &World<'_>) -> Result<(), String> {
    let partitions = world.settings.partitions;
    let brokers = world.brokers.handle(NODES);
    let set_up =
        ReplicatedLog::establish(&world.founder(), &brokers, partitions, STORE, "cluster").await;
    set_up.map_err(|error| error.to_string())?;
    world.all_up().await?;
    let running = world.running(0).ok_or("node 0 has gone")?;
    for copy in &running.partitions {
        let name = BucketName::new(b"bucket".to_vec()).expect("a good name");
        let create = CreateBucket { name, owner: "owner".into(), region: "here".into() };
        let asked = copy.clone();
        let create =
            async move { asked.submit("owner", "request", RecordBody::CreateBucket(create)).await };
        let made = world.ask(&running, Duration::from_secs(60), create).await;
        let Some(Ok(RecordOutcome::BucketCreated(bucket))) = made else {
            return Err(format!("no bucket: {made:?}"));
        };
        world.buckets.borrow_mut().push(bucket);
    }
    loop {
        let knows = |node: usize| {
            world.running(node).is_some_and(|running| {
                let buckets = world.buckets.borrow();
                let mut both = running.partitions.iter().zip(buckets.iter());
                both.all(|(copy, bucket)| copy.buckets().get(*bucket).is_some())
            })
        };
        if (0..NODES).all(knows) {
            return Ok(());
        }
        world.sim.sleep(Duration::from_millis(100)).await;
    }
}

async fn story(world: &World<'_>) -> Result<(), String> {
    let knobs = world.brokers.knobs();
    // Faults begin when there is something to lose.
    world.brokers.set_knobs(BrokerConfig { lost_answers_percent: 0, ..knobs.clone() });
    found(world).await?;
    world.brokers.set_knobs(knobs);
    let clients = (0..CLIENTS).map(|_| {
        let random = SimRandom::new(world.random.next());
        Client::new(world, random).live()
    });
    let faults = Faults::new(world, SimRandom::new(world.random.next()));
    let count = [0, 2, 5, 10][world.random.below(4) as usize];
    // A lost answer is a fault, too: what was asked then may take longer than anybody waits.
    world.is_calm.set(count == 0 && world.brokers.knobs().lost_answers_percent == 0);
    join(join_all(clients.collect::<Vec<_>>()), faults.befall(count)).await;
    world.check().await
}

fn run_traced(seed: u64, mutant: Option<Mutant>, trace: Arc<Trace>) -> Result<Tally, String> {
    let mut sim = Sim::with_trace(seed, trace);
    sim.set_mutant(mutant);
    let random = SimRandom::new(sim.random().next());
    let settings = Settings::draw(&random);
    let brokers = SimBrokers::new(&sim, settings.partitions as usize);
    let world = World::new(&sim, brokers, settings, random);
    let ended = sim.block_on_cluster(async {
        let (story, watch) = (std::pin::pin!(story(&world)), std::pin::pin!(world.watch()));
        match select(story, watch).await {
            Either::Left((ended, _)) => ended,
            Either::Right((violation, _)) => Err(violation),
        }
    });
    ended.map_err(|stopped| format!("{stopped:?}"))??;
    let mut tally = world.tally.take();
    tally.simulated = Duration::from_nanos(sim.now().nanos());
    Ok(tally)
}

/// One seed's cluster, from its beginning to its end.
fn run(seed: u64, mutant: Option<Mutant>) -> Result<Tally, String> {
    run_traced(seed, mutant, Arc::new(Trace::new(false)))
}

/// One seed if `SILTSTONE_SEED` names it, else so many as `SILTSTONE_SEEDS` says, from
/// `SILTSTONE_FIRST_SEED` on.
fn seeds(default: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|seed| seed.parse::<u64>().ok());
    let first = number("SILTSTONE_FIRST_SEED").unwrap_or(0);
    let many = || (first..first + crate::crash::seeds(default)).collect();
    number("SILTSTONE_SEED").map_or_else(many, |seed| vec![seed])
}

/// How many of a trace's last lines a failure shows.
const TRACE_TAIL: usize = 60;

/// Ends a test at a seed that failed. One that is repeated alone shows what happened last.
fn fail(seed: u64, error: &str) -> ! {
    if std::env::var_os("SILTSTONE_SEED").is_some() {
        let trace = Arc::new(Trace::new(true));
        let _ = run_traced(seed, None, trace.clone());
        let lines = trace.lines();
        let memtable = &lines[lines.len().saturating_sub(TRACE_TAIL)..];
        println!("what happened last:\n{}", memtable.join("\n"));
    }
    panic!(
        "seed {seed}: {error}\nrepeat it with: \
         SILTSTONE_SEED={seed} cargo test -p query --test it -- cluster::histories"
    );
}

#[test]
fn histories_of_a_cluster_are_linearizable() {
    let mut tally = Tally::default();
    let seeds = seeds(100);
    for seed in &seeds {
        match run(*seed, None) {
            Ok(one) => tally.add(&one),
            Err(error) => fail(*seed, &error),
        }
    }
    tally.tell(seeds.len());
}

/// With `SILTSTONE_SEEDS` this is the long form of the test above, too: each seed is checked, twice.
#[test]
fn a_cluster_runs_twice_with_equal_traces() {
    let tally = RefCell::new(Tally::default());
    let seeds = seeds(4);
    for seed in &seeds {
        assert_repeatable(*seed, |seed, keeps_lines| {
            let trace = Arc::new(Trace::new(keeps_lines));
            match run_traced(seed, None, trace.clone()) {
                Ok(one) => tally.borrow_mut().add(&one),
                Err(error) => fail(seed, &error),
            }
            trace
        });
    }
    tally.borrow().tell(2 * seeds.len());
}

/// The first seed in which a seeded bug shows, and how.
#[cfg(feature = "mutants")]
fn found_by(bug: Mutant, seeds: u64) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| {
        let run = std::panic::catch_unwind(|| run(seed, Some(bug)));
        match run {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some((seed, error)),
            Err(_) => Some((seed, "it panicked".into())),
        }
    })
}

/// Left out is `KeepReplacedClient`: what the old client still sends carries an epoch that its writer has
/// left, and the fold rejects it, so nobody is shown anything wrong. Two things must fail for a loss there.
/// That no client is kept is asserted where clients are made, by the simulator's `replaced_clients`.
#[cfg(feature = "mutants")]
#[test]
fn seeded_bugs_are_found() {
    let mut missed = Vec::new();
    for bug in [
        Mutant::ReadWithoutBarrier,
        Mutant::ApplyBeforeCommit,
        Mutant::CutTwice,
        Mutant::SkipPayloadSync,
        Mutant::ApplyDuplicates,
        Mutant::AcknowledgeAtEnqueue,
    ] {
        match found_by(bug, 600) {
            Some((seed, error)) => {
                println!("{bug:?}: seed {seed}: {}", error.lines().next().unwrap_or_default());
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
