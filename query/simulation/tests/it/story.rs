//! One story in which everything happens once: power is lost at every disk operation of it, in every way.
//!
//! Small and large puts, overwrites, deletes, an upload that lives over cuts, another that is aborted,
//! merges, log files that are reused, a bucket that is deleted and made again. After each power cut the
//! store must stand exactly where the story was or one step further, and the story must go on from there
//! to its end.

use std::collections::BTreeMap;

use bytes::Bytes;
use compactor::lookup;
use compactor::outcome::RecordOutcome;
use compactor::state::UploadState;
use ingest::entry::Attributes;
use ingest::ids::{BucketId, PartNumber, UploadId};
use ingest::mutant::Mutant;
use ingest::name::{BucketName, ObjectKey};
use ingest::record::{
    AbortUpload, CompleteUpload, CreateUpload, PutPart, RecordBody, UploadPart, Versioning,
    WriteCondition,
};
use simulator::{CrashSurvival, RunStopped, Sim, SimDisk};

use crate::crash::seeds;
use crate::world::{Engine, attributes, open};

#[derive(Clone, Copy, Debug)]
enum Step {
    Create(&'static str),
    DeleteBucket(&'static str),
    Put(&'static str, &'static str, usize),
    Delete(&'static str, &'static str),
    Begin(u8),
    Part(u8, u16, usize),
    Complete(u8),
    Abort(u8),
    Cut,
}

/// Uploads go to this bucket.
const UPLOADS: &str = "first";

/// The story. Inline payload is at most 1,500 bytes, a log file 64 KiB, and three runs make a merge.
fn story() -> Vec<Step> {
    use Step::{Abort, Begin, Complete, Create, Cut, Delete, DeleteBucket, Part, Put};
    let mut steps = vec![
        Create("first"),
        Put("first", "a", 300),
        Put("first", "b", 1_400),
        Put("first", "large", 20_000),
        Begin(1),
        Part(1, 1, 9_000),
        Cut,
        Put("first", "a", 0),
        Delete("first", "b"),
        Part(1, 2, 2_000),
        Cut,
        Put("first", "large", 5_000),
        Begin(2),
        Part(2, 1, 3_000),
        Cut,
        Complete(1),
        Abort(2),
        Create("second"),
        Put("second", "a", 100),
        Put("second", "gone", 100),
        Cut,
        Delete("second", "a"),
        Delete("second", "gone"),
        DeleteBucket("second"),
        Create("second"),
        Put("second", "b", 50),
        Cut,
    ];
    // Enough for the log to go on in another file, and, once it is cut, to take the first one again.
    for round in 0..2 {
        steps.extend((0..10).map(|_| Put("first", "often", 1_400 - round)));
        steps.push(Cut);
        steps.extend((0..10).map(|_| Put("first", "often", 700 + round)));
        steps.push(Cut);
    }
    steps.extend([Delete("first", "large"), Cut, Put("first", "last", 10)]);
    steps
}

/// What the store holds after so many steps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Model {
    buckets: BTreeMap<&'static str, BTreeMap<String, Bytes>>,
    /// Open uploads: the lengths of their parts.
    uploads: BTreeMap<u8, BTreeMap<u16, Bytes>>,
}

fn payload(step: usize, len: usize) -> Bytes {
    (0..len).map(|at| (at * 13 + step * 7) as u8).collect::<Vec<u8>>().into()
}

impl Model {
    fn after(steps: &[Step]) -> Self {
        let mut model = Self::default();
        for (at, step) in steps.iter().enumerate() {
            model.take(at, *step);
        }
        model
    }

    fn take(&mut self, at: usize, step: Step) {
        let mut put = |bucket, key: String, content| {
            self.buckets.entry(bucket).or_default().insert(key, content);
        };
        match step {
            Step::Create(bucket) => {
                self.buckets.insert(bucket, BTreeMap::new());
            }
            Step::DeleteBucket(bucket) => {
                self.buckets.remove(bucket);
            }
            Step::Put(bucket, key, len) => put(bucket, key.into(), payload(at, len)),
            Step::Delete(bucket, key) => {
                self.buckets.entry(bucket).or_default().remove(key);
            }
            Step::Begin(upload) => {
                self.uploads.insert(upload, BTreeMap::new());
            }
            Step::Part(upload, number, len) => {
                self.uploads.entry(upload).or_default().insert(number, payload(at, len));
            }
            Step::Complete(upload) => {
                let parts = self.uploads.remove(&upload).unwrap_or_default();
                put(UPLOADS, upload_key(upload), parts.into_values().flatten().collect());
            }
            Step::Abort(upload) => {
                self.uploads.remove(&upload);
            }
            Step::Cut => {}
        }
    }
}

fn upload_key(upload: u8) -> String {
    format!("upload-{upload}")
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name.as_bytes().to_vec()).expect("a short key")
}

