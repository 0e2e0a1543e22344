//! Operations that fail, anywhere in the engine, and a power cut after: what was acknowledged is there.

use simulator::{Fault, FaultKind, Operation, Sim, SimDisk, Stopped, Survival};

use crate::crash::{BUCKETS, SharedClients, check, seeds};
use crate::world::{Client, open};

const OPERATIONS: [Operation; 7] = [
    Operation::Open,
    Operation::Write,
    Operation::Sync,
    Operation::SyncFolder,
    Operation::Rename,
    Operation::Remove,
    Operation::Allocate,
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
            let path = ["", "catalog", "runs", "bulk", "segments"][random.below(5) as usize];
            let mut fault = Fault::once(operation, path, random.below(30), FaultKind::Error);
            fault.times = 1 + random.below(3);
            disk.inject(fault);
        }
        if random.chance(50) {
            disk.crash_at(disk.operations() + 1 + random.below(600));
        }
        let slots = SharedClients::new(clients);
        // A client stops at the first error that it is told; what it was told before must hold.
        let lived = sim.block_on(&disk, slots.live(&sim, &disk, false));
        // A power cut takes the faults away with it.
        met += disk.clear_faults();
        let survival = match sim.random().below(3) {
            0 => Survival::DropAll,
            1 => Survival::KeepAll,
            _ => Survival::Random(sim.random().below(u64::MAX)),
        };
        match lived {
            Err(Stopped::Crashed) | Ok(_) => sim.crash(&disk, survival),
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

#[test]
fn acknowledged_writes_survive_failing_operations() {
    let mut met = 0;
    for seed in 0..seeds(100) {
        met += run(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    assert!(met > 0, "no fault was met");
    println!("{met} faults met");
}
