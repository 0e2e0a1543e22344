//! The `siltstone-bench` binary: loads a server from outside, over HTTP, as clients do.
//!
//! This file is the command line. The work of each subcommand is in the file of its name; `put`, `get` and
//! `fill` share `load.rs`.
#![allow(missing_docs, reason = "a binary has no public interface")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod check;
mod client;
mod cuts;
mod history;
mod latency;
mod list;
mod load;
mod mixed;
mod null_server;
mod object;
mod payload;
mod probe;
mod report;
mod sign;
mod size;
mod stopwatch;
mod suite;
mod upload;
mod xml;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use client::LoadTarget;
use cuts::CutLoop;
use load::{Load, LoadEnd, LoadWork, ReadMethod};
use object::ObjectSet;
use sign::Credentials;

#[derive(Parser)]
#[command(name = "siltstone-bench", about = "Loads an S3 endpoint and tells what it did", version)]
struct Cli {
    /// Print each report as one line of JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Number of threads of this client. More than one takes processor time from a server on the same
    /// machine.
    #[arg(long, global = true, default_value_t = 1)]
    threads: usize,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures the machine itself: synced appends, sequential writes, MD5.
    Probe(ProbeArgs),
    /// Writes distinct small objects for a given time.
    Put(PutArgs),
    /// Reads, in random order, and verifies the objects that `put` or `fill` wrote.
    Get(GetArgs),
    /// Asks, in random order, for the headers of objects that `put` or `fill` wrote.
    Head(GetArgs),
    /// Writes a given number of small objects.
    Fill(FillArgs),
    /// Writes one large object.
    Upload(UploadArgs),
    /// Writes small objects, first alone, then beside uploads.
    Mixed(MixedArgs),
    /// Lists all keys and verifies their order.
    List(ListArgs),
    /// Serves a map in memory over HTTP, the measure for the processor time of a request.
    NullServer(NullServerArgs),
    /// Takes every published figure, and prints it beside its target.
    Suite(SuiteArgs),
    /// Records the requests of concurrent clients and their answers.
    History(history::HistoryRun),
    /// Judges a history that `history` has recorded.
    Check(check::HistoryCheck),
}

#[derive(Args)]
struct TargetArgs {
    /// URL of the server, as `http://host:port`.
    #[arg(long, default_value = "http://127.0.0.1:9000")]
    endpoint: String,
    #[command(flatten)]
    credentials: Credentials,
    /// Bucket; commands that write make it if it does not exist.
    #[arg(long, default_value = "bench")]
    bucket: String,
}

impl TargetArgs {
    fn target(&self) -> anyhow::Result<Arc<LoadTarget>> {
        Ok(Arc::new(LoadTarget::new(&self.endpoint, self.credentials.clone())?))
    }

    async fn target_with_bucket(&self) -> anyhow::Result<Arc<LoadTarget>> {
        let target = self.target()?;
        target.make_bucket(&self.bucket).await?;
        Ok(target)
    }
}

#[derive(Args)]
struct ProbeArgs {
    /// Folder on the server's disk, for temporary files.
    #[arg(long)]
    dir: PathBuf,
    /// Seconds for which appends, and then MD5, are measured.
    #[arg(long, default_value_t = 5)]
    probe_seconds: u64,
    /// Length of the file that is written sequentially.
    #[arg(long, default_value = "1GiB", value_parser = size::parse)]
    file_bytes: u64,
    /// Number of bytes after which the file is synced.
    #[arg(long, default_value = "16MiB", value_parser = size::parse)]
    sync_bytes: u64,
}

impl From<ProbeArgs> for probe::Probe {
    fn from(args: ProbeArgs) -> Self {
        let time = Duration::from_secs(args.probe_seconds);
        let ProbeArgs { dir, file_bytes, sync_bytes, .. } = args;
        Self { dir, time, file_bytes, sync_bytes }
    }
}

#[derive(Args)]
struct ObjectArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Number of connections, each with one request at a time.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Size of an object.
    #[arg(long, default_value = "4KiB", value_parser = size::parse)]
    bytes: u64,
    /// Prefix of all keys.
    #[arg(long, default_value = "k/")]
    prefix: String,
}

