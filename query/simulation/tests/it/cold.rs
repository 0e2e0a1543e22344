//! The cold place: its payload is there and nowhere else, and its device may fill up or go away without harm to anything
//! else.

use std::time::Duration;

use bytes::Bytes;
use ingest::env::FilePath;
use ingest::ids::BucketId;
use ingest::log::ReadError;
use ingest::name::ObjectKey;
use ingest::place::Place;
use ingest::record::{VersionRef, Versioning, WriteCondition};
use query::object;
use simulator::{CrashSurvival, Sim, SimDisk, SimRandom};

use crate::world::{Engine, class_of, open};

/// Lengths of payload inside the record, and in a bulk file.
const LENGTHS: [usize; 4] = [1, 900, 3000, 70_000];

/// Payload that no compression makes shorter, in a place.
fn payload(place: Place, number: u64, len: usize) -> Bytes {
    let random = SimRandom::new(number);
    let mut bytes: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
    bytes[len - 1] = [0, 1][place as usize];
    assert_eq!(class_of(&bytes).place(), place);
    bytes.into()
}

struct ColdWorld {
    bucket: BucketId,
    /// What was acknowledged.
    written: Vec<(ObjectKey, Bytes)>,
}

impl ColdWorld {
    async fn put(&mut self, engine: &Engine, place: Place, len: usize) -> Result<(), String> {
        let number = self.written.len() as u64;
        let key = ObjectKey::new(format!("{}-{number}", place.name()).into_bytes()).expect("short");
        let bytes = payload(place, number, len);
        engine.put(self.bucket, &key, &bytes, WriteCondition::Always).await?;
        self.written.push((key, bytes));
        Ok(())
    }

    async fn put_all(&mut self, engine: &Engine, place: Place) -> Result<(), String> {
        for len in LENGTHS {
            self.put(engine, place, len).await?;
        }
        Ok(())
    }

    /// Reads every object; `is_away` is true while the cold place cannot be read.
    async fn check(&self, engine: &Engine, is_away: bool) -> Result<(), String> {
        for (key, bytes) in &self.written {
            let whole = 0..bytes.len() as u64;
            let partition = &engine.partition;
            let (snapshot, version) = (partition.snapshot(), VersionRef::Current);
            let of_found = |_: &object::FoundObject| Ok::<_, ReadError>(whole.clone());
            let got = object::get(partition, snapshot, self.bucket, key, version, of_found).await;
            let read = match got {
                Ok(found) => found.expect("an acknowledged key is found").1.collect().await,
                Err(error) => Err(error),
            };
            match read {
                Ok(found) if found == *bytes => {}
                Err(ReadError::Unavailable { .. })
                    if is_away && class_of(bytes).place() == Place::Cold => {}
                other => return Err(format!("{key:?}: {other:?}")),
            }
        }
        Ok(())
    }
}

async fn begin(sim: &Sim, disk: &SimDisk) -> Result<(Engine, ColdWorld), String> {
    let engine = open(sim, disk).await?;
    let bucket = engine.bucket("cold-and-hot", Versioning::Off).await?;
    Ok((engine, ColdWorld { bucket, written: Vec::new() }))
}

/// Runs a story, then cuts the power at its end and reads everything again.
fn run(
    seed: u64,
    survival: CrashSurvival,
    story: impl AsyncFn(&Sim, &SimDisk, &Engine, &mut ColdWorld) -> Result<(), String>,
) {
    let sim = Sim::new(seed);
    let disk = SimDisk::new(&sim);
    let told = sim.block_on(&disk, async {
        let (engine, mut world) = begin(&sim, &disk).await?;
        story(&sim, &disk, &engine, &mut world).await?;
        Ok::<_, String>(world)
    });
    let world =
        told.expect("the world goes on").unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    sim.crash(&disk, survival);
    let again = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        world.check(&engine, false).await?;
        engine.partition.cut().await.map_err(|error| error.to_string())?;
        world.check(&engine, false).await
    });
    again.expect("the world goes on").unwrap_or_else(|error| panic!("seed {seed}: {error}"));
}

