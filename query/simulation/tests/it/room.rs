//! Room for payload: a node that has none goes on with everything else, and space that nobody needs comes
//! back.

use std::time::Duration;

use compactor::outcome::RecordOutcome;
use compactor::partition::PayloadError;
use futures::future::{Either, select};
use ingest::bulk::BulkError;
use ingest::ids::{BucketId, NodeId, PartitionId, WriterId};
use ingest::log::replicated::ReplicatedLog;
use ingest::log::{Log, ReadError};
use ingest::mutant::Mutant;
use ingest::name::ObjectKey;
use ingest::place::Place;
use ingest::record::{
    PutObject, Record, RecordBody, RecordId, RoomReport, VersionRef, Versioning, WriteCondition,
};
use query::object;
use simulator::brokers::BrokerConfig;
use simulator::{Sim, SimBrokers, SimDisk, SimRandom};

use crate::cluster::node::{self, Running, Settings};
use crate::world::{Engine, STORE, attributes, give_beside, open};

const NODE: usize = 0;

fn key(name: &str, number: usize) -> ObjectKey {
    ObjectKey::new(format!("{name}-{number}").into_bytes()).expect("a short key")
}

fn payload(number: usize) -> Vec<u8> {
    (0..200_000).map(|at| (at * 7 + number) as u8).collect()
}

/// A cluster of one node with a bucket.
struct Lonely<'a> {
    sim: &'a Sim,
    disk: SimDisk,
    engine: Engine,
    log: std::sync::Arc<ReplicatedLog>,
    bucket: BucketId,
}

