//! Power cuts at every disk operation: what was acknowledged is there, in order, and recovery is stable.

use std::collections::BTreeMap;
use std::sync::Arc;

use ingest::ids::{Offset, PartitionId};
use ingest::log::embedded::{EmbeddedLog, RecoveryReport};
use ingest::log::{CommittedRecord, Log};
use ingest::mutant::Mutant;
use ingest::record::RecordId;
use parking_lot::Mutex;
use simulator::conformance::{append, read_all, record};
use simulator::{CrashSurvival, RunStopped, Sim, SimDisk};

use crate::log_conformance::options;

const PARTITION: PartitionId = PartitionId::ZERO;

/// What the callers know when the power goes.
#[derive(Default)]
pub struct Known {
    pub sent: Vec<RecordId>,
    pub acknowledged: Vec<RecordId>,
    pub trimmed: Offset,
}

pub async fn open(sim: &Sim, disk: &SimDisk, floor: Offset) -> (Arc<EmbeddedLog>, RecoveryReport) {
    let floors = BTreeMap::from([(PARTITION, floor)]);
    let (log, report) =
        EmbeddedLog::open(&sim.env(disk), options(), &floors).await.expect("a log opens");
    (Arc::new(log), report)
}

/// Three callers append records of many sizes, over several files; the log is trimmed now and then.
pub async fn workload(sim: &Sim, disk: &SimDisk, known: &Mutex<Known>, from: u64, count: u64) {
    let floor = known.lock().trimmed;
    let (log, _) = open(sim, disk, floor).await;
    let shared: Arc<dyn Log> = log.clone();
    let callers = (1..=3u8).map(|caller| {
        let log = shared.clone();
        async move {
            for sequence in from..from + count {
                let size = [10, 700, 5000, 20_000][(sequence as usize + caller as usize) % 4];
                let record = record(caller, sequence, &vec![caller; size]);
                let id = record.id;
                known.lock().sent.push(id);
                if append(&log, record).await.is_err() {
                    return;
                }
                known.lock().acknowledged.push(id);
                if caller == 1 && sequence % 4 == 0 {
                    trim(&log, known).await;
                }
            }
        }
    });
    futures::future::join_all(callers).await;
    log.close().await;
}

/// Lets go of all but the last few records, as a cut does.
async fn trim(log: &Arc<dyn Log>, known: &Mutex<Known>) {
    let end = log.status(PARTITION).end;
    let below = Offset::new(end.get().saturating_sub(10));
    // The catalog that makes this the floor is durable before the log is told.
    {
        let mut known = known.lock();
        known.trimmed = known.trimmed.max(below);
    }
    log.trim(PARTITION, below).await.expect("trimmed");
}

/// Opens after a crash and compares; gives what was found, or what is wrong.
fn check(sim: &Sim, disk: &SimDisk, known: &Known) -> Result<Vec<(Offset, RecordId)>, String> {
    let run = sim.block_on(disk, async {
        let (log, report) = open(sim, disk, known.trimmed).await;
        if let Some(corruption) = report.corruptions.get(&PARTITION) {
            return Err(format!("a crash alone was taken for corruption: {corruption}"));
        }
        let shared: Arc<dyn Log> = log.clone();
        let found = read_all(&shared, known.trimmed).await.map_err(|error| error.to_string())?;
        log.close().await;
        Ok(found)
    });
    let found: Vec<CommittedRecord> = run.map_err(|stopped| format!("{stopped:?}"))??;
    let found: Vec<(Offset, RecordId)> =
        found.into_iter().map(|r| (r.offset, r.record.id)).collect();
    let ids: Vec<RecordId> = found.iter().map(|(_, id)| *id).collect();
    for id in &ids {
        if !known.sent.contains(id) {
            return Err(format!("{id:?} was never sent"));
        }
    }
    for caller in 1..=3u8 {
        let own: Vec<u64> =
            ids.iter().filter(|id| id.writer.0[0] == caller).map(|id| id.sequence.get()).collect();
        if !own.is_sorted_by(|a, b| *b == a + 1) {
            return Err(format!("caller {caller}'s records are {own:?}"));
        }
        let last = known.acknowledged.iter().filter(|id| id.writer.0[0] == caller);
        let last = last.map(|id| id.sequence.get()).max();
        // Below the trim point records may be gone; the last acknowledged may be among them only if
        // everything of this caller is.
        if let (Some(last), Some(found)) = (last, own.last())
            && *found < last
        {
            return Err(format!(
                "caller {caller}'s record {last} was acknowledged, {found} is the last"
            ));
        }
        if own.is_empty() && last.is_some() && found.len() as u64 > known.trimmed.get() {
            return Err(format!("caller {caller}'s acknowledged records are gone"));
        }
    }
    let acknowledged = known.acknowledged.len() as u64;
    let end = found.last().map_or(known.trimmed, |(offset, _)| offset.next()).get();
    if end < acknowledged {
        return Err(format!("{acknowledged} records were acknowledged, the log ends at {end}"));
    }
    Ok(found)
}

