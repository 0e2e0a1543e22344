//! The command line: its arguments, and one module for each command that is not the server itself.
//!
//! Commands either ask a running server over its addresses ([`client`]) or read a data directory that no server has
//! open ([`fsck`], [`accept_loss`]).

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
    /// Set a cluster up: make its topic on Kafka and write whose it is.
    Init(Box<InitArgs>),
    /// See how a cluster is.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// See how much a running server holds: live, dead and free bytes, files, uploads. Exits 1 if it is not
    /// ready.
    Status {
        /// The server's admin address.
        #[arg(long, default_value = "http://127.0.0.1:9001")]
        admin: String,
        /// As JSON, in bytes.
        #[arg(long)]
        json: bool,
    },
    /// Fold everything that is not folded yet, on a running server.
    Cut {
        /// The server's admin address.
        #[arg(long, default_value = "http://127.0.0.1:9001")]
        admin: String,
    },
    /// Merge all that is folded into one run, on a running server: for a store that is read much more than
    /// it is written.
    Merge {
        /// The server's admin address.
        #[arg(long, default_value = "http://127.0.0.1:9001")]
        admin: String,
    },
    /// See the background jobs of a running server.
    #[command(subcommand)]
    Compaction(CompactionCommand),
    /// See whether a running server believes its wall clock. It does not when the clock has jumped ahead: what is
    /// written gets the time without the jump.
    Clock {
        /// Say that the clock is right: it is believed from now on, and what is written gets its time.
        #[arg(long)]
        believe: bool,
        /// The server's admin address.
        #[arg(long, default_value = "http://127.0.0.1:9001")]
        admin: String,
    },
    /// Ask a running server in SQL.
    Sql {
        /// The query. Without one, statements are read from standard input; a terminal gets a shell.
        query: Option<String>,
        /// The server's address.
        #[command(flatten)]
        address: client::SqlAddress,
        /// The keys that the query is made with.
        #[command(flatten)]
        keys: KeyArgs,
        /// `table`, `json`, `jsonl`, `csv`, `arrow` or `parquet`.
        #[arg(long, default_value = "table")]
        format: String,
    },
    /// Write an inventory of a bucket, in the columns of S3 Inventory, as of one moment.
    Export {
        /// The bucket, the columns and the files.
        #[command(flatten)]
        wishes: export::ExportOptions,
        /// The server's address.
        #[command(flatten)]
        address: client::SqlAddress,
        /// The keys that the query is made with.
        #[command(flatten)]
        keys: KeyArgs,
    },
    /// Check every byte of a data directory that no server has open. Exits 1 if something is wrong.
    Fsck {
        /// The data directory.
        dir: PathBuf,
        /// Make a store that cannot be opened one that can, of everything that can be read. Lists what is
        /// lost; what was damaged is set aside, not removed.
        #[arg(long)]
        accept_loss: bool,
    },
    /// Tell the version.
    Version,
}

/// Commands that concern all nodes of a cluster.
#[derive(Subcommand)]
pub enum ClusterCommand {
    /// Ask every node, and compare. Exits 1 if a node does not answer or something differs.
    Status {
        /// The nodes' admin addresses, separated by commas.
        #[arg(long, default_value = "http://127.0.0.1:9001")]
        admin: String,
    },
}

/// Commands about the background jobs of one server.
#[derive(Subcommand)]
pub enum CompactionCommand {
    /// List cuts, flushes, compactions and garbage collections: those under way with their reasons, and how the
    /// last ones ended.
    Status {
        /// The server's admin address.
        #[arg(long, default_value = "http://127.0.0.1:9001")]
        admin: String,
        /// As JSON, in bytes and seconds.
        #[arg(long)]
        json: bool,
    },
}

/// The keys of the user who asks. Rows of other users' buckets are not in the result.
#[derive(clap::Args)]
pub struct KeyArgs {
    /// The access key.
    #[arg(long, env = "AWS_ACCESS_KEY_ID")]
    access_key: Option<String>,
    /// The secret key.
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    secret_key: Option<Secret>,
    /// Without keys: the server's data directory, which keeps the ones of its root user; ./data if it has.
    #[arg(long, env = "SILTSTONE_DATA")]
    data: Option<PathBuf>,
}

impl KeyArgs {
    /// The key pair: as given, or the root user's from the server's data directory. Fails when neither is there.
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
                    "{} keeps no keys: give --access-key and --secret-key",
                    data.display()
                )
            }),
            _ => anyhow::bail!(
                "who asks? Give --access-key and --secret-key (or AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY), or the server's --data directory"
            ),
        }
    }
}

/// Parses the process's arguments, with the sources of the server's settings. Fails for a wrong argument or variable;
/// `--help` and `--version` end the process here.
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
