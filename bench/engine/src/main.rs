//! The `siltstone-engine-bench` binary: the store without HTTP, in one process.
//!
//! `fill` writes objects through the log as a server would, into a data directory that a server can then open;
//! `list` takes listings from it. What HTTP and XML cost is the difference to `siltstone-bench list`.
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
        /// The data directory; made if it is not there.
        #[arg(long)]
        data: PathBuf,
        /// How many.
        #[arg(long)]
        objects: u64,
        /// Which.
        #[arg(long, value_enum, default_value = "curve")]
        scenario: fill::FillScenario,
        /// The number of the first, so that more can be written beside what is there.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// In so many cuts of the same size, not merged. 0: cuts as a server makes them, then one merge of all.
        #[arg(long, default_value_t = 0)]
        runs: u64,
        /// Leave the last part, as many objects as this, in the memtable.
        #[arg(long, default_value_t = 0)]
        memtable: u64,
    },
    /// Lists what `fill` wrote: one line of JSON for each figure.
    List {
        /// The data directory.
        #[arg(long)]
        data: PathBuf,
        /// Which of them.
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