impl ObjectArgs {
    fn load(&self, work: LoadWork, until: LoadEnd) -> Load {
        let objects = ObjectSet::new(&self.target.bucket, &self.prefix, self.bytes as usize);
        Load { work, objects, connections: self.connections, until, rate: None }
    }
}

/// The form in which bodies are signed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PayloadSigning {
    /// Sign the SHA-256 of each body.
    Signed,
    /// Send `UNSIGNED-PAYLOAD` instead of a hash.
    Unsigned,
}

#[derive(Args)]
struct PutArgs {
    #[command(flatten)]
    object: ObjectArgs,
    /// Seconds for which objects are written.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Number of keys after which the first one is written again. Without it every key is new.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    keys: Option<u64>,
    /// Sign the SHA-256 of bodies, or leave bodies unsigned, as clients over TLS do.
    #[arg(long, value_enum, default_value_t = PayloadSigning::Unsigned)]
    payload: PayloadSigning,
    /// Seconds between two cuts of the log. Without it the client requests no cuts.
    #[arg(long)]
    cut_every: Option<u64>,
    /// URL of the server's admin address.
    #[arg(long, default_value = "http://127.0.0.1:9001")]
    admin: String,
}

#[derive(Args)]
struct GetArgs {
    #[command(flatten)]
    object: ObjectArgs,
    /// Seconds for which objects are read.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Number of keys that were written before.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Requests that are due each second, independent of earlier answers. Without it each connection waits
    /// for its answer.
    #[arg(long)]
    rate: Option<f64>,
}

#[derive(Args)]
struct FillArgs {
    #[command(flatten)]
    object: ObjectArgs,
    /// Number of keys to write.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
}

#[derive(Args)]
struct UploadArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Key of the object.
    #[arg(long, default_value = "upload")]
    key: String,
    /// Size of the object.
    #[arg(long, default_value = "1GiB", value_parser = size::parse)]
    bytes: u64,
    /// Upload in parts of this size. Without it, in one PUT.
    #[arg(long, value_parser = size::parse)]
    part_bytes: Option<u64>,
    /// Number of parts under way at a time.
    #[arg(long, default_value_t = 4)]
    parallel: usize,
}

#[derive(Args)]
struct MixedArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Seconds for which the small load runs alone.
    #[arg(long, default_value_t = 15)]
    quiet_seconds: u64,
    /// Connections of the small load, in both phases.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Size of a small object.
    #[arg(long, default_value = "4KiB", value_parser = size::parse)]
    small_bytes: u64,
    /// Size of an upload.
    #[arg(long, default_value = "1GiB", value_parser = size::parse)]
    bytes: u64,
    /// Number of uploads, one after the other.
    #[arg(long, default_value_t = 1)]
    uploads: usize,
}

#[derive(Args)]
struct ListArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Number of keys that must be listed; another number is an error.
    #[arg(long)]
    keys: Option<u64>,
    /// List only keys that begin with this prefix.
    #[arg(long, default_value = "")]
    prefix: String,
}

#[derive(Args)]
struct NullServerArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
}

#[derive(Args)]
struct SuiteArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    probe: ProbeArgs,
    /// URL of the server's admin address.
    #[arg(long, default_value = "http://127.0.0.1:9001")]
    admin: String,
    /// Seconds for which PUTs run, and then GETs; the quiet phase takes a quarter of it.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Number of connections of PUTs and GETs, each with one request at a time.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Number of keys to list.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    list_keys: u64,
    /// Size of an upload.
    #[arg(long, default_value = "1GiB", value_parser = size::parse)]
    upload_bytes: u64,
    /// Connections of small PUTs beside an upload.
    #[arg(long, default_value_t = 8)]
    mixed_connections: usize,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("siltstone-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(cli.threads.max(1)).enable_all().build()?;
    let as_json = cli.json;
    runtime.block_on(async {
        match cli.command {
            Command::Probe(args) => probe::Probe::from(args).run()?.report().print(as_json),
            Command::Put(args) => put(args, as_json).await,
            Command::Get(args) => get(args, ReadMethod::Get, as_json).await,
            Command::Head(args) => get(args, ReadMethod::Head, as_json).await,
            Command::NullServer(args) => null_server::serve(args.listen).await,
            Command::Fill(args) => fill(args, as_json).await,
            Command::Upload(args) => upload(args, as_json).await,
            Command::Mixed(args) => mixed(args, as_json).await,
            Command::List(args) => list(args, as_json).await,
            Command::Suite(args) => suite(args, as_json).await,
            Command::History(history) => history.run().await?.print(as_json),
            Command::Check(check) => check.run(as_json),
        }
    })
}

