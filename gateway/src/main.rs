//! The `siltstone` binary: an S3-compatible object store.

use std::process::ExitCode;

use gateway::cli::{self, ClusterCommand, Command, CompactionCommand};
use gateway::server;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("siltstone: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> anyhow::Result<ExitCode> {
    let (command, sources) = cli::parse()?;
    match command {
        Command::Server(args) => server::run(*args, &sources),
        Command::Init(args) => server::init(&args),
        Command::Cluster(ClusterCommand::Status { admin }) => cli::cluster::status(&admin),
        Command::Compaction(CompactionCommand::Status { admin, json }) => {
            cli::compaction::status(&admin, json)
        }
        Command::Status { admin, json } => cli::status::run(&admin, json),
        Command::Cut { admin } => cli::client::post(&admin, "/cut"),
        Command::Merge { admin } => cli::client::post(&admin, "/merge"),
        Command::Clock { believe: true, admin } => cli::client::post(&admin, "/clock/believe"),
        Command::Clock { believe: false, admin } => {
            print!("{}", cli::client::get(&admin, "/health/clock")?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Sql { query, address, keys, format } => cli::sql(query, address, keys, format),
        Command::Export { wishes, address, keys } => {
            cli::export::run(&cli::client::SqlClient::new(address, keys.find()?)?, &wishes)
        }
        Command::Fsck { dir, accept_loss: false } => cli::fsck::run(&dir),
        Command::Fsck { dir, accept_loss: true } => cli::accept_loss::run(&dir),
        Command::Version => {
            println!("siltstone {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    }
}
