//! Renames while the memtable that has the object becomes a run, and the log below it is given up.

use std::time::Duration;

use compactor::outcome::RecordOutcome;
use futures::future::join;
use ingest::env::{timeout, yield_once};
use ingest::ids::BucketId;
use ingest::mutant::Mutant;
use ingest::name::ObjectKey;
use ingest::record::{RecordBody, RenameCondition, RenameObject, Versioning, WriteCondition};
use simulator::{Sim, SimDisk};

use crate::world::{Engine, open};

fn name(text: String) -> ObjectKey {
    ObjectKey::new(text.into_bytes()).expect("a short key")
}

fn rename(engine: &Engine, bucket: BucketId, source: &ObjectKey, key: &ObjectKey) -> RecordBody {
    RecordBody::RenameObject(RenameObject {
        bucket,
        config: engine.config(bucket),
        key: key.clone(),
        condition: RenameCondition::default(),
        source: source.clone(),
        source_condition: RenameCondition::default(),
        token: String::new(),
    })
}

/// The contents of all objects whose keys begin with `object`.
async fn objects(engine: &Engine, bucket: BucketId) -> Result<Vec<(String, Vec<u8>)>, String> {
    let found = engine.versions(bucket, 100).await.map_err(|error| error.to_string())?;
    let objects = found.into_iter().filter(|(key, _)| key.starts_with(b"object"));
    let content = |versions: Vec<crate::world::Version>| versions[0].content.clone();
    Ok(objects
        .map(|(key, versions)| {
            let key = String::from_utf8_lossy(&key).into_owned();
            (key, content(versions).unwrap_or_default().to_vec())
        })
        .collect())
}

/// Renames one object after the other through several keys, each time while a cut is sealed. After each step the object is
/// there under its last key alone, whole, and the next cut can be sealed.
fn renames_while_cuts_are_sealed(seed: u64, mutant: Option<Mutant>) -> Result<(), String> {
    let mut sim = Sim::new(seed);
    sim.set_mutant(mutant);
    let sim = &sim;
    let disk = SimDisk::new(sim);
    let done = sim.block_on(&disk, async {
        let engine = open(sim, &disk).await?;
        let bucket = engine.bucket("plain", Versioning::Off).await?;
        let clock = sim.env(&disk).clock;
        let cut = async || {
            let cut = timeout(clock.as_ref(), Duration::from_secs(60), engine.partition.cut());
            let cut = cut.await.ok_or("a cut is not sealed")?;
            cut.map(|_| ()).map_err(|error| error.to_string())
        };
        for round in 0..4u8 {
            // In the record, and beside it.
            let payload = vec![round; [1_000, 5_000][usize::from(round % 2)]];
            let mut key = name("object-0".into());
            engine.put(bucket, &key, &payload, WriteCondition::Always).await?;
            for step in 1..4 {
                // Enough for the log to go on in another file, but for its last cut.
                for number in 0..9 {
                    let filler = name(format!("filler-{number}"));
                    engine.put(bucket, &filler, &[1; 1_400], WriteCondition::Always).await?;
                }
                let target = name(format!("object-{}", (step + usize::from(round)) % 5));
                let renamed = async {
                    for _ in 0..sim.random().below(40) {
                        yield_once().await;
                    }
                    engine.submit(rename(&engine, bucket, &key, &target)).await
                };
                let (sealed, renamed) = join(cut(), renamed).await;
                sealed?;
                if !matches!(renamed?, RecordOutcome::Written(_)) {
                    return Err(format!("{key:?} is not renamed to {target:?}"));
                }
                key = target;
                if sim.random().chance(30) {
                    engine.partition.merge().await.map_err(|error| error.to_string())?;
                }
                let found = objects(&engine, bucket).await?;
                if found != [(key.as_str().to_owned(), payload.clone())] {
                    let found: Vec<_> =
                        found.iter().map(|(key, content)| (key, content.len())).collect();
                    return Err(format!("{found:?} instead of {key:?}"));
                }
                if sim.random().chance(30) {
                    cut().await?;
                }
            }
            engine.delete(bucket, &key).await?;
        }
        engine.close().await;
        Ok::<(), String>(())
    });
    done.map_err(|stopped| format!("{stopped:?}"))?
}

#[test]
fn objects_renamed_while_a_cut_is_sealed_find_their_payload() {
    for seed in 0..crate::crash::seeds(40) {
        renames_while_cuts_are_sealed(seed, None)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[cfg(feature = "mutants")]
#[test]
fn a_payload_that_is_looked_for_under_the_new_key_is_found_out() {
    let bug = Some(Mutant::ForgetSealedKey);
    let found = (0..20).find_map(|seed| renames_while_cuts_are_sealed(seed, bug).err());
    println!("{bug:?}: {found:?}");
    assert!(found.is_some());
}
