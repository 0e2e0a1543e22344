//! The `siltstone` binary: an S3-compatible object store.
#![allow(missing_docs, reason = "a binary has no public interface")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accept_loss;
mod admin;
mod client;
mod cluster;
mod config;
mod export;
mod front;
mod fsck;
mod log_limit;
mod metrics;
mod pager;
mod refusal;
mod secret;
mod server;
mod shell;
mod sql_service;
mod status;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use secret::Secret;

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
        #[command(flatten)]
        address: client::SqlAddress,
        #[command(flatten)]
        keys: KeyArgs,
        /// `table`, `json`, `jsonl`, `csv`, `arrow` or `parquet`.
        #[arg(long, default_value = "table")]
        format: String,
    },
    /// Write an inventory of a bucket, in the columns of S3 Inventory, as of one moment.
    Export {
        #[command(flatten)]
        wishes: export::ExportOptions,
        #[command(flatten)]
        address: client::SqlAddress,
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

/// Whose keys to show; rows of others' buckets do not exist for them.
#[derive(clap::Args)]
struct KeyArgs {
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
    fn find(self) -> anyhow::Result<client::KeyPair> {
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

fn sql(
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

/// Tells that a secret key stands on the server's command line, for everybody to see.
fn shows_secret(matches: &clap::ArgMatches) -> bool {
    let server = matches.subcommand_matches("server");
    server.and_then(|server| server.value_source("secret_key")) == Some(ValueSource::CommandLine)
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
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let done = match cli.command {
        Command::Server(args) => server::run(*args, shows_secret(&matches)),
        Command::Init(args) => server::init(&args),
        Command::Cluster(ClusterCommand::Status { admin }) => cluster::status(&admin),
        Command::Status { admin, json } => status::run(&admin, json),
        Command::Cut { admin } => client::post(&admin, "/cut"),
        Command::Merge { admin } => client::post(&admin, "/merge"),
        Command::Clock { believe: true, admin } => client::post(&admin, "/clock/believe"),
        Command::Clock { believe: false, admin } => {
            client::get(&admin, "/health/clock").map(|text| {
                print!("{text}");
                ExitCode::SUCCESS
            })
        }
        Command::Sql { query, address, keys, format } => sql(query, address, keys, format),
        Command::Export { wishes, address, keys } => keys
            .find()
            .and_then(|keys| export::run(&client::SqlClient::new(address, keys)?, &wishes)),
        Command::Fsck { dir, accept_loss: false } => fsck::run(&dir),
        Command::Fsck { dir, accept_loss: true } => accept_loss::run(&dir),
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
