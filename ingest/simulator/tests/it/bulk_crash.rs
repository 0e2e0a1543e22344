//! Power cuts at every disk operation of two interleaved uploads: what a finished upload wrote is there.
//!
//! Not checked: what becomes of uploads that had not finished, which is garbage by contract.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test is told how many seeds to run, and tells what it did"
)]

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join;
use ingest::bulk::{self, BulkFiles, BulkOptions};
use ingest::entry::Extent;
use ingest::mutant::Mutant;
use ingest::place::Place;
use parking_lot::Mutex;
use simulator::trace::{Trace, assert_repeatable};
use simulator::{CrashSurvival, RunStopped, Sim, SimDisk};

use crate::bulk::{options, payload, read};

/// An upload whose finish resolved: what a record may name.
type Finished = (Vec<Extent>, Bytes);

fn small_files() -> BulkOptions {
    BulkOptions { file_bytes_max: 300 << 10, ..options() }
}

/// Two uploads that take turns, one of them larger than a file; a third begins in what is left, after an
/// abandoned one.
async fn workload(sim: &Sim, disk: &SimDisk, finished: &Mutex<Vec<Finished>>) {
    let bulk = BulkFiles::open(sim.env(disk), small_files()).await.expect("opens");
    let one = async |tag: u8, len: usize, step: usize| {
        let bytes = payload(tag, len);
        let mut upload = bulk.begin(Place::Hot, len as u64).await.expect("begun");
        for start in (0..len).step_by(step) {
            let end = len.min(start + step);
            upload.write(bytes.slice(start..end)).await.expect("written");
        }
        let written = upload.finish().await.expect("finished");
        finished.lock().push((written.extents.to_vec(), bytes));
    };
    join(one(1, 80_000, 9_000), one(2, 400_000, 120_000)).await;
    drop(bulk.begin(Place::Hot, 20_000).await.expect("begun"));
    one(3, 5_000, 5_000).await;
}

/// Starts again and reads everything that was finished, then writes something more beside it.
fn check(sim: &Sim, disk: &SimDisk, finished: &[Finished]) -> Result<(), String> {
    let run = sim.block_on(disk, async {
        let env = sim.env(disk);
        let open = BulkFiles::open(env.clone(), small_files()).await;
        let bulk = open.map_err(|error| format!("does not open: {error}"))?;
        let begun = crate::bulk::upload(&bulk, &payload(9, 70_000), &[70_000]).await;
        let more = begun.map_err(|error| format!("a new upload fails: {error}"))?;
        for (extents, bytes) in finished {
            if extents.iter().any(|extent| extent.file >= more.extents[0].file) {
                return Err(format!("the number of a file in {extents:?} is used again"));
            }
            let found = read(&bulk, extents, 0..bytes.len() as u64).await;
            match found {
                Ok(found) if found == *bytes => {}
                Ok(_) => return Err("wrong bytes and no error".into()),
                Err(error) => return Err(format!("a finished upload cannot be read: {error}")),
            }
        }
        let all: Vec<Extent> = finished.iter().flat_map(|(extents, _)| extents).copied().collect();
        for id in all.iter().map(|extent| extent.file) {
            let wrong = bulk::verify(&env, &small_files(), id, &all).await;
            match wrong {
                Ok(wrong) if wrong.is_empty() => {}
                wrong => return Err(format!("the check of file {id} finds {wrong:?}")),
            }
        }
        Ok(())
    });
    run.map_err(|stopped| format!("{stopped:?}"))?
}

fn crash_once(
    seed: u64,
    operation: u64,
    survival: CrashSurvival,
    mutant: Option<Mutant>,
) -> Result<bool, String> {
    let mut sim = Sim::new(seed);
    sim.set_mutant(mutant);
    let disk = SimDisk::new(&sim);
    let finished = Mutex::default();
    disk.crash_at(operation);
    let run = sim.block_on(&disk, workload(&sim, &disk, &finished));
    let crashed = run == Err(RunStopped::Crashed);
    if !crashed {
        run.map_err(|stopped| format!("{stopped:?}"))?;
    }
    // Without a crash on the way there is one at the end.
    sim.crash(&disk, survival);
    check(&sim, &disk, &finished.into_inner())?;
    Ok(crashed)
}

/// Runs every crash point of a seed; gives how many there were, or the first failure.
fn crash_everywhere(seed: u64, mutant: Option<Mutant>) -> Result<u64, String> {
    let random = (0..6).map(CrashSurvival::Random);
    let survivals = [CrashSurvival::DropAll, CrashSurvival::KeepAll, CrashSurvival::TearLast];
    let survivals: Vec<CrashSurvival> = survivals.into_iter().chain(random).collect();
    let mut points = 0;
    for operation in 1.. {
        let mut crashed = false;
        for survival in &survivals {
            let run = crash_once(seed, operation, *survival, mutant);
            crashed = run.map_err(|error| {
                format!("seed {seed}, operation {operation}, {survival:?}: {error}")
            })?;
            points += u64::from(crashed);
        }
        if !crashed {
            break;
        }
    }
    Ok(points)
}

#[test]
fn a_finished_upload_survives_a_crash_at_every_operation() {
    let seeds = std::env::var("SILTSTONE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let mut points = 0;
    for seed in 0..seeds {
        points += crash_everywhere(seed, None).unwrap_or_else(|error| panic!("{error}"));
    }
    println!("{points} crash points over {seeds} seeds");
}

#[test]
fn a_seed_runs_twice_with_equal_traces() {
    let run = |seed, keeps_lines| {
        let trace = Arc::new(Trace::new(keeps_lines));
        let sim = Sim::with_trace(seed, trace.clone());
        let disk = SimDisk::new(&sim);
        let finished = Mutex::default();
        disk.crash_at(10 + seed % 40);
        let _ = sim.block_on(&disk, workload(&sim, &disk, &finished));
        sim.crash(&disk, CrashSurvival::Random(seed));
        let _ = check(&sim, &disk, &finished.into_inner());
        trace
    };
    (0..50).for_each(|seed| assert_repeatable(seed, run));
}

#[cfg(feature = "mutants")]
#[test]
fn seeded_bugs_of_bulk_files_are_found() {
    for bug in [Mutant::SkipBulkSync, Mutant::SkipBulkFolderSync] {
        let found = (0..4).find_map(|seed| crash_everywhere(seed, Some(bug)).err());
        println!("{bug:?}: {found:?}");
        assert!(found.is_some(), "{bug:?} was not found");
    }
}
