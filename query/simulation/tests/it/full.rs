//! A full device: writes are refused in words, everything else goes on.

use std::time::Duration;

use compactor::outcome::RecordOutcome;
use ingest::name::ObjectKey;
use ingest::record::{Versioning, WriteCondition};
use simulator::{Sim, SimDisk, SimRandom};

use crate::crash::seeds;
use crate::world::{Engine, open};

fn key(number: usize) -> ObjectKey {
    ObjectKey::new(format!("key-{number:04}").into_bytes()).expect("a short key")
}

/// Bytes that do not compress, so that the device fills up with them.
fn payload(number: usize, bytes: usize) -> Vec<u8> {
    let random = SimRandom::new(number as u64);
    (0..bytes).map(|_| random.below(256) as u8).collect()
}

/// Puts until the device is full; gives how many were acknowledged.
async fn fill(
    engine: &Engine,
    bucket: ingest::ids::BucketId,
    bytes: usize,
) -> Result<usize, String> {
    for number in 0..20_000 {
        let (key, payload) = (key(number), payload(number, bytes));
        match engine.put(bucket, &key, &payload, WriteCondition::Always).await {
            Ok(RecordOutcome::Written(_)) => {}
            Ok(other) => return Err(format!("{other:?}")),
            Err(error) if error.contains("full") || error.contains("room") => return Ok(number),
            Err(error) if error.contains("space") || error.contains("free") => return Ok(number),
            Err(error) => return Err(format!("a full device was told as: {error}")),
        }
    }
    Err("the device was never full".into())
}

/// Deletes as clients do: what is refused for now is tried again.
async fn delete(
    sim: &Sim,
    disk: &SimDisk,
    engine: &Engine,
    bucket: ingest::ids::BucketId,
    number: usize,
) -> Result<(), String> {
    for _ in 0..10 {
        match engine.delete(bucket, &key(number)).await {
            Ok(_) => return Ok(()),
            Err(error) if error.contains("room") => {
                sim.env(disk).clock.sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error),
        }
    }
    Err(format!("delete {number} is refused for good"))
}

async fn check(
    engine: &Engine,
    bucket: ingest::ids::BucketId,
    from: usize,
    to: usize,
    bytes: usize,
) -> Result<(), String> {
    let found = engine.versions(bucket, 100).await.map_err(|error| error.to_string())?;
    if found.len() != to - from {
        return Err(format!("{} keys of {}", found.len(), to - from));
    }
    for number in from..to {
        let versions = &found[key(number).as_bytes()];
        if versions[0].content.as_deref() != Some(payload(number, bytes).as_slice()) {
            return Err(format!("key {number} has other bytes"));
        }
    }
    Ok(())
}

fn fills_up(seed: u64, bytes: usize) -> Result<(), String> {
    let sim = Sim::new(seed);
    let disk = SimDisk::new(&sim);
    let done = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        let bucket = engine.bucket("plain", Versioning::Off).await?;
        disk.set_capacity(Some(4 << 20));
        let written = fill(&engine, bucket, bytes).await?;
        check(&engine, bucket, 0, written, bytes).await?;
        engine.close_log().await;
        // Recovery needs no more room than there is.
        let engine = open(&sim, &disk).await?;
        check(&engine, bucket, 0, written, bytes).await?;
        for number in 0..written / 2 {
            delete(&sim, &disk, &engine, bucket, number).await?;
        }
        check(&engine, bucket, written / 2, written, bytes).await?;
        for number in written / 2..written {
            delete(&sim, &disk, &engine, bucket, number).await?;
        }
        // Cuts and merges let go of what the deletes freed; then there is room again.
        let mut tries = 0;
        loop {
            engine.partition.cut().await.map_err(|error| error.to_string())?;
            sim.env(&disk).clock.sleep(Duration::from_secs(3)).await;
            let (key_again, payload) = (key(9999), payload(1, bytes));
            match engine.put(bucket, &key_again, &payload, WriteCondition::Always).await {
                Ok(_) => break,
                Err(error) if tries == 20 => return Err(format!("no room again: {error}")),
                Err(_) => tries += 1,
            }
            // A cut of nothing does nothing: give the next one something.
            engine.delete(bucket, &key(tries)).await?;
        }
        engine.close().await;
        Ok::<(), String>(())
    });
    done.map_err(|stopped| format!("{stopped:?}"))?
}

#[test]
fn a_full_device_refuses_writes_and_keeps_everything_else() {
    for seed in 0..seeds(4).div_ceil(4) {
        for bytes in [300, 1400, 9_000] {
            fills_up(seed, bytes).unwrap_or_else(|e| panic!("seed {seed}, {bytes} bytes: {e}"));
        }
    }
}
