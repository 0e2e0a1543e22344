//! Settings: one struct for each section, where one field describes one setting completely.
//!
//! ```text
//!   flag > variable > file > default ──► texts ──► parsers and bounds ──► sections ──► ServerSettings
//!                 (sources, file)                    (units)              (a file each)  (what needs several)
//! ```
//!
//! To add a setting, add a field to its section. The attribute of the field has the flag, the variable, the default
//! and the bounds; its doc comment is the help of `siltstone server --help` and of `docs/operations/settings.md`,
//! which a test compares. The id of the argument is the key in the settings file.

mod accounts;
mod compaction;
mod connections;
mod destinations;
mod file;
mod kafka;
mod log;
#[cfg(test)]
mod page;
mod secrets;
mod service;
mod sources;
mod sql;
mod storage;
#[cfg(test)]
mod tests;
mod units;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args as _, Command, Parser};

pub use accounts::{Accounts, User};
pub use compaction::CompactionSettings;
pub use connections::ConnectionSettings;
pub use destinations::{DestinationKind, EventDestination};
pub use log::{KafkaSettings, LogKind, LogSettings, NodeSettings};
pub use service::{DATA, LogFormat, ServiceSettings, SignatureV2};
pub use sources::Sources;
pub use sql::SqlSettings;
pub use storage::StorageSettings;

use accounts::RootSettings;
use units::SettingArg as _;

/// Flags of `siltstone server`: all settings.
#[derive(clap::Args, Clone, Debug)]
pub struct ServerArgs {
    /// A TOML file with settings and users.
    #[arg(long, env = "SILTSTONE_CONFIG", value_name = "FILE", help_heading = "Server")]
    config: Option<PathBuf>,
    #[command(flatten)]
    service: ServiceSettings,
    #[command(flatten)]
    root: RootSettings,
    #[command(flatten)]
    connections: ConnectionSettings,
    #[command(flatten)]
    storage: StorageSettings,
    #[command(flatten)]
    compaction: CompactionSettings,
    #[command(flatten)]
    sql: SqlSettings,
    #[command(flatten)]
    log: LogSettings,
    #[command(flatten)]
    node: NodeSettings,
}

/// Flags of `siltstone init`: the settings of the log, and the number of partitions.
#[derive(clap::Args, Clone, Debug)]
#[command(mut_arg("log", |arg| arg.default_value("kafka")))]
pub struct InitArgs {
    /// A TOML file with settings.
    #[arg(long, env = "SILTSTONE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The number of partitions of the store. Never changes afterwards. A bucket is in one partition.
    #[arg(long, value_name = "NUMBER", default_value_t = 4, within(1u32..=1024))]
    partitions: u32,
    #[command(flatten)]
    log: LogSettings,
}

/// The settings of a server, checked.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The data directory, the addresses, and how the process presents itself.
    pub service: ServiceSettings,
    /// The number of connections to S3, and the patience with slow clients.
    pub connections: ConnectionSettings,
    /// When the memtable is flushed, and the sizes of files.
    pub storage: StorageSettings,
    /// When runs are merged, and how many merges run at a time.
    pub compaction: CompactionSettings,
    /// The resources of SQL queries.
    pub sql: SqlSettings,
    /// The log.
    pub log: LogKind,
    /// The destinations of events.
    pub destinations: Vec<EventDestination>,
    /// The users.
    pub accounts: Accounts,
    /// Files that hold secrets.
    pub secret_files: Vec<PathBuf>,
}

/// Parses a command line whose subcommands may take settings; see [`sources::parse`] for its errors.
pub fn parse<C: Parser>(
    arguments: impl IntoIterator<Item = OsString>,
) -> anyhow::Result<(C, Sources)> {
    sources::parse(arguments, &schema())
}

/// The command that describes all settings of a server.
fn schema() -> Command {
    ServerArgs::augment_args(Command::new("server"))
}

impl ServerSettings {
    /// Checks what concerns several settings and reads the files of secrets. Fails before anything is changed.
    pub fn new(args: ServerArgs, sources: &Sources) -> anyhow::Result<Self> {
        let ServerArgs { config, service, root, connections, storage, compaction, sql, node, log } =
            args;
        service.check(sources)?;
        let kind = LogKind::of_server(&log, &node, sources)?;
        storage.check(&kind, sources)?;
        let destinations = destinations::destinations(&sources.destinations)?;
        let accounts = Accounts::new(&root, sources.users.clone())?;
        let secret_files = [config.as_ref(), root.secret_key_file.as_ref(), log.password_file()];
        let secret_files = secret_files.into_iter().flatten().cloned().collect();
        Ok(Self {
            service,
            connections,
            storage,
            compaction,
            sql,
            log: kind,
            destinations,
            accounts,
            secret_files,
        })
    }
}

impl InitArgs {
    /// Returns the log to set up and its number of partitions. Fails when they are no settings of a log on Kafka.
    pub fn settings(&self) -> anyhow::Result<(KafkaSettings, u32)> {
        Ok((self.log.for_init()?, self.partitions))
    }
}