fn bucket(engine: &Engine, name: &str) -> Result<BucketId, String> {
    let valid = BucketName::new(name.as_bytes().to_vec()).expect("a good name");
    let buckets = engine.partition.buckets();
    buckets.named(&valid).map(|found| found.id).ok_or_else(|| format!("no bucket {name}"))
}

async fn take(engine: &Engine, steps: &[Step], at: usize) -> Result<(), String> {
    let is = |outcome: RecordOutcome, good: bool| match good {
        true => Ok(()),
        false => Err(format!("step {at} {:?}: {outcome:?}", steps[at])),
    };
    match steps[at] {
        Step::Create(name) => engine.bucket(name, Versioning::Off).await.map(|_| ()),
        Step::DeleteBucket(name) => {
            let bucket = bucket(engine, name)?;
            let outcome = engine.delete_bucket(bucket).await?;
            is(outcome, outcome == RecordOutcome::Done)
        }
        Step::Put(name, object, len) => {
            let (bucket, content) = (bucket(engine, name)?, payload(at, len));
            let outcome =
                engine.put(bucket, &key(object), &content, WriteCondition::Always).await?;
            is(outcome, matches!(outcome, RecordOutcome::Written(_)))
        }
        Step::Delete(name, object) => {
            let outcome = engine.delete(bucket(engine, name)?, &key(object)).await?;
            is(outcome, matches!(outcome, RecordOutcome::Deleted(_)))
        }
        Step::Begin(number) => {
            let bucket = bucket(engine, UPLOADS)?;
            let create = CreateUpload {
                bucket,
                config: engine.config(bucket),
                key: key(&upload_key(number)),
                upload: UploadId([number; 16]),
                attributes: Attributes { owner: "owner".into(), ..Attributes::default() },
                checksum_algorithm: 0,
                checksum_is_composite: false,
            };
            let outcome = engine.submit(RecordBody::CreateUpload(create)).await?;
            is(outcome, outcome == RecordOutcome::Done)
        }
        Step::Part(upload, number, len) => put_part(engine, upload, number, payload(at, len)).await,
        Step::Complete(number) => {
            let bucket = bucket(engine, UPLOADS)?;
            let parts = Model::after(&steps[..at]).uploads.remove(&number).unwrap_or_default();
            let named = |(part, content): (&u16, &Bytes)| {
                (PartNumber::new(*part), attributes(content).etag.md5)
            };
            let complete = CompleteUpload {
                bucket,
                config: engine.config(bucket),
                key: key(&upload_key(number)),
                upload: UploadId([number; 16]),
                parts: parts.iter().map(named).collect(),
                condition: WriteCondition::Always,
                checksum: None,
            };
            let outcome = engine.submit(RecordBody::CompleteUpload(complete)).await?;
            is(outcome, matches!(outcome, RecordOutcome::Written(_)))
        }
        Step::Abort(number) => {
            let (bucket, upload) = (bucket(engine, UPLOADS)?, UploadId([number; 16]));
            let key = key(&upload_key(number));
            let config = engine.config(bucket);
            let abort = RecordBody::AbortUpload(AbortUpload { bucket, config, key, upload });
            let outcome = engine.submit(abort).await?;
            is(outcome, outcome == RecordOutcome::Done)
        }
        Step::Cut => engine.partition.cut().await.map(|_| ()).map_err(|error| error.to_string()),
    }
}

async fn put_part(engine: &Engine, upload: u8, number: u16, content: Bytes) -> Result<(), String> {
    let written = engine.write_bulk(&content).await?;
    let part = UploadPart {
        size: content.len() as u64,
        md5: attributes(&content).etag.md5,
        digest: written.digest,
        checksum: None,
        extents: written.extents,
    };
    let bucket = bucket(engine, UPLOADS)?;
    let put = PutPart {
        bucket,
        config: engine.config(bucket),
        key: key(&upload_key(upload)),
        upload: UploadId([upload; 16]),
        number: PartNumber::new(number),
        part,
        stream: None,
    };
    match engine.submit(RecordBody::PutPart(put)).await? {
        RecordOutcome::PartStored(_) => Ok(()),
        other => Err(format!("a part: {other:?}")),
    }
}

