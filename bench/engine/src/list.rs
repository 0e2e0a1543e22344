//! Measures listings in the way the gateway takes them: pages, each on a snapshot of its own.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::Bytes;
use compactor::partition::{CutPolicy, Partition, PartitionOptions};
use hdrhistogram::Histogram;
use ingest::ids::BucketId;
use query::listing::{self, ListItem, ListPage, ListRequest, ListStart};
use serde_json::json;

use crate::data::EngineStore;
use crate::fill::FillScenario;
use crate::keys;

/// The most keys on a page, as in S3.
const PAGE: usize = 1000;
/// The number of repetitions of one page.
const TIMES: u64 = 2000;
/// The number of full listings; the best rate is reported beside the median.
const ROUNDS: usize = 5;

struct Lister<'a> {
    partition: &'a Partition,
    bucket: BucketId,
}

impl Lister<'_> {
    async fn page(
        &self,
        prefix: &str,
        delimiter: &str,
        from: ListStart,
        max: usize,
    ) -> anyhow::Result<ListPage> {
        let request = ListRequest {
            bucket: self.bucket,
            prefix: Bytes::copy_from_slice(prefix.as_bytes()),
            delimiter: Bytes::copy_from_slice(delimiter.as_bytes()),
            from,
            max,
        };
        Ok(listing::objects(&self.partition.snapshot(), &request).await?)
    }

    /// Lists all keys, page after page, and returns their number.
    async fn whole(&self) -> anyhow::Result<u64> {
        let mut from = ListStart::Start;
        let mut keys = 0;
        loop {
            let page = self.page("", "", from, PAGE).await?;
            keys += page.listed.len() as u64;
            let Some(next) = page.next else { return Ok(keys) };
            from = next;
        }
    }

    /// Measures and prints the keys per second of full listings; returns the median.
    async fn rate(&self, name: &str) -> anyhow::Result<f64> {
        let mut rates = Vec::new();
        let mut keys = 0;
        for _ in 0..ROUNDS {
            let began = Instant::now();
            keys = self.whole().await?;
            rates.push(keys as f64 / began.elapsed().as_secs_f64());
        }
        rates.sort_by(f64::total_cmp);
        let median = rates[ROUNDS / 2];
        println!(
            "{}",
            json!({"figure": "full listing", "bucket": name, "keys": keys,
                   "keys_per_second": median.round(), "best": rates[ROUNDS - 1].round()})
        );
        Ok(median)
    }

    /// Measures and prints the latencies of a page that is taken [`TIMES`] times, in milliseconds.
    async fn times<F: Future<Output = anyhow::Result<ListPage>>>(
        &self,
        figure: &str,
        name: &str,
        page: impl Fn(u64) -> F,
    ) -> anyhow::Result<()> {
        let mut took: Histogram<u64> = Histogram::new(3)?;
        let mut listed = 0;
        for n in 0..TIMES {
            let began = Instant::now();
            listed += page(n).await?.listed.len();
            took.record(began.elapsed().as_nanos() as u64)?;
        }
        let at = |percent: f64| took.value_at_percentile(percent) as f64 / 1e6;
        println!(
            "{}",
            json!({"figure": figure, "bucket": name, "listed": listed as f64 / TIMES as f64,
                   "p50_ms": at(50.0), "p99_ms": at(99.0)})
        );
        Ok(())
    }
}

fn lister<'a>(partition: &'a Partition, name: &str) -> anyhow::Result<Lister<'a>> {
    let snapshot = partition.snapshot();
    let found = snapshot.buckets.iter().find(|bucket| bucket.name.as_str() == name);
    let bucket = found.with_context(|| format!("there is no bucket {name}: fill first"))?.id;
    Ok(Lister { partition, bucket })
}

/// Measures and prints the figures of a scenario, one line of JSON for each, after a line about runs and
/// memtable.
///
/// The store must have been filled with the same scenario before. Fails if a bucket is missing, a listing
/// cannot be read, or, in `marked`, the two buckets do not have the same number of keys. Nothing is cut or
/// merged during the measurement.
pub async fn run(data: &Path, scenario: FillScenario) -> anyhow::Result<()> {
    // Nothing is cut or merged during the measurement.
    let never = std::time::Duration::from_secs(1 << 20);
    let cut = CutPolicy { bytes: u64::MAX, entries: usize::MAX, age: never, records: u64::MAX };
    let options = PartitionOptions { cut, merge_fan_in: usize::MAX, ..PartitionOptions::default() };
    let data = EngineStore::open(data, options).await?;
    let partition = &data.partition;
    let snapshot = partition.snapshot();
    println!(
        "{}",
        json!({"runs": snapshot.view.sealed.runs.len(), "memtable": snapshot.view.memtable.len()})
    );
    match scenario {
        FillScenario::Curve => curve(partition).await?,
        FillScenario::Hidden => {
            let hidden = lister(partition, "hidden")?;
            hidden
                .times("a prefix that hides all", "hidden", |_| {
                    hidden.page("", "/", ListStart::Start, PAGE)
                })
                .await?;
        }
        FillScenario::Marked => {
            let clean = lister(partition, "clean")?;
            let marked = lister(partition, "marked")?;
            ensure!(clean.whole().await? == marked.whole().await?, "not the same keys");
            let (clean, marked) = (clean.rate("clean").await?, marked.rate("marked").await?);
            println!(
                "{}",
                json!({"figure": "marked against clean", "times_slower": clean / marked})
            );
        }
    }
    data.close().await;
    Ok(())
}

async fn curve(partition: &Partition) -> anyhow::Result<()> {
    for (index, name) in keys::BUCKETS.iter().enumerate() {
        let bucket = lister(partition, name)?;
        bucket.rate(name).await?;
        bucket.times("first page", name, |_| bucket.page("", "", ListStart::Start, PAGE)).await?;
        let random = |n: u64| {
            // A key of this bucket, written or not.
            let (_, key) = keys::place(keys::scramble(n) / 3 * 3 % 3_000_000_000 + index as u64);
            bucket.page("", "", ListStart::After(key.into()), PAGE)
        };
        bucket.times("page after a random key", name, random).await?;
    }
    let deep = lister(partition, "deep")?;
    deep.times("100 prefixes", "deep", |_| deep.page("", "/", ListStart::Start, 100)).await?;
    let random = |n: u64| {
        let prefix = format!("area-{:02}/", keys::scramble(n) % 100);
        let deep = &deep;
        async move { deep.page(&prefix, "/", ListStart::Start, 100).await }
    };
    deep.times("100 prefixes below a random one", "deep", random).await?;
    let shown = deep.page("", "/", ListStart::Start, PAGE).await?;
    ensure!(shown.listed.iter().all(|listed| matches!(listed, ListItem::Prefix(_))), "{shown:?}");
    Ok(())
}