impl Lonely<'_> {
    async fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<RecordOutcome, String> {
        let written = give_beside(&self.engine.partition, bytes).await?;
        let put = RecordBody::PutObject(PutObject {
            bucket: self.bucket,
            config: self.engine.config(self.bucket),
            key: key.clone(),
            condition: WriteCondition::Always,
            attributes: attributes(bytes),
            digest: written.digest,
            payload: written.payload,
        });
        let outcome = self.engine.submit(put).await;
        if let Some(guard) = written.guard {
            guard.settle(&outcome);
        }
        outcome
    }

    async fn get(&self, key: &ObjectKey) -> Result<Option<Vec<u8>>, ReadError> {
        let partition = &self.engine.partition;
        let whole = |found: &object::FoundObject| match &found.statement {
            ingest::entry::EntryValue::Object(object) => {
                Ok::<_, ReadError>(0..object.attributes.size)
            }
            _ => Ok(0..0),
        };
        let snapshot = partition.fresh().await?;
        let current = VersionRef::Current;
        let found = object::get(partition, snapshot, self.bucket, key, current, whole).await?;
        let Some((_, body)) = found else { return Ok(None) };
        Ok(Some(body.collect().await?.to_vec()))
    }

    fn streams(&self) -> u64 {
        self.engine.partition.counters().streams.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Tells a story of a node; an error says what went wrong in it.
fn tell(
    seed: u64,
    mutant: Option<Mutant>,
    story: impl AsyncFnOnce(&Lonely) -> Result<(), String>,
) -> Result<(), String> {
    let mut sim = Sim::new(seed);
    sim.set_mutant(mutant);
    let settings = Settings::draw(&SimRandom::new(3));
    let brokers = SimBrokers::with_knobs(&sim, settings.partitions as usize, BrokerConfig::calm());
    let run = sim.block_on_cluster(async {
        let founder = sim.node_env(NODE + 1, &SimDisk::new(&sim));
        let handle = brokers.handle(NODE + 1);
        let set_up =
            ReplicatedLog::establish(&founder, &handle, settings.partitions, STORE, "cluster");
        set_up.await.map_err(|error| error.to_string())?;
        let disk = SimDisk::new(&sim);
        let env = sim.node_env(NODE, &disk);
        let running = node::open_alone(env, brokers.handle(NODE), settings.clone(), false).await?;
        let Running { partitions, log, .. } = running;
        let engine = Engine::on_brokers(partitions[0].clone(), log.clone());
        let bucket = engine.bucket("bucket", Versioning::Off).await?;
        let told = async { story(&Lonely { sim: &sim, disk, engine, log, bucket }).await };
        // Whatever is asked for is answered within minutes, or it never is.
        match select(std::pin::pin!(told), sim.sleep(Duration::from_secs(1500))).await {
            Either::Left((told, _)) => told,
            Either::Right(_) => Err("it does not end".into()),
        }
    });
    run.map_err(|stopped| format!("{stopped:?}"))?
}

/// Requests that everybody else may go on making, on a node whose disk is full.
async fn goes_on(lonely: &Lonely<'_>) -> Result<(), String> {
    for number in 0..3 {
        lonely.engine.delete(lonely.bucket, &key("k", number)).await?;
    }
    match lonely.get(&key("k", 3)).await {
        Ok(Some(found)) if found == payload(3) => {}
        other => return Err(format!("k-3: {other:?}")),
    }
    lonely.engine.partition.cut().await.map_err(|error| error.to_string())?;
    match lonely.engine.partition.stopped() {
        Some(reason) => Err(reason),
        None => Ok(()),
    }
}

/// A client announces more than the disk has, sends a little and goes; before, the disk fills up.
async fn abandoned_stream(lonely: &Lonely<'_>) -> Result<(), String> {
    for number in 0..4 {
        lonely.put(&key("k", number), &payload(number)).await?;
    }
    let begun = lonely.engine.partition.begin_payload(Place::Hot, 50 << 20).await;
    let mut writer = begun.map_err(|error| error.to_string())?;
    lonely.disk.set_capacity(Some(6 << 20));
    let before = lonely.disk.used_bytes();
    for _ in 0..3 {
        writer.write(vec![1; 70_000].into()).await.map_err(|error| error.to_string())?;
    }
    lonely.sim.sleep(Duration::from_secs(5)).await;
    if lonely.disk.used_bytes() > before + (1 << 20) {
        return Err("what has not come takes space".into());
    }
    drop(writer);
    lonely.sim.sleep(Duration::from_secs(5)).await;
    if lonely.streams() > 0 {
        return Err("an abandoned stream is open still".into());
    }
    if lonely.disk.used_bytes() > before + 50_000 {
        return Err("an abandoned stream takes space still".into());
    }
    goes_on(lonely).await
}

/// A record names payload that the node has no room for.
async fn payload_without_room(lonely: &Lonely<'_>) -> Result<(), String> {
    for number in 0..4 {
        lonely.put(&key("k", number), &payload(number)).await?;
    }
    let large = vec![5; 3_000_000];
    let begun = lonely.engine.partition.begin_payload(Place::Hot, 3_000_000).await;
    let mut writer = begun.map_err(|error| error.to_string())?;
    // Others were faster.
    lonely.disk.set_capacity(Some(lonely.disk.used_bytes() + 1_000_000));
    for piece in large.chunks(100_000) {
        let piece = piece.to_vec().into();
        writer.write(piece).await.map_err(|error| error.to_string())?;
    }
    let written = writer.finish().await.map_err(|error| error.to_string())?;
    let put = RecordBody::PutObject(PutObject {
        bucket: lonely.bucket,
        config: lonely.engine.config(lonely.bucket),
        key: key("large", 0),
        condition: WriteCondition::Always,
        attributes: attributes(&large),
        digest: written.digest,
        payload: written.payload,
    });
    let outcome = lonely.engine.submit(put).await;
    if !matches!(outcome, Ok(RecordOutcome::Written(_))) {
        return Err(format!("not judged as on a node with room: {outcome:?}"));
    }
    goes_on(lonely).await?;
    // Before and after it is sealed and merged.
    for _ in 0..2 {
        match lonely.get(&key("large", 0)).await {
            Err(ReadError::Unavailable { reason, .. }) if reason.contains("another node") => {}
            other => return Err(format!("missing payload: {:?}", other.map(|_| ()))),
        }
        lonely.engine.partition.merge().await.map_err(|error| error.to_string())?;
    }
    lonely.disk.set_capacity(None);
    lonely.put(&key("large", 0), &large).await?;
    match lonely.get(&key("large", 0)).await {
        Ok(Some(found)) if found == large => Ok(()),
        other => Err(format!("written anew: {:?}", other.map(|_| ()))),
    }
}

/// Payload that makes the disk full is inline: it is left in the log, and read from there.
async fn spool_without_room(lonely: &Lonely<'_>) -> Result<(), String> {
    for number in 0..4 {
        lonely.put(&key("k", number), &payload(number)).await?;
    }
    lonely.engine.partition.cut().await.map_err(|error| error.to_string())?;
    lonely.disk.set_capacity(Some(lonely.disk.used_bytes() + 100));
    let small = vec![8; 900];
    let always = WriteCondition::Always;
    lonely.engine.put(lonely.bucket, &key("small", 0), &small, always).await?;
    for number in 0..3 {
        lonely.engine.delete(lonely.bucket, &key("k", number)).await?;
    }
    for capacity in [None, Some(())] {
        match lonely.get(&key("small", 0)).await {
            Ok(Some(found)) if found == small => {}
            other => return Err(format!("small, {capacity:?}: {other:?}")),
        }
        lonely.disk.set_capacity(None);
        lonely.engine.partition.cut().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[test]
fn an_abandoned_stream_stops_nothing_and_leaves_nothing() {
    for seed in 0..4 {
        let told = tell(seed, None, abandoned_stream);
        told.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn a_node_without_room_for_payload_goes_on_without_it() {
    for seed in 0..4 {
        let told = tell(seed, None, payload_without_room);
        told.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn a_node_without_room_to_spool_reads_from_the_log() {
    for seed in 0..4 {
        let told = tell(seed, None, spool_without_room);
        told.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

/// Payload that no node could take is refused before any of it is in the log, for as long as that is so.
#[test]
fn payload_is_admitted_by_the_least_room_of_all_nodes() {
    let told = tell(1, None, async |lonely| {
        let begin =
            async |len: u64| match lonely.engine.partition.begin_payload(Place::Hot, len).await {
                Ok(_) => Ok(true),
                Err(PayloadError::Bulk(BulkError::Full { .. })) => Ok(false),
                Err(error) => Err(error.to_string()),
            };
        let mut found = vec![begin(5 << 30).await?];
        let node = NodeId::new(2);
        let room = RecordBody::Room(RoomReport { node, bytes: 1 << 20 });
        let id = RecordId { writer: WriterId([2; 16]), ..RecordId::default() };
        let record = Record::of_the_store(id, room);
        let permit = lonely.log.admit(PartitionId::ZERO, record.bytes_estimate()).await;
        let permit = permit.map_err(|error| error.to_string())?;
        lonely.log.append(permit, record.into()).await.map_err(|error| error.to_string())?;
        lonely.sim.sleep(Duration::from_secs(5)).await;
        found.extend([begin(2 << 20).await?, begin(1 << 19).await?]);
        // It says nothing more: it may be gone.
        lonely.sim.sleep(Duration::from_secs(900)).await;
        found.push(begin(2 << 20).await?);
        lonely.disk.set_capacity(Some(lonely.disk.used_bytes() + (1 << 20)));
        found.extend([begin(2 << 20).await?, begin(1 << 19).await?]);
        match found[..] == [true, false, true, true, false, true] {
            true => Ok(()),
            false => Err(format!("{found:?}")),
        }
    });
    told.expect("told");
}

/// A client opens a large object and stops reading. What it needs stays, and nothing else.
fn a_reader_stalls(mutant: Option<Mutant>) -> Result<(), String> {
    let mut sim = Sim::new(1);
    sim.set_mutant(mutant);
    let disk = SimDisk::new(&sim);
    let run = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        let bucket = engine.bucket("plain", Versioning::Off).await?;
        for number in 0..3 {
            engine.put(bucket, &key("k", number), &payload(number), WriteCondition::Always).await?;
        }
        let snapshot = engine.partition.snapshot();
        let whole = |_: &object::FoundObject| Ok::<_, ReadError>(0..200_000);
        let current = VersionRef::Current;
        let opened =
            object::get(&engine.partition, snapshot, bucket, &key("k", 0), current, whole).await;
        let (_, mut body) = opened.map_err(|e| e.to_string())?.ok_or("k-0 is not there")?;
        let next = body.next().await.map_err(|e| e.to_string())?;
        let mut found = next.ok_or("no bytes")?.to_vec();
        let of_bulk = || disk.files().iter().filter(|path| path.as_str().contains("bulk/")).count();
        let before = of_bulk();
        for number in 0..3 {
            engine.delete(bucket, &key("k", number)).await?;
        }
        // The files that take reservations are never collected.
        engine.put(bucket, &key("last", 0), &payload(9), WriteCondition::Always).await?;
        for _ in 0..2 {
            engine.partition.cut().await.map_err(|error| error.to_string())?;
            engine.partition.merge().await.map_err(|error| error.to_string())?;
            sim.sleep(Duration::from_secs(20)).await;
            engine.delete(bucket, &key("none", 0)).await?;
        }
        let runs = engine.partition.snapshot().view.sealed.catalog.runs.len();
        let on_disk = disk.files().iter().filter(|path| path.as_str().ends_with(".keys")).count();
        if on_disk > runs {
            return Err(format!("{on_disk} runs are on the disk, {runs} are needed"));
        }
        if of_bulk() > before + 1 {
            return Err(format!("{} bulk files of {before} are kept", of_bulk()));
        }
        while let Some(bytes) = body.next().await.map_err(|error| error.to_string())? {
            found.extend_from_slice(&bytes);
        }
        if found != payload(0) {
            return Err("other bytes".into());
        }
        let held = of_bulk();
        drop(body);
        sim.sleep(Duration::from_secs(20)).await;
        match of_bulk() < held {
            true => Ok(()),
            false => Err("what was read is not collected".into()),
        }
    });
    sim.stop();
    run.map_err(|stopped| format!("{stopped:?}"))?
}

#[test]
fn a_reader_that_stalls_keeps_only_its_files() {
    a_reader_stalls(None).expect("told");
}

#[cfg(feature = "mutants")]
#[test]
fn seeded_bugs_of_room_are_found() {
    let streams = |bug| tell(0, Some(bug), abandoned_stream).err();
    let found = [
        (Mutant::KeepAbandoned, streams(Mutant::KeepAbandoned)),
        (Mutant::WaitForRoom, streams(Mutant::WaitForRoom)),
        (Mutant::CollectWhileRead, a_reader_stalls(Some(Mutant::CollectWhileRead)).err()),
    ];
    for (bug, error) in &found {
        println!("{bug:?}: {error:?}");
    }
    let missed: Vec<_> = found.iter().filter(|(_, error)| error.is_none()).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