/// Reads everything there is.
async fn found(engine: &Engine) -> Result<Model, String> {
    let mut found = Model::default();
    let buckets = engine.partition.buckets();
    for bucket in buckets.iter() {
        let name = if bucket.name.as_bytes() == b"first" { "first" } else { "second" };
        let keys = engine.versions(bucket.id, 3).await.map_err(|error| error.to_string())?;
        let content = keys.into_iter().map(|(key, versions)| {
            let key = String::from_utf8_lossy(&key).into_owned();
            (key, versions.into_iter().next().and_then(|version| version.content))
        });
        let content = content.filter_map(|(key, content)| content.map(|content| (key, content)));
        found.buckets.insert(name, content.collect());
    }
    let snapshot = engine.partition.snapshot();
    for number in [1, 2] {
        let Ok(bucket) = bucket(engine, UPLOADS) else { continue };
        let id = UploadId([number; 16]);
        let upload = lookup::upload(&snapshot, bucket, &key(&upload_key(number)), id).await;
        if !matches!(upload, Ok(Some(UploadState::Open(_)))) {
            continue;
        }
        let parts = lookup::parts(&snapshot, id, PartNumber::ZERO, usize::MAX).await;
        let mut read = BTreeMap::new();
        for (number, _, part) in parts.map_err(|error| error.to_string())? {
            let mut reader = engine.partition.bulk().read(part.extents, 0..part.size);
            let mut content = Vec::new();
            while let Some(bytes) = reader.next().await.map_err(|error| error.to_string())? {
                content.extend_from_slice(&bytes);
            }
            read.insert(number.get(), content.into());
        }
        found.uploads.insert(number, read);
    }
    Ok(found)
}

/// Lives through the story from a step on; counts the steps that were answered.
async fn live(sim: &Sim, disk: &SimDisk, from: usize, done: &mut usize) -> Result<(), String> {
    let steps = story();
    let engine = open(sim, disk).await?;
    for at in from..steps.len() {
        take(&engine, &steps, at).await?;
        *done = at + 1;
    }
    let end = found(&engine).await?;
    if end != Model::after(&steps) {
        return Err(format!("the story ends with {end:?}"));
    }
    engine.close().await;
    Ok(())
}

/// Loses power at a disk operation, recovers, and goes on. Says whether the story came that far.
pub fn crash_at(
    seed: u64,
    operation: u64,
    survival: CrashSurvival,
    mutant: Option<Mutant>,
) -> Result<bool, String> {
    let steps = story();
    let mut sim = Sim::new(seed);
    sim.set_mutant(mutant);
    let sim = sim;
    let disk = SimDisk::new(&sim);
    disk.crash_at(operation);
    let mut done = 0;
    match sim.block_on(&disk, live(&sim, &disk, 0, &mut done)) {
        Err(RunStopped::Crashed) => sim.crash(&disk, survival),
        Err(stopped) => return Err(format!("{stopped:?}")),
        Ok(lived) => {
            sim.stop();
            return lived.map(|()| false);
        }
    }
    let recovered = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        let found = found(&engine).await?;
        engine.close_log().await;
        if found == Model::after(&steps[..done]) {
            return Ok(done);
        }
        let further = (done + 1).min(steps.len());
        if found == Model::after(&steps[..further]) {
            return Ok(further);
        }
        let step = steps.get(done);
        Err(format!("after {done} steps, with {step:?} under way:\nfound {found:?}"))
    });
    let from = recovered.map_err(|stopped| format!("{stopped:?}"))??;
    sim.stop();
    let ended = sim.block_on(&disk, live(&sim, &disk, from, &mut done));
    ended.map_err(|stopped| format!("{stopped:?}"))??;
    sim.stop();
    Ok(true)
}

/// `SILTSTONE_STORY=all` tries every operation; else a sample by `SILTSTONE_SEED`.
#[test]
fn a_story_goes_on_after_a_power_cut_at_any_operation() {
    let all = std::env::var("SILTSTONE_STORY").is_ok_and(|value| value == "all");
    let seed = std::env::var("SILTSTONE_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let stride = if all { 1 } else { seeds(60) };
    let mut runs = 0;
    let mut operation = if all { 1 } else { 1 + seed % stride };
    'story: loop {
        let survivals = [
            CrashSurvival::DropAll,
            CrashSurvival::KeepAll,
            CrashSurvival::TearLast,
            CrashSurvival::Random(operation),
        ];
        for survival in survivals {
            let crashed = crash_at(seed, operation, survival, None).unwrap_or_else(|error| {
                panic!("seed {seed}, operation {operation}, {survival:?}: {error}")
            });
            if !crashed {
                break 'story;
            }
            runs += 1;
        }
        operation += stride;
    }
    assert!(runs > 0);
    println!("{operation} disk operations, {runs} power cuts, {} steps", story().len());
}
