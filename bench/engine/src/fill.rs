//! Writes objects through the log, as fast as the log accepts them.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::ValueEnum;
use compactor::outcome::RecordOutcome;
use compactor::partition::{CutPolicy, PartitionOptions};
use futures::StreamExt;
use futures::stream;
use ingest::ids::{BucketId, ConfigVersion};
use ingest::name::{BucketName, ObjectKey};
use ingest::record::{
    ConfigKind, CreateBucket, DeleteObject, PutObject, RecordBody, RecordPayload, SetBucketConfig,
    VersionRef, Versioning, WriteCondition,
};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::data::EngineStore;
use crate::keys;

/// Buckets, keys and tags of a fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum FillScenario {
    /// Three buckets with short, long and deep keys; a fifth of the objects have tags.
    Curve,
    /// One bucket in which a common prefix hides all keys except a hundred.
    Hidden,
    /// Bucket `clean`, and versioned bucket `marked` with the same visible keys and nine times as many
    /// deleted ones.
    Marked,
}

/// The parameters of a fill: the arguments of the `fill` subcommand.
#[derive(Clone, Debug)]
pub struct FillPlan {
    /// Buckets, keys and tags.
    pub scenario: FillScenario,
    /// The number of objects.
    pub objects: u64,
    /// The number of the first object.
    pub first: u64,
    /// The number of runs of equal size; 0 for cuts as a server makes them, and a merge.
    pub runs: u64,
    /// The number of objects that stay in the memtable.
    pub memtable: u64,
}

/// The most objects whose records are under way at once: enough for the log to sync many together.
const AT_ONCE: usize = 4096;

/// One write: bucket index, key and, for a put, the number of the object.
enum FillWrite {
    Put(usize, String, u64),
    Delete(usize, String),
}

impl FillScenario {
    fn buckets(self) -> &'static [&'static str] {
        match self {
            FillScenario::Curve => &keys::BUCKETS,
            FillScenario::Hidden => &["hidden"],
            FillScenario::Marked => &["clean", "marked"],
        }
    }

    /// Returns the writes of the n-th object, in order.
    fn writes(self, n: u64) -> Vec<FillWrite> {
        match self {
            FillScenario::Curve => {
                let (bucket, key) = keys::place(n);
                vec![FillWrite::Put(bucket, key, n)]
            }
            FillScenario::Hidden => {
                let key = match n {
                    0..50 => format!("a/{n:02}"),
                    50..100 => format!("z/{n:02}"),
                    _ => format!("m/{n:010}"),
                };
                vec![FillWrite::Put(0, key, n)]
            }
            FillScenario::Marked => {
                let key = format!("{:02}/{n:010}", n % 100);
                let mut writes = vec![FillWrite::Put(1, key.clone(), n)];
                match n % 10 {
                    0 => writes.push(FillWrite::Put(0, key, n)),
                    _ => writes.push(FillWrite::Delete(1, key)),
                }
                writes
            }
        }
    }
}

/// Fills a store according to the plan, and prints one line of JSON with times in seconds and sizes in bytes.
///
/// Writes and cuts the objects that are to be sealed, merges them only if the plan has no number of runs, and
/// then writes the objects that stay in the memtable. Fails at the first record that is rejected or not
/// accepted by the log; the records before it stay in the store.
pub async fn run(data: &Path, plan: &FillPlan) -> anyhow::Result<()> {
    let mut options = PartitionOptions::default();
    if plan.runs > 0 || plan.memtable > 0 {
        // Only this program makes cuts.
        let never = std::time::Duration::from_secs(1 << 20);
        options.cut =
            CutPolicy { bytes: u64::MAX, entries: usize::MAX, age: never, records: u64::MAX };
        options.merge_fan_in = usize::MAX;
    }
    let data = EngineStore::open(data, options).await?;
    let owner = hex::encode(Sha256::digest(b"siltstone root user"));
    let buckets = buckets(&data, plan.scenario, &owner).await?;
    let began = Instant::now();
    let end = plan.first + plan.objects;
    let sealed_end = end - plan.memtable.min(plan.objects);
    let mut at = plan.first;
    for run in 0..plan.runs.max(1) {
        let until = plan.first + (sealed_end - plan.first) * (run + 1) / plan.runs.max(1);
        write(&data, plan.scenario, &buckets, &owner, at..until).await?;
        data.partition.cut().await?;
        at = until;
    }
    let wrote = began.elapsed();
    if plan.runs == 0 {
        data.partition.merge().await?;
    }
    let merged = began.elapsed();
    write(&data, plan.scenario, &buckets, &owner, at..end).await?;
    let snapshot = data.partition.snapshot();
    let runs = &snapshot.view.sealed.runs;
    let files = |of: fn(&compactor::catalog::RunMeta) -> u64| -> u64 {
        runs.iter().map(|open| of(&open.run)).sum()
    };
    let tables = |of: fn(&compactor::view::OpenRun) -> usize| -> usize {
        runs.iter().map(|open| of(open)).sum()
    };
    let line = json!({
        "command": "fill",
        "objects": plan.objects,
        "seconds_to_write_and_cut": wrote.as_secs_f64(),
        "seconds_with_merge": merged.as_secs_f64(),
        "runs": runs.len(),
        "memtable": snapshot.view.memtable.len(),
        "bytes": {
            "manifest": files(|run| run.manifest.len),
            "sums": files(|run| run.sums.len),
            "keys": files(|run| run.keys.len),
            "more": files(|run| run.more.len),
            "tags": files(|run| run.tags.len),
            "state": files(|run| run.state.len),
            "segments": snapshot.view.sealed.catalog.segments.iter().map(|s| s.file.len).sum::<u64>(),
        },
        "memory_of_key_indexes": tables(|open| {
            [&open.keys, &open.more].into_iter().flatten().map(|table| table.memory_bytes()).sum()
        }),
    });
    println!("{line}");
    data.close().await;
    Ok(())
}

