//! The command line: its arguments, and one module for each command that is not the server itself.
//!
//! A command either sends requests to a running server ([`client`]) or reads a data directory that no server has open
//! ([`fsck`], [`accept_loss`]).

pub mod accept_loss;
pub mod client;
pub mod cluster;
pub mod compaction;
pub mod export;
pub mod fsck;
mod pager;
pub mod shell;
pub mod status;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, InitArgs, ServerArgs, Sources};
use crate::secret::Secret;
use crate::users;

/// The arguments of `siltstone`.
#[derive(Parser)]
#[command(name = "siltstone", about = "An S3-compatible, log-structured object store", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// A command with its arguments. The texts on variants and fields are the help that `--help` prints.
#[derive(Subcommand)]
pub enum Command {
    /// Serve S3 from a data directory.
    Server(Box<ServerArgs>),
    /// Set up a cluster: create its topic on Kafka and write the identity of the store to it.
    Init(Box<InitArgs>),
    /// Show the state of a cluster.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Show the space that a running server uses: live, dead and free bytes, files, uploads. Exits 1 if the server is
    /// not ready.
    Status {
        /// The server's admin address.
        #[arg(long, default_value = "http://127.0.0.1:9001")]
        admin: String,
        /// Print JSON, with sizes in bytes.
        #[arg(long)]
        json: bool,
    },
    /// Make a running server write everything that it has in memory to sealed files, and wait for the end.
    Cut {
        /// The server's admin address.
        #[arg(long, default_value = "http://127.0.0.1:9001")]
        admin: String,
    },
    /// Make a running server merge all runs into one, and wait for the end. Useful for a store that is read much more
    /// than it is written.
    Merge {
        /// The server's admin address.
        #[arg(long, default_value = "http://127.0.0.1:9001")]
        admin: String,
    },
    /// Show the background jobs of a running server.
    #[command(subcommand)]
    Compaction(CompactionCommand),
    /// Show if a running server trusts its wall clock. After a jump of the clock into the future the server does not
    /// trust it, and new objects get times without the jump.
    Clock {
        /// Confirm that the clock is right. The server trusts it from now on, and new objects get its time.
        #[arg(long)]
        believe: bool,
        /// The server's admin address.
        #[arg(long, default_value = "http://127.0.0.1:9001")]
        admin: String,
    },
    /// Run SQL queries on a running server.
    Sql {
        /// The query. Without it, statements are read from standard input; in a terminal by a shell with editing.
        query: Option<String>,
        /// The server's address.
        #[command(flatten)]
        address: client::SqlAddress,
        /// The keys of the user who runs the query.
        #[command(flatten)]
        keys: KeyArgs,
        /// The output format: `table`, `json`, `jsonl`, `csv`, `arrow` or `parquet`.
        #[arg(long, default_value = "table")]
        format: String,
    },
    /// Write an inventory of a bucket at one moment, with the columns of S3 Inventory.
    Export {
        /// The bucket, the columns and the files.
        #[command(flatten)]
        wishes: export::ExportOptions,
        /// The server's address.
        #[command(flatten)]
        address: client::SqlAddress,
        /// The keys of the user who makes the inventory.
        #[command(flatten)]
        keys: KeyArgs,
    },
    /// Check every byte of a data directory that no server has open. Exits 1 if there is a fault.
    Fsck {
        /// The data directory.
        dir: PathBuf,
        /// Repair the log of a store that cannot be opened, so that it can be opened without the records that cannot be
        /// read. Prints the lost records. Damaged files are moved aside and never removed.
        #[arg(long)]
        accept_loss: bool,
    },
    /// Print the version.
    Version,
}

/// Commands that concern all nodes of a cluster.
#[derive(Subcommand)]
pub enum ClusterCommand {
    /// Compare the states of all nodes. Exits 1 if a node does not answer, is out of service, or differs from another.
    Status {
        /// The nodes' admin addresses, separated by commas.
        #[arg(long, default_value = "http://127.0.0.1:9001")]
        admin: String,
    },
}

/// Commands about the background jobs of one server.
#[derive(Subcommand)]
pub enum CompactionCommand {
    /// List cuts, flushes, compactions and garbage collections: running ones with their reasons, and the results of the
    /// last ones.
    Status {
        /// The server's admin address.
        #[arg(long, default_value = "http://127.0.0.1:9001")]
        admin: String,
        /// Print JSON, with bytes and seconds.
        #[arg(long)]
        json: bool,
    },
}

/// The keys of a user. Results contain only rows of buckets that this user may query.
#[derive(clap::Args)]
pub struct KeyArgs {
    /// The access key.
    #[arg(long, env = "AWS_ACCESS_KEY_ID")]
    access_key: Option<String>,
    /// The secret key.
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    secret_key: Option<Secret>,
    /// The server's data directory, from which the root user's keys are read if no keys are given. Default: ./data, if
    /// it contains keys.
    #[arg(long, env = "SILTSTONE_DATA")]
    data: Option<PathBuf>,
}

impl KeyArgs {
    /// Returns the key pair as given, or the root user's from a data directory. Fails if only one key of the pair is
    /// given, and if there are neither given keys nor keys in the directory.
    pub fn find(self) -> anyhow::Result<client::KeyPair> {
        let given = (self.access_key, self.secret_key);
        if given == (None, None)
            && self.data.is_none()
            && let Some(keys) = users::kept_keys(config::DATA.as_ref())?
        {
            return Ok(keys);
        }
        match (given.0, given.1, self.data) {
            (Some(access_key), Some(secret_key), _) => Ok((access_key, secret_key)),
            (None, None, Some(data)) => users::kept_keys(&data)?.ok_or_else(|| {
                anyhow::anyhow!(
                    "{} contains no keys: give --access-key and --secret-key",
                    data.display()
                )
            }),
            _ => anyhow::bail!(
                "no credentials: give --access-key and --secret-key (or AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY), or the server's --data directory"
            ),
        }
    }
}

/// Parses the process's arguments, with the sources of the server's settings. Fails for an invalid argument or
/// variable; `--help` and `--version` end the process here.
pub fn parse() -> anyhow::Result<(Command, Sources)> {
    parse_from(std::env::args_os())
}

/// Parses arguments, the program's name first; see [`parse`].
pub fn parse_from(
    arguments: impl IntoIterator<Item = OsString>,
) -> anyhow::Result<(Command, Sources)> {
    let (cli, sources) = config::parse::<Cli>(arguments)?;
    Ok((cli.command, sources))
}

/// `siltstone sql`: runs one query, or without one the shell. Fails when no keys are found, when the server cannot be
/// reached, and when it refuses the query.
pub fn sql(
    query: Option<String>,
    address: client::SqlAddress,
    keys: KeyArgs,
    format: String,
) -> anyhow::Result<ExitCode> {
    let sql = client::SqlClient::new(address, keys.find()?)?;
    match query {
        Some(query) => sql.run(&query, &format).map(|()| ExitCode::SUCCESS),
        None => shell::run(sql, format),
    }
}
