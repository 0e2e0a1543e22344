//! Takes every published figure in one run, beside its target and beside the rates of the machine in the same
//! minutes.
//!
//! A missed target is shown and is no error: people who know the other load of the machine must judge a
//! timing. A wrong answer ends a suite with an error.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::client::LoadTarget;
use crate::cuts::{self, CutLoop};
use crate::list;
use crate::load::{self, Load, LoadEnd, LoadWork, ReadMethod};
use crate::mixed::Mixed;
use crate::object::ObjectSet;
use crate::probe::Probe;
use crate::upload::{self, UploadRun};

/// The size of small objects, in bytes.
const SMALL_BYTES: usize = 4096;
/// The target for PUTs of 4 KiB, in requests per second over 64 connections.
const PUT_TARGET: f64 = 5_000.0;
/// The target for GETs of 4 KiB, in requests per second over 64 connections.
const GET_TARGET: f64 = 15_000.0;
/// The target for a full listing, in keys per second.
const LIST_TARGET: f64 = 200_000.0;
/// The target for an upload, as a share of the smaller of the disk's rate and MD5's.
const UPLOAD_SHARE: f64 = 0.6;
/// The target for p99 of small PUTs beside an upload, as a multiple of p99 without one; an upper bound.
const RATIO_TARGET: f64 = 4.0;
/// The number of cuts while PUTs run.
const CUTS: u32 = 3;
/// The number of listings, and of uploads. Each is so short that one alone may be a lucky one, so the median
/// counts.
const REPEATS: usize = 3;

/// The parameters of a suite.
pub struct Suite {
    /// The measurement of the machine's own rates.
    pub probe: Probe,
    /// The server's admin address.
    pub admin: String,
    /// The bucket of small objects. The bucket with `-list` added to the name contains the keys that are
    /// listed.
    pub bucket: String,
    /// The time for which PUTs run, and then GETs.
    pub time: Duration,
    /// The number of connections of PUTs and GETs.
    pub connections: usize,
    /// The number of keys that are listed.
    pub list_keys: u64,
    /// The size of an upload, in bytes.
    pub upload_bytes: u64,
    /// The number of connections with small PUTs beside an upload.
    pub mixed_connections: usize,
    /// True if reports are printed as lines of JSON.
    pub as_json: bool,
}

/// One row of the table.
#[derive(Serialize)]
struct SuiteRow {
    figure: &'static str,
    measured: f64,
    target: f64,
    /// True if the target is an upper bound.
    is_ceiling: bool,
    beside: String,
}

#[derive(Serialize)]
struct SuiteSummary {
    command: &'static str,
    rows: Vec<SuiteRow>,
}

impl Suite {
    /// Runs probe, PUTs, GETs, listings, uploads and the mixed load in this order. Prints each report as soon
    /// as it is complete, then the table.
    ///
    /// A missed target is not an error. Fails if a load, a listing or an upload fails, if an answer is wrong,
    /// if a listing has another number of keys, or if a single PUT has no success. Blocks the thread while
    /// the machine is measured.
    pub async fn run(&self, target: &Arc<LoadTarget>) -> anyhow::Result<()> {
        target.make_bucket(&self.bucket).await?;
        let probed = self.probe.run()?;
        probed.report().print(self.as_json)?;
        let (put, keys) = self.put(target, probed.appends_per_second).await?;
        let get = self.get(target, keys).await?;
        let list = self.list(target).await?;
        let upload = self.upload(target, probed.md5).await?;
        let mixed = self.mixed(target).await?;
        let rows = vec![put, get, list, upload, mixed];
        if self.as_json {
            println!("{}", serde_json::to_string(&SuiteSummary { command: "suite", rows })?);
        } else {
            print!("{}", table(&rows));
        }
        Ok(())
    }

    fn load(&self, work: LoadWork, bucket: &str, until: LoadEnd) -> Load {
        let objects = ObjectSet::new(bucket, "k/", SMALL_BYTES);
        Load { work, objects, connections: self.connections, until, rate: None }
    }

    /// Runs PUTs with cuts; returns the row, and the number of keys that exist after them. Fails if a PUT
    /// failed.
    async fn put(&self, target: &LoadTarget, appends: f64) -> anyhow::Result<(SuiteRow, u64)> {
        // Half a period is left for the last cut.
        let period = self.time * 2 / (2 * CUTS + 1);
        let cuts = CutLoop::every(period, self.admin.clone());
        let work = LoadWork::Put { keys: u64::MAX, signs_payload: false };
        let put = self.load(work, &self.bucket, LoadEnd::Elapsed(self.time));
        let measured = load::run(target, put).await?;
        let made = cuts.finish().await?;
        let report = measured.report("put").note("UNSIGNED-PAYLOAD");
        let report = report.count("cuts", made.count);
        report.number("slowest_cut_seconds", made.slowest.as_secs_f64()).print(self.as_json)?;
        let row = SuiteRow {
            figure: "4 KiB PUT /s",
            measured: measured.rate(),
            target: PUT_TARGET,
            is_ceiling: false,
            beside: format!(
                "{}; {} cuts; raw synced appends {appends:.0} /s",
                latencies(&measured),
                made.count
            ),
        };
        // A request that failed leaves a number without an object.
        anyhow::ensure!(measured.failures == 0, "{} PUTs failed", measured.failures);
        Ok((row, measured.requests))
    }

