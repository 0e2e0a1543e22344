//! Rot in the log: where everything is folded it is of no concern, above that it refuses a start until the loss
//! is accepted, and then only what stood there is lost.

use std::collections::BTreeSet;

use compactor::catalog::{self, Catalog, PublishError, SegmentMeta};
use compactor::layout::PartitionLayout;
use compactor::sealed::FileDigest;
use ingest::env::FilePath;
use ingest::ids::{Offset, PartitionId, SegmentId};
use ingest::log::embedded;
use ingest::mutant::Mutant;
use ingest::name::ObjectKey;
use ingest::place::Place;
use ingest::record::{Versioning, WriteCondition};
use simulator::{Sim, SimDisk};

use crate::crash::seeds;
use crate::flips::{Store, fill, get, learn, look};
use crate::world::{STORE, log_options, open};

const ID: PartitionId = PartitionId::ZERO;

/// A batch on the disk, read without the log's code.
#[derive(Clone, Debug)]
struct Batch {
    file: FilePath,
    position: u64,
    base: u64,
    count: u64,
    bytes: u64,
}

fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// The valid batches of all log files, in order.
fn batches(disk: &SimDisk) -> Vec<Batch> {
    let mut found = Vec::new();
    for file in disk.files().into_iter().filter(|file| file.as_str().ends_with(".log")) {
        let number: u64 = file.name().trim_end_matches(".log").parse().expect("a number");
        let bytes = disk.read_all(&file).expect("a file");
        for (index, block) in bytes.chunks_exact(4096).enumerate() {
            let field = |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().expect("8"));
            let short = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().expect("4"));
            let position = 4096 * index as u64;
            let is_batch = block[..4] == *b"SBT1"
                && checksum(&block[..132]).to_le_bytes() == block[132..136]
                && field(32) == number
                && field(40) == position;
            if is_batch {
                let (base, count) = (field(56), u64::from(short(28)));
                let bytes = 136 + u64::from(short(72)) + 8 * u64::from(short(76));
                found.push(Batch { file: file.clone(), position, base, count, bytes });
            }
        }
    }
    found.sort_by_key(|batch| (batch.base, batch.file.clone(), batch.position));
    found
}

/// A store with cuts and, above them, some records in batches of their own.
fn make(seed: u64) -> Store {
    let sim = Sim::new(seed);
    let disk = SimDisk::new(&sim);
    let made = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        fill(&engine).await?;
        let bucket = engine.bucket("more", Versioning::Off).await?;
        for number in 0..6 {
            let key = ObjectKey::new(format!("m{number}").into_bytes()).expect("a short key");
            let payload = vec![number; 50 + sim.random().below(3_000) as usize];
            engine.put(bucket, &key, &payload, WriteCondition::Always).await?;
        }
        engine.close_log().await;
        Ok::<(), String>(())
    });
    made.expect("not stopped").expect("filled");
    sim.stop();
    learn(&sim, disk)
}

/// Everything below is folded.
fn floor_of(store: &Store, sim: &Sim) -> Offset {
    let disk = store.disk.copy_into(sim);
    let found = sim.block_on(&disk, catalog(sim, &disk)).expect("read");
    sim.stop();
    found.next
}

async fn catalog(sim: &Sim, disk: &SimDisk) -> Catalog {
    let (found, _) =
        catalog::read(&sim.env(disk), &PartitionLayout::new(ID), STORE, ID).await.expect("read");
    found.expect("a catalog")
}

/// Damages each batch that is folded, in its header, its body, and whole; gives how many there were.
fn damage_below_the_floor(seed: u64, mutant: Option<Mutant>) -> Result<u64, String> {
    let store = make(seed);
    let mut sim = Sim::new(seed);
    sim.set_mutant(mutant);
    let floor = floor_of(&store, &sim).get();
    let mut damaged = 0;
    for batch in batches(&store.disk).into_iter().filter(|batch| batch.base + batch.count <= floor)
    {
        for places in [vec![60], vec![batch.bytes - 1], (0..batch.bytes).collect()] {
            let disk = store.disk.copy_into(&sim);
            places.iter().for_each(|at| disk.corrupt(&batch.file, batch.position + at, 0x40));
            let effect = look(&store, &sim, &disk, false)?;
            if effect.is_refused || effect.lost + effect.listings + effect.scans > 0 {
                return Err(format!("{batch:?} is folded below {floor}, and {effect:?}"));
            }
            damaged += 1;
        }
    }
    Ok(damaged)
}