/// One life that ends in a power cut at an operation, a check, a second look, and a life after it.
pub fn crash_once(
    seed: u64,
    operation: u64,
    survival: CrashSurvival,
    mutant: Option<Mutant>,
) -> Result<bool, String> {
    let mut sim = Sim::new(seed);
    sim.set_mutant(mutant);
    let disk = SimDisk::new(&sim);
    let known = Mutex::new(Known::default());
    disk.crash_at(operation);
    let run = sim.block_on(&disk, workload(&sim, &disk, &known, 1, 12));
    let crashed = run == Err(RunStopped::Crashed);
    if !crashed {
        run.map_err(|stopped| format!("{stopped:?}"))?;
    }
    sim.crash(&disk, survival);
    let first = check(&sim, &disk, &known.lock())?;
    sim.crash(&disk, survival);
    let second = check(&sim, &disk, &known.lock())?;
    if first != second {
        return Err("two recoveries in a row differ".into());
    }
    // What was found counts as acknowledged from here on, and the log goes on after it.
    {
        let mut known = known.lock();
        for (_, id) in &first {
            if !known.acknowledged.contains(id) {
                known.acknowledged.push(*id);
            }
        }
    }
    Ok(crashed)
}

fn survivals() -> Vec<CrashSurvival> {
    let random = (0..6).map(CrashSurvival::Random);
    [CrashSurvival::DropAll, CrashSurvival::KeepAll, CrashSurvival::TearLast]
        .into_iter()
        .chain(random)
        .collect()
}

/// Runs every crash point of a seed; gives how many there were, or the first failure.
pub fn crash_everywhere(seed: u64, mutant: Option<Mutant>) -> Result<u64, String> {
    let mut points = 0;
    for operation in 1.. {
        let mut crashed = false;
        for survival in survivals() {
            let run = crash_once(seed, operation, survival, mutant);
            crashed = run.map_err(|error| {
                format!("seed {seed}, operation {operation}, {survival:?}: {error}")
            })?;
            points += u64::from(crashed);
        }
        if !crashed {
            return Ok(points);
        }
    }
    Ok(points)
}

#[test]
fn acknowledged_records_survive_a_crash_at_every_operation() {
    let seeds = std::env::var("SILTSTONE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let mut points = 0;
    for seed in 0..seeds {
        points += crash_everywhere(seed, None).unwrap_or_else(|error| panic!("{error}"));
    }
    println!("{points} crash points over {seeds} seeds");
}

#[cfg(feature = "mutants")]
#[test]
fn seeded_bugs_are_found() {
    let bugs = [
        Mutant::SkipLogSync,
        Mutant::AcknowledgeBeforeSync,
        Mutant::RecycleNeededFile,
        Mutant::SkipLogFolderSync,
    ];
    for bug in bugs {
        let found = (0..10).find_map(|seed| crash_everywhere(seed, Some(bug)).err());
        println!("{bug:?}: {found:?}");
        assert!(found.is_some(), "{bug:?} was not found");
    }
}