    async fn get(&self, target: &LoadTarget, keys: u64) -> anyhow::Result<SuiteRow> {
        anyhow::ensure!(keys > 0, "nothing was written that could be read");
        let get = self.load(
            LoadWork::Read { keys, method: ReadMethod::Get },
            &self.bucket,
            LoadEnd::Elapsed(self.time),
        );
        let measured = load::run(target, get).await?;
        measured.report("get").count("keys", keys).print(self.as_json)?;
        Ok(SuiteRow {
            figure: "4 KiB GET /s",
            measured: measured.rate(),
            target: GET_TARGET,
            is_ceiling: false,
            beside: format!("{}; {keys} keys", latencies(&measured)),
        })
    }

    async fn list(&self, target: &Arc<LoadTarget>) -> anyhow::Result<SuiteRow> {
        let bucket = format!("{}-list", self.bucket);
        target.make_bucket(&bucket).await?;
        let work = LoadWork::Put { keys: self.list_keys, signs_payload: false };
        let fill = self.load(work, &bucket, LoadEnd::Requests(self.list_keys));
        load::run(target, fill).await?.report("fill").print(self.as_json)?;
        cuts::cut(&self.admin).await?;
        let mut rates = Vec::new();
        for _ in 0..REPEATS {
            let measured = list::run(target, &bucket, "", Some(self.list_keys)).await?;
            measured.report("list").print(self.as_json)?;
            rates.push(measured.rate());
        }
        Ok(SuiteRow {
            figure: "listing, keys/s",
            measured: median(&rates),
            target: LIST_TARGET,
            is_ceiling: false,
            beside: format!("{} keys, pages of 1000; {}", self.list_keys, spread(&rates)),
        })
    }

    fn large(&self) -> UploadRun {
        UploadRun::new(&self.bucket, "large", self.upload_bytes, None)
    }

    async fn upload(&self, target: &Arc<LoadTarget>, md5: f64) -> anyhow::Result<SuiteRow> {
        let large = self.large();
        let (mut rates, mut disk) = (Vec::new(), Vec::new());
        for _ in 0..REPEATS {
            // Measured beside each upload, since the rate of a shared disk changes from minute to minute.
            disk.push(self.probe.write()?);
            let measured: upload::UploadMeasurement = large.run(target).await?;
            measured.report("upload").print(self.as_json)?;
            rates.push(measured.rate());
        }
        Ok(SuiteRow {
            figure: "upload, MiB/s",
            measured: median(&rates),
            target: UPLOAD_SHARE * median(&disk).min(md5),
            is_ceiling: false,
            beside: format!(
                "{}; raw disk {:.0} MiB/s ({}), MD5 {md5:.0} MiB/s",
                spread(&rates),
                median(&disk),
                spread(&disk)
            ),
        })
    }

    async fn mixed(&self, target: &Arc<LoadTarget>) -> anyhow::Result<SuiteRow> {
        let mixed = Mixed {
            bucket: self.bucket.clone(),
            small_bytes: SMALL_BYTES,
            connections: self.mixed_connections,
            quiet: self.time / 4,
            upload: self.large(),
            uploads: REPEATS,
        };
        let measured = mixed.run(target).await?;
        measured.report().print(self.as_json)?;
        Ok(SuiteRow {
            figure: "p99 beside upload / quiet",
            measured: measured.ratio(),
            target: RATIO_TARGET,
            is_ceiling: true,
            beside: format!(
                "quiet {:.2} ms, beside uploads {:.2} ms, {} connections",
                measured.quiet_p99_ms(),
                measured.loud_p99_ms(),
                self.mixed_connections
            ),
        })
    }
}

fn latencies(measured: &load::LoadMeasurement) -> String {
    let percentile = |percent| measured.latencies.percentile_ms(percent);
    format!(
        "p50 {:.2} ms, p99 {:.2} ms; client CPU {:.0} % of a core",
        percentile(50.0),
        percentile(99.0),
        100.0 * measured.cost.cpu.as_secs_f64() / measured.cost.elapsed.as_secs_f64()
    )
}

fn sorted(rates: &[f64]) -> Vec<f64> {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The middle rate; of an even number of rates, the lower of the two. Zero if there is none.
fn median(rates: &[f64]) -> f64 {
    sorted(rates).get(rates.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

fn spread(rates: &[f64]) -> String {
    let sorted: Vec<_> = sorted(rates).iter().map(|rate| format!("{rate:.0}")).collect();
    format!("runs: {}", sorted.join(", "))
}

fn table(rows: &[SuiteRow]) -> String {
    let mut text = format!(
        "| {:<25} | {:>10} | {:>15} | {:>10} | beside\n|{:-<27}|{:->12}|{:->17}|{:->12}|-------\n",
        "figure", "measured", "target", "of target", "", "", "", ""
    );
    for row in rows {
        let bound = if row.is_ceiling { "at most" } else { "at least" };
        // Ratios are small numbers, rates are not.
        let digits = if row.target < 100.0 { 2 } else { 0 };
        let target = format!("{bound} {:.digits$}", row.target);
        text += &format!(
            "| {:<25} | {:>10.digits$} | {target:>15} | {:>8.0} % | {}\n",
            row.figure,
            row.measured,
            100.0 * row.measured / row.target,
            row.beside
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[3.0, 1.0]), 1.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn a_row_shows_both_figures() {
        let row = SuiteRow {
            figure: "f",
            measured: 5_500.0,
            target: 5_000.0,
            is_ceiling: false,
            beside: "p50".into(),
        };
        let table = table(&[row]);
        assert!(table.lines().nth(2).unwrap().contains("5500"), "{table}");
        assert!(table.contains("at least 5000") && table.contains("110 %"), "{table}");
    }
}