#[test]
fn damage_to_what_is_folded_refuses_nothing() {
    let mut damaged = 0;
    for seed in 0..seeds(3) {
        damaged +=
            damage_below_the_floor(seed, None).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
    println!("{damaged} damages");
    assert!(damaged > 0, "no batch below the floor was left");
}

/// Damages each batch above the floor, sees the start refused, accepts the loss, and compares what is left.
#[test]
fn an_accepted_loss_is_what_was_named_and_no_more() {
    for seed in 0..seeds(3) {
        let store = make(seed);
        let sim = Sim::new(seed);
        let floor = floor_of(&store, &sim);
        let all = batches(&store.disk);
        let is_needed = |batch: &&Batch| batch.count > 0 && batch.base >= floor.get();
        for batch in all.iter().filter(is_needed) {
            let disk = store.disk.copy_into(&sim);
            disk.corrupt(&batch.file, batch.position + batch.bytes - 1, 0x40);
            let effect = look(&store, &sim, &disk, false).expect("nothing is lost in silence");
            assert!(effect.is_refused, "seed {seed}: {batch:?}");
            accept(&store, &sim, &disk, floor, batch);
        }
    }
}

fn accept(store: &Store, sim: &Sim, disk: &SimDisk, floor: Offset, batch: &Batch) {
    let before: BTreeSet<Vec<u8>> =
        disk.files().iter().filter_map(|file| disk.read_all(file)).collect();
    let done = sim.block_on(disk, async {
        let env = sim.env(disk);
        let loss = embedded::repair(&env, &log_options(true), ID, floor).await.expect("looked at");
        let lost: Vec<(u64, u64)> =
            loss.lost.iter().map(|lost| (lost.from.get(), lost.below.get())).collect();
        assert_eq!(lost, [(batch.base, batch.base + batch.count)]);
        loss.accept(&env, catalog(sim, disk).await.time).await.expect("accepted");
        let after: BTreeSet<Vec<u8>> =
            disk.files().iter().filter_map(|file| disk.read_all(file)).collect();
        let is_kept = |bytes: &Vec<u8>| after.contains(bytes) || bytes.starts_with(b"SILTMRK1");
        assert!(before.iter().all(is_kept), "what was damaged is kept");
        let engine = open(sim, disk).await.expect("the store opens");
        let is_lost = |version: Offset| (lost[0].0..lost[0].1).contains(&version.get());
        for known in store.known.iter().filter(|known| !is_lost(known.2)) {
            if engine.partition.buckets().get(known.0).is_none() {
                // The record that made its bucket is lost.
                assert!(is_lost(Offset::new(known.0.get() - 1)));
                continue;
            }
            assert_eq!(get(&engine, known).await.as_ref(), Ok(&known.4), "{known:?}");
        }
        // And it goes on as any store does.
        let bucket = engine.bucket("after", Versioning::Off).await.expect("made");
        let key = ObjectKey::new(b"after".to_vec()).expect("a short key");
        engine.put(bucket, &key, b"all", WriteCondition::Always).await.expect("put");
        engine.close().await;
        let engine = open(sim, disk).await.expect("the store opens again");
        assert_eq!(engine.versions(bucket, 10).await.expect("listed").len(), 1);
        engine.close().await;
    });
    assert_eq!(done, Ok(()), "{batch:?}");
    sim.stop();
}

/// Publishes a catalog with one segment more than can be read back, then loads what there is.
fn publish_beyond(mutant: Option<Mutant>) -> Result<(), String> {
    let mut sim = Sim::new(1);
    sim.set_mutant(mutant);
    let disk = SimDisk::new(&sim);
    let done = sim.block_on(&disk, async {
        let (env, layout) = (sim.env(&disk), PartitionLayout::new(ID));
        env.disk.create_folder(&layout.catalog_folder()).await.expect("made");
        let segment = SegmentMeta {
            id: SegmentId::new(1),
            place: Place::Hot,
            file: FileDigest::default(),
            references: 1,
            objects: 1,
        };
        let first = Catalog::first(STORE, ID);
        catalog::publish(&env, &layout, &first).await.expect("published");
        let generation = first.generation.next();
        let segments = vec![segment; catalog::LIST_MAX + 1];
        let beyond = Catalog { generation, segments, ..first.clone() };
        let published = catalog::publish(&env, &layout, &beyond).await;
        match catalog::mend(&env, &layout, STORE, ID).await {
            Ok(Some(found)) if found == first => {}
            other => return Err(format!("the store cannot be opened: {:?}", other.err())),
        }
        match published {
            Err(PublishError::Encode { .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    done.map_err(|stopped| format!("{stopped:?}"))?
}

/// A store cut its way to a catalog that no start could read.
#[test]
fn a_catalog_that_cannot_be_read_back_is_not_published() {
    publish_beyond(None).expect("refused, and the one before stands");
}

#[cfg(feature = "mutants")]
#[test]
fn seeded_bugs_of_starts_are_found() {
    let found = damage_below_the_floor(1, Some(Mutant::WalkFromFirstBatch)).err();
    println!("{:?}: {found:?}", Mutant::WalkFromFirstBatch);
    assert!(found.is_some());
    let found = publish_beyond(Some(Mutant::EncodeBeyondLimit)).err();
    println!("{:?}: {found:?}", Mutant::EncodeBeyondLimit);
    assert!(found.is_some());
}
