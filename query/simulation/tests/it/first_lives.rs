//! Power cuts in the first two lives of a store, at every pair of operations: a new store must never become one that
//! refuses to start. Between its first log file and its marks, and between these and its identity, the second life goes on
//! with what the first one left.

use ingest::name::ObjectKey;
use ingest::record::{Versioning, WriteCondition};
use simulator::{CrashSurvival, RunStopped, Sim, SimDisk};

use crate::crash::seeds;
use crate::world::{Engine, open};

/// Writes an object, into a bucket that may be there already.
async fn write(engine: &Engine) -> Result<(), String> {
    let name = ingest::name::BucketName::new("first").expect("a good name");
    let known = engine.partition.buckets().named(&name).map(|bucket| bucket.id);
    let bucket = match known {
        Some(bucket) => bucket,
        None => engine.bucket("first", Versioning::Off).await?,
    };
    let key = ObjectKey::new(b"key".to_vec()).expect("a short key");
    engine.put(bucket, &key, b"bytes", WriteCondition::Always).await.map(|_| ())
}

/// One life that is cut at an operation, counted from its start; true when the life was long enough to be cut.
fn life(sim: &Sim, disk: &SimDisk, cut_at: u64, survival: CrashSurvival) -> Result<bool, String> {
    disk.crash_at(disk.operations() + cut_at);
    let lived = sim.block_on(disk, async {
        let engine = open(sim, disk).await?;
        write(&engine).await?;
        engine.close_log().await;
        Ok::<(), String>(())
    });
    match lived {
        Err(RunStopped::Crashed) => {
            sim.crash(disk, survival);
            Ok(true)
        }
        Err(stopped) => Err(format!("{stopped:?}")),
        Ok(lived) => {
            sim.stop();
            lived.map(|()| false)
        }
    }
}

/// Two lives that are cut, then one that must be able to start and to write. True for each life that was cut.
fn lives(cuts: [u64; 2], survival: CrashSurvival) -> Result<[bool; 2], String> {
    let sim = Sim::new(cuts[0] * 1000 + cuts[1]);
    let disk = SimDisk::new(&sim);
    let first = life(&sim, &disk, cuts[0], survival)?;
    let second = life(&sim, &disk, cuts[1], survival)?;
    life(&sim, &disk, u64::MAX / 2, survival)?;
    Ok([first, second])
}

#[test]
fn a_store_starts_after_power_cuts_at_every_pair_of_operations_of_its_first_lives() {
    // Of the second life every fifth operation, beginning at another one for each cut of the first life; all of them in
    // the long form.
    let step = if seeds(0) > 0 { 1 } else { 5 };
    let mut pairs = 0;
    for survival in [CrashSurvival::DropAll, CrashSurvival::KeepAll, CrashSurvival::TearLast] {
        for first in 1.. {
            let mut was_cut = false;
            for second in (1 + first % step..).step_by(step as usize) {
                let cut = lives([first, second], survival)
                    .unwrap_or_else(|error| panic!("{survival:?}, {first}, {second}: {error}"));
                was_cut = cut[0];
                pairs += 1;
                if !cut[1] {
                    break;
                }
            }
            if !was_cut {
                break;
            }
        }
    }
    println!("{pairs} pairs of power cuts");
    assert!(pairs > 500, "{pairs} pairs");
}
