//! The `history` subcommand: concurrent clients use several endpoints of one store, and record all requests
//! and answers, for `check` to judge.
//!
//! Clients have no knowledge of each other, and judge only single answers. Every value that is written is
//! unique and contains its id, so the content of a read identifies the write from which it comes.
//!
//! ```text
//!  choice ──► caller ──► endpoints ──► request ~~~ store ~~~ answer ──► journal ──► FILE.jsonl ──► check
//!             (begins)                                       (ends)
//! ```
//!
//! # The file
//!
//! One JSON object in each line; `line.rs` has them as types. `"line"` is the kind of the line:
//!
//! - `setup`, the first: `format` (1), `tag` (in all value ids and bucket names), `seed`, the number of
//!   `clients`, `endpoints`, `buckets` (made, and empty, before the first operation), and `unix_ms`, the wall
//!   clock at `ns` 0.
//! - `invoke`, before anything of an operation is sent: its number `op`, the `client`, the `endpoint` (an
//!   index into those of `setup`), the `bucket`, the `kind` with its parameters, and the time.
//!
//!   | kind | with | is |
//!   |---|---|---|
//!   | `get`, `head`, `delete` | `key` | the S3 operation of that name |
//!   | `put` | `key`, `value`, `etag`, `bytes` | PutObject of a value that no other write has |
//!   | `put_if_absent` | the same | with `If-None-Match: *` |
//!   | `put_if_match` | and `if_match` | with `If-Match` and that ETag |
//!   | `upload` | as `put` | CreateMultipartUpload and all parts: changes no object |
//!   | `complete` | as `put` | CompleteMultipartUpload: the write itself |
//!   | `list` | `prefix`, `after`, `max_keys` | one page of ListObjectsV2 |
//!
//! - `complete`, after the answer was read or lost: `op`, the `outcome`, the HTTP `status` if there was one,
//!   S3's error `code` or the way in which the answer was lost, the content `seen`, and the time. `wrong`
//!   describes a fault of the answer by itself, for example a body that is no value.
//!
//!   | outcome | a write | a read |
//!   |---|---|---|
//!   | `ok` | was done | shows `seen`: `"absent"`, an `object` or a `page` |
//!   | `fail` | was not done, and never will be (4xx, or nothing was sent) | shows nothing |
//!   | `unknown` | may have been done, may be done later, or never | shows nothing |
//!
//! `after` is the last key of the page before. An outcome is `unknown` after a 5xx or 408, if no answer came
//! in time, or if the connection broke after something was sent. An operation without its second line is
//! `unknown`, too: the process was killed. Times are `ns`, nanoseconds on one monotonic clock of all clients,
//! by which `check` orders everything, and `unix_ms`, the wall clock, which finds the same moment in other
//! logs.

mod answer;
mod caller;
mod choice;
pub mod dice;
mod endpoints;
mod journal;
mod last_look;
pub mod line;
mod multipart;
mod request;
mod value;

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use clap::Args;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use caller::{Caller, CallerContext, CallerTally};
use choice::ObjectPlaces;
use endpoints::Endpoints;
use journal::{Journal, unix_ms};
use last_look::LastLook;
use line::{FORMAT, HistoryLine, HistorySetup};

use crate::client::LoadTarget;
use crate::object::mix;
use crate::report::FigureReport;
use crate::sign::Credentials;

/// The time between two flushes of the history file to the operating system.
const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// The time limit for making one bucket, and for each attempt to make it.
const BUCKET_WITHIN: Duration = Duration::from_secs(60);

/// Records the requests of concurrent clients and their answers.
#[derive(Args)]
pub struct HistoryRun {
    /// The servers, separated by commas: nodes of one store, or one of them several times.
    #[arg(long, value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
    #[command(flatten)]
    credentials: Credentials,
    /// Stops after this many seconds.
    #[arg(long, required_unless_present = "until_file")]
    seconds: Option<u64>,
    /// Stops when this file exists.
    #[arg(long)]
    until_file: Option<PathBuf>,
    /// The number of clients, each with one request at a time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// The most operations per second, approximately. Without it, as many as the store answers: the file may
    /// grow by hundreds of megabytes a minute.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// The number of keys in each bucket for which the clients contend. With fewer keys more operations
    /// overlap: a history proves more, and takes longer to check.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// The number of other keys in each bucket.
    #[arg(long, default_value_t = 100)]
    wide_keys: u64,
    /// The number of buckets to make.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    buckets: u64,
    /// The seed of the clients' choices. Answers and their timing do not depend on it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The history file to write, which must not exist.
    #[arg(long)]
    out: PathBuf,
    /// The time limit of an answer, in milliseconds.
    #[arg(long, default_value_t = 15_000)]
    timeout_ms: u64,
    /// The average rate at which values above 300 KiB are written, in MiB per second.
    #[arg(long, default_value_t = 4)]
    bulk_mib_per_second: u64,
}