/// The files of sealed payload that contain some bytes.
fn files_with(disk: &SimDisk, bytes: &[u8]) -> Vec<FilePath> {
    let is_payload =
        |path: &FilePath| path.as_str().contains("/segments/") || path.as_str().contains("/bulk/");
    // Bulk files have a checksum in front of each frame, so the beginning of the payload is searched.
    let sought = &bytes[..bytes.len().min(500)];
    let mut found: Vec<FilePath> = disk.files().into_iter().filter(is_payload).collect();
    found.retain(|path| {
        let content = disk.read_all(path).unwrap_or_default();
        content.windows(sought.len()).any(|window| window == sought)
    });
    found
}

#[test]
fn payload_is_in_the_files_of_its_place_alone() {
    run(1, CrashSurvival::DropAll, async |_, disk, engine, world| {
        for place in Place::ALL {
            world.put_all(engine, place).await?;
        }
        engine.partition.cut().await.map_err(|error| error.to_string())?;
        world.check(engine, false).await?;
        for (key, bytes) in world.written.iter().filter(|(_, bytes)| bytes.len() > 100) {
            let place = class_of(bytes).place();
            let files = files_with(disk, bytes);
            assert!(
                !files.is_empty() && files.iter().all(|file| file.place() == place),
                "{key:?}: {files:?}"
            );
        }
        Ok(())
    });
}

#[test]
fn a_cold_device_that_goes_away_harms_nothing_else() {
    for seed in 0..20 {
        let survival = [CrashSurvival::DropAll, CrashSurvival::KeepAll][seed as usize % 2];
        run(seed, survival, async |sim, disk, engine, world| {
            for place in Place::ALL {
                world.put_all(engine, place).await?;
            }
            engine.partition.cut().await.map_err(|error| error.to_string())?;
            world.put_all(engine, Place::Cold).await?;
            disk.set_cold_away(true);
            // The next look at the space has not come yet, so small payload is still taken.
            world.put(engine, Place::Cold, 800).await?;
            world.check(engine, true).await?;
            let large = world.put(engine, Place::Cold, 70_000).await;
            assert!(large.is_err(), "a bulk file was made in a place that is away");
            sim.sleep(Duration::from_secs(3)).await;
            let small = world.put(engine, Place::Cold, 10).await.unwrap_err();
            assert!(small.contains("the cold place cannot be used"), "{small}");
            assert_eq!(engine.partition.readiness(), Ok(()), "hot writes are taken");
            world.put_all(engine, Place::Hot).await?;
            engine.partition.cut().await.map_err(|error| error.to_string())?;
            world.check(engine, true).await?;
            disk.set_cold_away(false);
            sim.sleep(Duration::from_secs(3)).await;
            world.check(engine, false).await?;
            world.put_all(engine, Place::Cold).await
        });
    }
}

#[test]
fn a_full_cold_device_keeps_out_cold_payload_alone() {
    run(7, CrashSurvival::DropAll, async |sim, disk, engine, world| {
        for place in Place::ALL {
            world.put_all(engine, place).await?;
        }
        engine.partition.cut().await.map_err(|error| error.to_string())?;
        world.put(engine, Place::Cold, 3000).await?;
        // Nothing is left, not even the reserve.
        disk.set_capacity_of(Place::Cold, Some(1));
        let large = world.put(engine, Place::Cold, 70_000).await.unwrap_err();
        assert!(large.contains("no room"), "{large}");
        sim.sleep(Duration::from_secs(3)).await;
        let small = world.put(engine, Place::Cold, 10).await.unwrap_err();
        assert!(small.contains("the device of the cold place is nearly full"), "{small}");
        world.put_all(engine, Place::Hot).await?;
        // The cut has cold payload, and no room for it there.
        engine.partition.cut().await.map_err(|error| error.to_string())?;
        world.check(engine, false).await?;
        disk.set_capacity_of(Place::Cold, None);
        sim.sleep(Duration::from_secs(3)).await;
        world.put_all(engine, Place::Cold).await
    });
}