async fn put(args: PutArgs, as_json: bool) -> anyhow::Result<()> {
    let target = args.object.target.target_with_bucket().await?;
    let signs_payload = args.payload == PayloadSigning::Signed;
    let work = LoadWork::Put { keys: args.keys.unwrap_or(u64::MAX), signs_payload };
    let until = LoadEnd::Elapsed(Duration::from_secs(args.seconds));
    let period = args.cut_every.map(|seconds| Duration::from_secs(seconds.max(1)));
    let cuts = period.map(|period| CutLoop::every(period, args.admin));
    let measured = load::run(&target, args.object.load(work, until)).await?;
    let mut report = measured.report("put").note(match signs_payload {
        true => "the SHA-256 of every body is signed",
        false => "UNSIGNED-PAYLOAD",
    });
    if let Some(cuts) = cuts {
        let made = cuts.finish().await?;
        report = report.count("cuts", made.count);
        report = report.number("slowest_cut_seconds", made.slowest.as_secs_f64());
    }
    report.print(as_json)
}

async fn get(args: GetArgs, method: ReadMethod, as_json: bool) -> anyhow::Result<()> {
    let target = args.object.target.target()?;
    let until = LoadEnd::Elapsed(Duration::from_secs(args.seconds));
    let work = LoadWork::Read { keys: args.keys, method };
    let load = Load { rate: args.rate, ..args.object.load(work, until) };
    load::run(&target, load).await?.report(method.name()).print(as_json)
}

async fn fill(args: FillArgs, as_json: bool) -> anyhow::Result<()> {
    let target = args.object.target.target_with_bucket().await?;
    let work = LoadWork::Put { keys: args.keys, signs_payload: false };
    let load = args.object.load(work, LoadEnd::Requests(args.keys));
    load::run(&target, load).await?.report("fill").note("UNSIGNED-PAYLOAD").print(as_json)
}

async fn upload(args: UploadArgs, as_json: bool) -> anyhow::Result<()> {
    let target = args.target.target_with_bucket().await?;
    let parallel = args.parallel.max(1);
    let parts = args.part_bytes.map(|bytes| upload::PartSizes { bytes, parallel });
    let upload = upload::UploadRun::new(&args.target.bucket, &args.key, args.bytes, parts);
    upload.run(&target).await?.report("upload").print(as_json)
}

async fn mixed(args: MixedArgs, as_json: bool) -> anyhow::Result<()> {
    let target = args.target.target_with_bucket().await?;
    let bucket = args.target.bucket;
    let mixed = mixed::Mixed {
        upload: upload::UploadRun::new(&bucket, "large", args.bytes, None),
        bucket,
        small_bytes: args.small_bytes as usize,
        connections: args.connections,
        quiet: Duration::from_secs(args.quiet_seconds),
        uploads: args.uploads,
    };
    mixed.run(&target).await?.report().print(as_json)
}

async fn list(args: ListArgs, as_json: bool) -> anyhow::Result<()> {
    let target = args.target.target()?;
    let measured = list::run(&target, &args.target.bucket, &args.prefix, args.keys).await?;
    measured.report("list").print(as_json)
}

async fn suite(args: SuiteArgs, as_json: bool) -> anyhow::Result<()> {
    let target = args.target.target()?;
    let suite = suite::Suite {
        probe: args.probe.into(),
        admin: args.admin,
        bucket: args.target.bucket,
        time: Duration::from_secs(args.seconds),
        connections: args.connections,
        list_keys: args.list_keys,
        upload_bytes: args.upload_bytes,
        mixed_connections: args.mixed_connections,
        as_json,
    };
    suite.run(&target).await
}