impl HistoryRun {
    /// Records a history, and returns the numbers of operations by outcome.
    ///
    /// Makes new buckets first, then the file, then runs the clients until the history is over, then the last
    /// look. Fails if an endpoint cannot be parsed, a bucket cannot be made in time, the file exists, or the
    /// file cannot be written. Failures of the store after the buckets were made are recorded and are no
    /// error.
    pub async fn run(self) -> anyhow::Result<FigureReport> {
        let targets: Vec<LoadTarget> =
            self.endpoints.iter().map(|url| self.target(url)).collect::<Result<_, _>>()?;
        let now = SystemTime::UNIX_EPOCH.elapsed().context("the clock is before 1970")?;
        let tag = format!("{:06x}", mix(now.as_nanos() as u64) & 0xff_ffff);
        let buckets: Vec<String> =
            (0..self.buckets).map(|number| format!("history-{tag}-{number}")).collect();
        for bucket in &buckets {
            make_bucket(&targets, bucket).await?;
        }
        let journal = Journal::create(&self.out)?;
        journal.write(&HistoryLine::Setup(HistorySetup {
            format: FORMAT,
            tag: tag.clone(),
            seed: self.seed,
            clients: self.clients,
            endpoints: self.endpoints.clone(),
            buckets: buckets.clone(),
            unix_ms: unix_ms(),
        }))?;
        let endpoints = Arc::new(Endpoints::new(targets.len(), self.clients as usize));
        let places =
            ObjectPlaces { buckets: buckets.len(), contended: self.keys, wide: self.wide_keys };
        let shared = Arc::new(CallerContext {
            journal,
            tag,
            targets,
            endpoints,
            buckets,
            places,
            within: Duration::from_millis(self.timeout_ms),
            bulk_bytes_per_second: self.bulk_mib_per_second << 20,
            bulk_bytes: AtomicU64::new(0),
            interval: self.rate.map_or(Duration::ZERO, |rate| {
                Duration::from_secs_f64(f64::from(self.clients) / f64::from(rate))
            }),
            deadline: self.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
            until_file: self.until_file,
            next_op: AtomicU64::new(0),
            tally: Mutex::new(CallerTally::default()),
        });
        let flushing = tokio::spawn(flush_often(shared.clone()));
        let recorded = record(&shared, self.clients, self.seed).await;
        flushing.abort();
        shared.journal.flush()?;
        recorded?;
        let tally = *shared.tally.lock().expect("counting does not panic");
        Ok(report(&tally, shared.journal.ns()))
    }

    fn target(&self, endpoint: &str) -> anyhow::Result<LoadTarget> {
        LoadTarget::new(endpoint, self.credentials.clone())
    }
}

fn report(tally: &CallerTally, ns: u64) -> FigureReport {
    let CallerTally { ok, failed, unknown, wrong } = *tally;
    FigureReport::new("history")
        .count("operations", ok + failed + unknown)
        .count("ok", ok)
        .count("failed", failed)
        .count("unknown", unknown)
        .count("wrong", wrong)
        .number("seconds", ns as f64 / 1e9)
        .note("failed: certainly not done, conditions that did not hold among them")
        .note("only `check` tells whether the answers agree with each other")
}

/// Makes a bucket through the endpoints in turn, until one succeeds.
///
/// Fails with the last error after [`BUCKET_WITHIN`], and if there is no endpoint.
async fn make_bucket(targets: &[LoadTarget], bucket: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    for target in targets.iter().cycle() {
        let made = timeout(BUCKET_WITHIN, target.make_bucket(bucket)).await;
        match made.context("no answer came in time").flatten() {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() > BUCKET_WITHIN => return Err(error),
            Err(_) => sleep(FLUSH_EVERY).await,
        }
    }
    bail!("there is no endpoint");
}

/// Runs all clients until the history is over, then the last look. Fails if the history file cannot be
/// written.
async fn record(shared: &Arc<CallerContext>, clients: u32, seed: u64) -> anyhow::Result<()> {
    ensure!(clients > 0, "there is no client");
    let mut working = JoinSet::new();
    for number in 0..clients {
        let mut caller = Caller::new(shared.clone(), number, mix(seed) ^ u64::from(number));
        working.spawn(async move { caller.work().await.map(|()| caller) });
    }
    let mut callers = Vec::new();
    while let Some(done) = working.join_next().await {
        callers.push(done??);
    }
    let last_look = LastLook::new(shared);
    let mut looking = JoinSet::new();
    for mut caller in callers {
        let last_look = last_look.clone();
        looking.spawn(async move { last_look.take_part(&mut caller).await });
    }
    while let Some(done) = looking.join_next().await {
        done??;
    }
    Ok(())
}

/// Flushes the history file every [`FLUSH_EVERY`], until a flush fails.
async fn flush_often(shared: Arc<CallerContext>) {
    loop {
        sleep(FLUSH_EVERY).await;
        // The next line that a client adds fails, too, and ends the history with the error.
        if shared.journal.flush().is_err() {
            return;
        }
    }
}