/// Makes the buckets, unless they exist, and returns their ids in the order of the scenario.
async fn buckets(
    data: &EngineStore,
    scenario: FillScenario,
    owner: &str,
) -> anyhow::Result<Vec<BucketId>> {
    let mut ids = Vec::new();
    for name in scenario.buckets() {
        let known = data.partition.snapshot();
        if let Some(bucket) = known.buckets.iter().find(|bucket| bucket.name.as_str() == *name) {
            ids.push(bucket.id);
            continue;
        }
        let bucket = CreateBucket {
            name: BucketName::new(*name).context("a bucket's name")?,
            owner: owner.to_owned(),
            region: "us-east-1".into(),
        };
        let made = data.partition.submit(owner, "bench", RecordBody::CreateBucket(bucket)).await?;
        let RecordOutcome::BucketCreated(id) = made else { bail!("no bucket {name}: {made:?}") };
        if *name == "marked" {
            let versioning = RecordBody::SetBucketConfig(SetBucketConfig {
                bucket: id,
                config: ConfigVersion::ZERO,
                kind: ConfigKind::VERSIONING,
                document: Some(Versioning::On.document()),
            });
            data.partition.submit(owner, "bench", versioning).await?;
        }
        ids.push(id);
    }
    Ok(ids)
}

async fn write(
    data: &EngineStore,
    scenario: FillScenario,
    buckets: &[BucketId],
    owner: &str,
    numbers: std::ops::Range<u64>,
) -> anyhow::Result<()> {
    let snapshot = data.partition.snapshot();
    let config = |bucket: BucketId| {
        let known = snapshot.buckets.get(bucket).expect("the bucket was made before");
        known.config
    };
    let configs: Arc<[_]> = buckets.iter().map(|bucket| config(*bucket)).collect();
    let submitted = stream::iter(numbers).map(|n| {
        let configs = configs.clone();
        async move {
            // One after the other: a delete must follow the write of the object that it deletes.
            for write in scenario.writes(n) {
                let body = body(write, buckets, &configs, owner)?;
                let outcome = data.partition.submit(owner, "bench", body).await?;
                if matches!(outcome, RecordOutcome::Rejected(_)) {
                    bail!("object {n}: {outcome:?}");
                }
            }
            Ok(())
        }
    });
    let mut done = submitted.buffer_unordered(AT_ONCE);
    while let Some(result) = done.next().await {
        result?;
    }
    Ok(())
}

fn body(
    write: FillWrite,
    buckets: &[BucketId],
    configs: &[ingest::ids::ConfigVersion],
    owner: &str,
) -> anyhow::Result<RecordBody> {
    let key = |key: String| ObjectKey::new(key.into_bytes()).context("a key");
    Ok(match write {
        FillWrite::Put(bucket, name, n) => RecordBody::PutObject(PutObject {
            bucket: buckets[bucket],
            config: configs[bucket],
            key: key(name)?,
            condition: WriteCondition::Always,
            attributes: keys::attributes(n, owner),
            digest: keys::scramble(n),
            payload: RecordPayload::Inline(Bytes::new()),
        }),
        FillWrite::Delete(bucket, name) => RecordBody::DeleteObject(DeleteObject {
            bucket: buckets[bucket],
            config: configs[bucket],
            key: key(name)?,
            version: VersionRef::Current,
            condition: WriteCondition::Always,
        }),
    })
}
