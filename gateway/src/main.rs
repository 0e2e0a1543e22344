//! The `siltstone` binary: an S3-compatible object store.
#![allow(missing_docs, reason = "a binary has no public interface")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admin;
mod ask;
mod cluster;
mod config;
mod front;
mod fsck;
mod measures;
mod server;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "siltstone", about = "An S3-compatible, log-structured object store", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve S3 from a data directory.
    Server(Box<config::ServerArgs>),
    /// Set a cluster up: make its topic on Kafka and write whose it is.
    Init(Box<config::InitArgs>),
    /// See how a cluster is.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Fold everything that is not folded yet, on a running server.
    Cut {
        /// The server's admin address.
        #[arg(long, default_value = "http://127.0.0.1:9001")]
        admin: String,
    },
    /// Ask a running server about objects, versions and buckets.
    Sql {
        /// The query.
        query: String,
        /// The server's admin address.
        #[arg(long, default_value = "http://127.0.0.1:9001")]
        admin: String,
        /// `table`, `json` or `csv`.
        #[arg(long, default_value = "table")]
        format: String,
    },
    /// Check every byte of a data directory that no server has open. Exits 1 if something is wrong.
    Fsck {
        /// The data directory.
        dir: PathBuf,
    },
    /// Tell the version.
    Version,
}

#[derive(Subcommand)]
enum ClusterCommand {
    /// Ask every node, and compare. Exits 1 if a node does not answer or something differs.
    Status {
        /// The nodes' admin addresses, separated by commas.
        #[arg(long, default_value = "http://127.0.0.1:9001")]
        admin: String,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Server(args) => server::run(*args),
        Command::Init(args) => server::init(&args),
        Command::Cluster(ClusterCommand::Status { admin }) => cluster::status(&admin),
        Command::Cut { admin } => ask::post(&admin, "/cut", String::new()),
        Command::Sql { query, admin, format } => {
            ask::post(&admin, &format!("/sql?format={format}"), query)
        }
        Command::Fsck { dir } => fsck::run(&dir),
        Command::Version => {
            println!("siltstone {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("siltstone: {error:#}");
        ExitCode::FAILURE
    })
}
