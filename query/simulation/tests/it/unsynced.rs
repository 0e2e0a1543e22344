//! A generation of the catalog that is visible and not durable: a kill came between the renames of its publication and the
//! sync of their folder. A power cut in the next start takes the generation away, so that start must not give up the log
//! below it before the generation is durable.

use std::time::Duration;

use compactor::partition::{CutPolicy, PartitionOptions};
use ingest::env::timeout;
use ingest::mutant::Mutant;
use ingest::name::{BucketName, ObjectKey};
use ingest::record::{Versioning, WriteCondition};
use simulator::{CrashSurvival, DiskFault, DiskOperation, FaultKind, RunStopped, Sim, SimDisk};

use crate::world::{open, open_as, options};

const NAME: &str = "unsynced";
const KEYS: usize = 150;

fn key(number: usize) -> ObjectKey {
    ObjectKey::new(format!("k{number}").into_bytes()).expect("a short key")
}

/// Fills several log files, begins a cut whose publication ends before its sync, and kills the process.
fn make(sim: &Sim, disk: &SimDisk) {
    let made = sim.block_on(disk, async {
        let large = PartitionOptions { cut: CutPolicy::default(), ..options() };
        let engine = open_as(sim, disk, |log| log, large).await?;
        let bucket = engine.bucket(NAME, Versioning::Off).await?;
        for number in 0..KEYS {
            let payload = vec![number as u8; 1_500];
            engine.put(bucket, &key(number), &payload, WriteCondition::Always).await?;
        }
        let fault =
            DiskFault::once(DiskOperation::SyncFolder, "p0000/catalog", 0, FaultKind::Error);
        disk.inject(DiskFault { times: u64::MAX, ..fault });
        // The flush tries again each second, and fails each time.
        let clock = sim.env(disk).clock.clone();
        timeout(clock.as_ref(), Duration::from_millis(500), engine.partition.cut()).await;
        Ok::<(), String>(())
    });
    made.expect("not stopped").expect("filled");
    sim.kill(disk);
}

/// Cuts the power at one operation of the next start, and counts the keys of the start after that. `None` when the start
/// ended before.
fn cut_at(operation: u64, mutant: Option<Mutant>) -> Option<Result<usize, String>> {
    let mut sim = Sim::new(1);
    sim.set_mutant(mutant);
    let (sim, disk) = (&sim, SimDisk::new(&sim));
    make(sim, &disk);
    disk.crash_at(disk.operations() + operation);
    match sim.block_on(&disk, async { open(sim, &disk).await.map(|_| ()) }) {
        Err(RunStopped::Crashed) => sim.crash(&disk, CrashSurvival::DropAll),
        _ => return None,
    }
    let counted = sim.block_on(&disk, async {
        let engine = open(sim, &disk).await?;
        let name = BucketName::new(NAME.as_bytes().to_vec()).expect("a good name");
        let buckets = engine.partition.buckets();
        let bucket = buckets.named(&name).ok_or("the bucket is gone")?;
        let found = engine.versions(bucket.id, 1000).await.map_err(|error| error.to_string())?;
        Ok::<usize, String>(found.len())
    });
    Some(counted.map_err(|stopped| format!("{stopped:?}")).and_then(|counted| counted))
}

#[test]
fn a_generation_that_is_not_durable_gives_up_no_log_file() {
    let mut cuts = 0;
    for operation in 1.. {
        let Some(found) = cut_at(operation, None) else { break };
        assert_eq!(found, Ok(KEYS), "a cut at operation {operation} of the start");
        cuts += 1;
    }
    assert!(cuts > 20, "{cuts} operations of a start");
}

#[cfg(feature = "mutants")]
#[test]
fn seeded_bugs_of_an_unsynced_catalog_are_found() {
    let bug = Mutant::TrustUnsyncedCatalog;
    let found = (1..).map_while(|at| cut_at(at, Some(bug))).position(|found| found != Ok(KEYS));
    println!("{bug:?}: operation {found:?}");
    assert!(found.is_some());
}
