//! The `siltstone-engine-bench` binary: measures the store without HTTP, in one process.
//!
//! `fill` writes objects through the log in the way a server does, into a data directory that a server can
//! open afterwards. `list` lists them. The difference to `siltstone-bench list` is the cost of HTTP and XML.
#![allow(missing_docs, reason = "a binary has no public interface")]

mod data;
mod fill;
mod keys;
mod list;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "siltstone-engine-bench", about = "Measures the store without HTTP", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes objects through the log, folds and merges them.
    Fill {
        /// Data directory; made if it does not exist.
        #[arg(long)]
        data: PathBuf,
        /// Number of objects.
        #[arg(long)]
        objects: u64,
        /// Scenario, which decides buckets, keys and tags.
        #[arg(long, value_enum, default_value = "curve")]
        scenario: fill::FillScenario,
        /// Number of the first object, so that more objects can be written beside those of an earlier fill.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Number of cuts of equal size, which are not merged. 0: cuts as a server makes them (one, if
        /// `--memtable` is given), then one merge of all.
        #[arg(long, default_value_t = 0)]
        runs: u64,
        /// Number of objects, the last ones, that stay in the memtable.
        #[arg(long, default_value_t = 0)]
        memtable: u64,
    },
    /// Lists the objects of `fill`: one line of JSON for each figure.
    List {
        /// Data directory.
        #[arg(long)]
        data: PathBuf,
        /// Scenario with which the directory was filled.
        #[arg(long, value_enum, default_value = "curve")]
        scenario: fill::FillScenario,
    },
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match Cli::parse().command {
        Command::Fill { data, objects, scenario, first, runs, memtable } => {
            let plan = fill::FillPlan { scenario, objects, first, runs, memtable };
            runtime.block_on(fill::run(&data, &plan))
        }
        Command::List { data, scenario } => runtime.block_on(list::run(&data, scenario)),
    }
}
