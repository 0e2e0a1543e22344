//! Power cuts anywhere: the recovered store is always one that the clients' model allows.

use bytes::Bytes;
use ingest::mutant::Mutant;
use ingest::record::Versioning;
use simulator::{CrashSurvival, RunStopped, Sim, SimDisk};

use crate::world::{Client, Engine, Model, open};

pub const BUCKETS: [(&str, Versioning); 3] = [
    ("plain", Versioning::Off),
    ("versions", Versioning::On),
    ("suspended", Versioning::Suspended),
];

/// A client's keys among all that a bucket holds.
fn own(found: &Model, number: u64) -> Model {
    let prefix = format!("client-{number}/");
    let is_own = |key: &Bytes| key.starts_with(prefix.as_bytes());
    found.iter().filter(|(key, _)| is_own(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Versions that were not told their number are compared by content.
fn same(a: &Model, b: &Model) -> bool {
    let plain = |model: &Model| -> Vec<_> {
        let versions = |versions: &Vec<crate::world::Version>| {
            versions.iter().map(|v| (v.is_null, v.content.clone())).collect::<Vec<_>>()
        };
        model.iter().map(|(key, all)| (key.clone(), versions(all))).collect()
    };
    plain(a) == plain(b)
}

pub async fn check(engine: &Engine, clients: &mut [Client], page: usize) -> Result<(), String> {
    for client in clients {
        let found = engine.versions(client.bucket, page).await.map_err(|e| e.to_string())?;
        let found = own(&found, client.number);
        let done = client.with_pending(&found);
        if !same(&found, &client.model) && !same(&found, &done) {
            return Err(format!(
                "client {} with {:?} under way:\nfound {found:?}\nmodel {:?}",
                client.number, client.pending, client.model
            ));
        }
        client.model = found;
        client.pending = None;
        client.check_uploads(engine).await?;
    }
    Ok(())
}

/// Two lives that end in power cuts or kills, each followed by starts that end half way and one that is checked, then a
/// clean life.
pub fn run(seed: u64, crash_at: Option<u64>, mutant: Option<Mutant>) -> Result<bool, String> {
    run_traced(&mut Sim::new(seed), seed, crash_at, mutant)
}

pub fn run_traced(
    sim: &mut Sim,
    seed: u64,
    crash_at: Option<u64>,
    mutant: Option<Mutant>,
) -> Result<bool, String> {
    sim.set_mutant(mutant);
    let sim = &*sim;
    let disk = SimDisk::new(sim);
    let mut clients = Vec::new();
    let made = sim.block_on(&disk, async {
        let engine = open(sim, &disk).await?;
        for (index, (name, versioning)) in BUCKETS.into_iter().enumerate() {
            let bucket = engine.bucket(name, versioning).await?;
            for number in [2 * index as u64, 2 * index as u64 + 1] {
                clients.push(Client::new(number, bucket, versioning, seed));
            }
        }
        engine.close().await;
        Ok::<(), String>(())
    });
    made.map_err(|stopped| format!("{stopped:?}"))??;
    sim.stop();
    let mut crashed = false;
    for round in 0..3u64 {
        let slots = SharedClients::new(clients);
        let is_last = round == 2;
        let at = match crash_at {
            Some(at) if round == 0 => Some(at),
            _ if is_last => None,
            _ => Some(1 + sim.random().below(400)),
        };
        if let Some(at) = at {
            disk.crash_at(disk.operations() + at);
        }
        let lived = sim.block_on(&disk, slots.live(sim, &disk, is_last));
        match lived {
            Err(RunStopped::Crashed) => crashed |= round == 0,
            Err(stopped) => return Err(format!("{stopped:?}")),
            Ok(lived) => lived?,
        }
        if is_last {
            sim.stop();
        } else {
            // A life that ended before its crash point ends now.
            end(sim, &disk);
            interrupt_starts(sim, &disk)?;
        }
        clients = slots.into_inner();
        let page = 1 + sim.random().below(7) as usize;
        let checked = sim.block_on(&disk, async {
            let engine = open(sim, &disk).await?;
            check(&engine, &mut clients, page).await?;
            engine.close().await;
            Ok::<(), String>(())
        });
        checked.map_err(|stopped| format!("{stopped:?}"))??;
        sim.stop();
    }
    Ok(crashed)
}

/// Ends the process, mostly by a power cut.
fn end(sim: &Sim, disk: &SimDisk) {
    let survival = match sim.random().below(5) {
        0 => CrashSurvival::DropAll,
        1 => CrashSurvival::KeepAll,
        2 => CrashSurvival::TearLast,
        3 => CrashSurvival::Random(sim.random().below(u64::MAX)),
        _ => return sim.kill(disk),
    };
    sim.crash(disk, survival);
}

/// Starts that end half way, each at another operation, before the one that is checked.
fn interrupt_starts(sim: &Sim, disk: &SimDisk) -> Result<(), String> {
    for _ in 0..sim.random().below(3) {
        disk.crash_at(disk.operations() + 1 + sim.random().below(60));
        match sim.block_on(disk, async { open(sim, disk).await.map(|_| ()) }) {
            Err(RunStopped::Crashed) => {}
            Err(stopped) => return Err(format!("{stopped:?}")),
            Ok(opened) => opened?,
        }
        end(sim, disk);
    }
    Ok(())
}

/// Clients that survive the power cut with what they knew, though their tasks do not.
pub struct SharedClients {
    clients: Vec<futures::lock::Mutex<Client>>,
}

impl SharedClients {
    pub fn new(clients: Vec<Client>) -> Self {
        Self { clients: clients.into_iter().map(futures::lock::Mutex::new).collect() }
    }

    pub async fn live(&self, sim: &Sim, disk: &SimDisk, closes: bool) -> Result<(), String> {
        let engine = open(sim, disk).await?;
        let steps = self.clients.iter().map(|client| async {
            let mut client = client.lock().await;
            for _ in 0..12 {
                client.step(&engine).await?;
                client.look(&engine).await?;
            }
            Ok::<(), String>(())
        });
        for done in futures::future::join_all(steps).await {
            done?;
        }
        if closes {
            engine.close().await;
        }
        Ok(())
    }

    pub fn into_inner(self) -> Vec<Client> {
        self.clients.into_iter().map(futures::lock::Mutex::into_inner).collect()
    }
}

pub fn seeds(default: u64) -> u64 {
    std::env::var("SILTSTONE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn the_store_survives_power_cuts_at_random() {
    for seed in 0..seeds(60) {
        run(seed, None, None).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn the_store_survives_a_power_cut_at_every_operation() {
    let mut points = 0;
    for operation in 1.. {
        let crashed = run(7, Some(operation), None)
            .unwrap_or_else(|error| panic!("seed 7, operation {operation}: {error}"));
        points += u64::from(crashed);
        if !crashed || points >= seeds(150) {
            break;
        }
    }
    println!("{points} crash points");
}

#[test]
fn a_seed_runs_twice_with_equal_traces() {
    use std::sync::Arc;

    use simulator::trace::{Trace, assert_repeatable};

    for seed in 0..10 {
        assert_repeatable(seed, |seed, keeps_lines| {
            let trace = Arc::new(Trace::new(keeps_lines));
            let mut sim = Sim::with_trace(seed, trace.clone());
            run_traced(&mut sim, seed, None, None).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            trace
        });
    }
}

/// These need events and a receiver: see `events.rs`.
#[cfg(feature = "mutants")]
pub const OF_EVENTS: [Mutant; 3] =
    [Mutant::ForgetEventsAtCut, Mutant::ForgetEventQueuesAtCut, Mutant::PassEventsBeforeDelivery];

#[cfg(feature = "mutants")]
#[test]
fn seeded_bugs_are_found() {
    let mut missed = Vec::new();
    // The log's own suite finds these: they need rot, or a crash at just the right operation.
    let of_the_log = [Mutant::TruncateBelowMark, Mutant::AcknowledgeBeforeSync];
    // These need brokers, or more than one node.
    let of_the_cluster = [
        Mutant::AcknowledgeAtEnqueue,
        Mutant::KeepReplacedClient,
        Mutant::ReadWithoutBarrier,
        Mutant::SkipPayloadSync,
        Mutant::CutTwice,
    ];
    // These need damage: see `missing.rs` and `rot.rs`.
    let of_damage =
        [Mutant::BelieveEmptyLog, Mutant::WalkFromFirstBatch, Mutant::EncodeBeyondLimit];
    // This one needs a kill in a publication and a power cut in the next start: see `unsynced.rs`.
    let of_a_start = [Mutant::TrustUnsyncedCatalog];
    // These need reads that fail, or a clock that jumps: see `reads` and `clock`.
    let of_the_world = [
        Mutant::BelieveFirstRead,
        Mutant::StopOnTransientRead,
        Mutant::ExhaustionIsRot,
        Mutant::BelieveAnyClock,
    ];
    // These need uploads that are given up, or a full disk: see `room`, and the simulator's tests of bulk files.
    let of_room = [
        Mutant::ReserveWhole,
        Mutant::KeepAbandoned,
        Mutant::DiscardNeighbour,
        Mutant::WaitForRoom,
        Mutant::CollectWhileRead,
    ];
    // This one needs a rename while a memtable is flushed: see `renames`.
    let of_renames = [Mutant::ForgetSealedKey];
    // A server and its clients find this one: `gateway/tests/sql/test_conversations.py`.
    let of_the_doors = [Mutant::QueryBeforeLogin];
    let elsewhere: [&[Mutant]; 9] = [
        &of_the_log,
        &of_the_cluster,
        &of_damage,
        &of_a_start,
        &of_the_world,
        &of_room,
        &of_the_doors,
        &of_renames,
        &OF_EVENTS,
    ];
    let is_elsewhere = |bug: &&Mutant| elsewhere.iter().any(|bugs| bugs.contains(bug));
    for bug in Mutant::ALL.iter().filter(|bug| !is_elsewhere(bug)) {
        let found = (0..80).find(|seed| {
            let run = std::panic::catch_unwind(|| {
                run(*seed, None, Some(*bug))?;
                crate::races::everything(*seed, Some(*bug))
            });
            !matches!(run, Ok(Ok(())))
        });
        println!("{bug:?}: seed {found:?}");
        if found.is_some() {
            continue;
        }
        let told = (1..2_000).step_by(9).find(|operation| {
            let run = std::panic::catch_unwind(|| {
                crate::story::crash_at(1, *operation, CrashSurvival::DropAll, Some(*bug))
            });
            !matches!(run, Ok(Ok(_)))
        });
        println!("{bug:?}: operation {told:?} of the story");
        if told.is_none() {
            missed.push(*bug);
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
