//! Operations that fail, anywhere in the engine, and a power cut after: what was acknowledged is there.

use std::time::Duration;

use ingest::name::ObjectKey;
use ingest::record::{Versioning, WriteCondition};
use simulator::{CrashSurvival, DiskFault, DiskOperation, FaultKind, RunStopped, Sim, SimDisk};

use crate::crash::{BUCKETS, SharedClients, check, seeds};
use crate::world::{Client, open};

const OPERATIONS: [DiskOperation; 8] = [
    DiskOperation::Open,
    DiskOperation::Read,
    DiskOperation::Write,
    DiskOperation::Sync,
    DiskOperation::SyncFolder,
    DiskOperation::Rename,
    DiskOperation::Remove,
    DiskOperation::Allocate,
];

fn run(seed: u64) -> Result<u64, String> {
    let sim = Sim::new(seed);
    let disk = SimDisk::new(&sim);
    let mut clients = Vec::new();
    let made = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        for (number, (name, versioning)) in BUCKETS.into_iter().enumerate() {
            let bucket = engine.bucket(name, versioning).await?;
            clients.push(Client::new(number as u64, bucket, versioning, seed));
        }
        engine.close().await;
        Ok::<(), String>(())
    });
    made.map_err(|stopped| format!("{stopped:?}"))??;
    sim.stop();
    let mut met = 0;
    for _ in 0..3 {
        let random = sim.random();
        for _ in 0..1 + random.below(3) {
            let operation = OPERATIONS[random.below(OPERATIONS.len() as u64) as usize];
            // Everywhere, or where the catalog, the runs and the bulk files are.
            let path = ["p0000", "catalog", "runs", "bulk", "segments"][random.below(5) as usize];
            // What recovery reads of the log is what the crash tests are about.
            let path = match operation {
                DiskOperation::Read => path,
                _ if path == "p0000" => "",
                _ => path,
            };
            let kind = match operation {
                DiskOperation::Read => [FaultKind::Error, FaultKind::Exhausted, FaultKind::Garbled]
                    [random.below(3) as usize],
                _ => [FaultKind::Error, FaultKind::Exhausted][random.below(2) as usize],
            };
            let mut fault = DiskFault::once(operation, path, random.below(30), kind);
            fault.times = 1 + random.below(3);
            disk.inject(fault);
        }
        if random.chance(50) {
            disk.crash_at(disk.operations() + 1 + random.below(600));
        }
        // A clock may be wrong, either way, while all this goes on.
        if random.chance(30) {
            let micros = random.below(4 * 31_536_000_000_000) as i64 - 2 * 31_536_000_000_000;
            sim.jump_wall_clock(micros);
        }
        let slots = SharedClients::new(clients);
        // A client stops at the first error that it is told; what it was told before must hold.
        let lived = sim.block_on(&disk, slots.live(&sim, &disk, false));
        // A power cut takes the faults away with it.
        met += disk.clear_faults();
        let survival = match sim.random().below(3) {
            0 => CrashSurvival::DropAll,
            1 => CrashSurvival::KeepAll,
            _ => CrashSurvival::Random(sim.random().below(u64::MAX)),
        };
        match lived {
            Err(RunStopped::Crashed) | Ok(_) => sim.crash(&disk, survival),
            Err(stopped) => return Err(format!("{stopped:?}")),
        }
        clients = slots.into_inner();
        let checked = sim.block_on(&disk, async {
            let engine = open(&sim, &disk).await?;
            check(&engine, &mut clients, 3).await?;
            engine.close().await;
            Ok::<(), String>(())
        });
        checked.map_err(|stopped| format!("{stopped:?}"))??;
        sim.stop();
    }
    Ok(met)
}

/// An append whose sync failed may turn up at the next start, over an object that was acknowledged. Its
/// payload was collected in between, since nobody held it any more: then both were lost.
fn unknown_write(seed: u64) -> Result<bool, String> {
    let sim = Sim::new(seed);
    let disk = SimDisk::new(&sim);
    let key = ObjectKey::new(b"k".to_vec()).expect("a short key");
    let (old, new) = (vec![1; 500], vec![2; 90_000]);
    let lived = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        let bucket = engine.bucket("plain", Versioning::Off).await?;
        engine.put(bucket, &key, &old, WriteCondition::Always).await?;
        disk.inject(DiskFault::once(DiskOperation::Sync, ".log", 0, FaultKind::Error));
        let put = engine.put(bucket, &key, &new, WriteCondition::Always).await;
        // More payload, so that the file of the first takes none any more; then time for collections.
        drop(engine.write_bulk(&new).await?);
        sim.env(&disk).clock.sleep(Duration::from_secs(30)).await;
        put.err().ok_or("the sync did not fail").map(|_| bucket).map_err(String::from)
    });
    let bucket = match lived.map_err(|stopped| format!("{stopped:?}"))? {
        Ok(bucket) => bucket,
        // The idle mark met the fault.
        Err(error) if error.contains("did not fail") => return Ok(false),
        Err(error) => return Err(error),
    };
    disk.clear_faults();
    sim.crash(&disk, CrashSurvival::KeepAll);
    let read = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        let found = engine.versions(bucket, 10).await.map_err(|error| error.to_string())?;
        let content = found[key.as_bytes()][0].content.clone().unwrap_or_default();
        match (content == old, content == new) {
            (false, false) => Err("the object has other bytes".into()),
            (_, turned_up) => Ok(turned_up),
        }
    });
    sim.stop();
    read.map_err(|stopped| format!("{stopped:?}"))?
}

#[test]
fn a_write_of_unknown_outcome_keeps_its_payload() {
    let seeds = 0..seeds(30);
    let turned_up = seeds
        .filter(|seed| unknown_write(*seed).unwrap_or_else(|error| panic!("seed {seed}: {error}")));
    assert!(turned_up.count() > 0, "no such write has turned up");
}

/// Taken for an empty one, a store whose catalog cannot be listed would begin anew over its own files.
#[test]
fn a_catalog_that_cannot_be_listed_is_no_empty_store() {
    let sim = Sim::new(1);
    let disk = SimDisk::new(&sim);
    let done = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        engine.bucket("plain", Versioning::Off).await?;
        engine.close().await;
        disk.inject(DiskFault::once(DiskOperation::Look, "catalog", 0, FaultKind::Error));
        if open(&sim, &disk).await.is_ok() {
            return Err("the store was opened without its catalog".into());
        }
        disk.clear_faults();
        let engine = open(&sim, &disk).await?;
        match engine.partition.buckets().iter().count() {
            1 => Ok::<(), String>(()),
            count => Err(format!("{count} buckets")),
        }
    });
    assert_eq!(done, Ok(Ok(())));
}

#[test]
fn acknowledged_writes_survive_failing_operations() {
    let mut met = 0;
    for seed in 0..seeds(100) {
        met += run(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    assert!(met > 0, "no fault was met");
    println!("{met} faults met");
}
