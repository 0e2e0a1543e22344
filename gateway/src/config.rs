//! Settings: a flag is stronger than an environment variable, which is stronger than the TOML file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use compactor::partition::{CutPolicy, ReadConsistency};
use ingest::entry::OWNER_BYTES_MAX;
use ingest::ids::NodeId;
use ingest::record::REGION_BYTES_MAX;
use s3::sigv4::DerivedKey;
use serde::Deserialize;

use crate::secret::Secret;

/// The data directory when none is given.
pub const DATA: &str = "./data";
/// A secret key has so many characters at least; of fewer than [`SECRET_CHARACTERS`] is warned.
const SECRET_CHARACTERS_MIN: usize = 12;
/// A secret key should have so many characters: AWS makes them of 40.
const SECRET_CHARACTERS: usize = 16;

/// Flags of `siltstone server`; each is an environment variable and a key of the file, too.
#[derive(clap::Args, Clone, Debug)]
pub struct ServerArgs {
    /// The folder that holds the data, ./data when absent. Made if it is not there.
    #[arg(long, env = "SILTSTONE_DATA")]
    data: Option<PathBuf>,
    /// Where S3 is served.
    #[arg(long, env = "SILTSTONE_LISTEN")]
    listen: Option<SocketAddr>,
    /// Where health, metrics and operations are served; loopback only.
    #[arg(long, env = "SILTSTONE_ADMIN")]
    admin: Option<SocketAddr>,
    /// Where PostgreSQL's protocol is served, `127.0.0.1:5432` say. Not at all when absent.
    #[arg(long, env = "SILTSTONE_POSTGRES")]
    postgres: Option<SocketAddr>,
    /// A TOML file with settings and users.
    #[arg(long, env = "SILTSTONE_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
    /// This node's id among the nodes of its cluster; with `--log kafka`.
    #[arg(long, env = "SILTSTONE_NODE_ID")]
    node_id: Option<u32>,
    /// What reads promise with `--log kafka`: `barrier` (linearizable), or `high-watermark` (cheaper; may
    /// be stale while a broker does not know that it was deposed).
    #[arg(long, env = "SILTSTONE_READ")]
    read: Option<String>,
    /// The region that clients sign for.
    #[arg(long, env = "SILTSTONE_REGION")]
    region: Option<String>,
    /// Allow plain HTTP beyond loopback. There is no TLS yet: put a TLS proxy in front.
    #[arg(long, env = "SILTSTONE_INSECURE_LISTEN")]
    insecure_listen: bool,
    /// `text` or `json`.
    #[arg(long, env = "SILTSTONE_LOG_FORMAT")]
    log_format: Option<String>,
    /// Connections to S3 at a time; at the bound idle and stalled ones make room. By default as many as half
    /// of the file handles allow, and 4096 at most.
    #[arg(long, env = "SILTSTONE_CONNECTIONS")]
    connections: Option<usize>,
    /// Connections to S3 from one address. By default three quarters of all, and all from loopback.
    #[arg(long, env = "SILTSTONE_CONNECTIONS_PER_ADDRESS")]
    connections_per_address: Option<usize>,
    /// A client that was waited for so many seconds while fewer than 64 KiB came or went is cut off.
    #[arg(long, env = "SILTSTONE_STALL_SECONDS")]
    stall_seconds: Option<u64>,
    /// Cut after so many bytes of records. More makes fewer, larger runs and longer restarts.
    #[arg(long, env = "SILTSTONE_CUT_BYTES")]
    cut_bytes: Option<u64>,
    /// Cut after so many entries. More takes more memory.
    #[arg(long, env = "SILTSTONE_CUT_ENTRIES")]
    cut_entries: Option<usize>,
    /// Cut when something has waited so many seconds.
    #[arg(long, env = "SILTSTONE_CUT_SECONDS")]
    cut_seconds: Option<u64>,
    /// Payload up to so many bytes travels inside its log record; more is written to bulk files first.
    #[arg(long, env = "SILTSTONE_INLINE_BYTES_MAX")]
    inline_bytes_max: Option<u64>,
    /// Length of a log file in bytes; a multiple of 4096.
    #[arg(long, env = "SILTSTONE_LOG_FILE_BYTES")]
    log_file_bytes: Option<u64>,
    /// A bulk file takes no more payload beyond so many bytes.
    #[arg(long, env = "SILTSTONE_BULK_FILE_BYTES")]
    bulk_file_bytes: Option<u64>,
    /// Writes are refused when fewer bytes than this are free; reads and folding go on.
    #[arg(long, env = "SILTSTONE_RESERVE_BYTES")]
    reserve_bytes: Option<u64>,
    /// Bytes that all SQL queries together may hold for sorting, grouping and joining.
    #[arg(long, env = "SILTSTONE_SQL_MEMORY_BYTES")]
    sql_memory_bytes: Option<usize>,
    /// Bytes on disk for what SQL queries cannot hold in memory; 0 for none.
    #[arg(long, env = "SILTSTONE_SQL_SPILL_BYTES")]
    sql_spill_bytes: Option<u64>,
    /// SQL queries under way at a time; more wait.
    #[arg(long, env = "SILTSTONE_SQL_QUERIES")]
    sql_queries: Option<usize>,
    /// A SQL query that takes so many seconds is told of in the log.
    #[arg(long, env = "SILTSTONE_SQL_SLOW_SECONDS")]
    sql_slow_seconds: Option<u64>,
    /// A SQL query is ended after so many seconds.
    #[arg(long, env = "SILTSTONE_SQL_SECONDS")]
    sql_seconds: Option<u64>,
    /// Threads for all SQL queries together.
    #[arg(long, env = "SILTSTONE_SQL_THREADS")]
    sql_threads: Option<usize>,
    /// The root user's access key; made and kept in the data directory when absent.
    #[arg(long, env = "SILTSTONE_ACCESS_KEY")]
    access_key: Option<String>,
    /// A file with the root user's access key.
    #[arg(long, env = "SILTSTONE_ACCESS_KEY_FILE")]
    access_key_file: Option<PathBuf>,
    /// The root user's secret key.
    #[arg(long, env = "SILTSTONE_SECRET_KEY", hide_env_values = true)]
    secret_key: Option<Secret>,
    /// A file with the root user's secret key.
    #[arg(long, env = "SILTSTONE_SECRET_KEY_FILE")]
    secret_key_file: Option<PathBuf>,
}

/// Where the log is; for `siltstone server` and `siltstone init`.
#[derive(clap::Args, Clone, Debug)]
pub struct LogArgs {
    /// `embedded` (on this machine) or `kafka`.
    #[arg(long, env = "SILTSTONE_LOG_KIND")]
    log: Option<String>,
    /// Kafka's brokers: host:port, separated by commas. Any that answer tell of the others.
    #[arg(long, env = "SILTSTONE_BOOTSTRAP")]
    bootstrap: Option<String>,
    /// The cluster's name: a-z, 0-9 and `-`. Its topic is `siltstone-NAME`.
    #[arg(long, env = "SILTSTONE_CLUSTER")]
    cluster: Option<String>,
    /// Accept a topic with one replica, for a trial: what that broker loses is lost.
    #[arg(long, env = "SILTSTONE_SINGLE_REPLICA")]
    single_replica: bool,
}

/// Flags of `siltstone init`.
#[derive(clap::Args, Clone, Debug)]
pub struct InitArgs {
    #[command(flatten)]
    log: LogArgs,
    /// How many partitions the store has, for ever. A bucket lives in one.
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// A TOML file, for how connections are secured.
    #[arg(long, env = "SILTSTONE_CONFIG")]
    config: Option<PathBuf>,
}

/// The section `[kafka]` of the file: how connections are secured.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(deny_unknown_fields, default)]
struct KafkaFile {
    bootstrap: Option<String>,
    cluster: Option<String>,
    single_replica: Option<bool>,
    tls: Option<bool>,
    ca_file: Option<PathBuf>,
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    checks_host: Option<bool>,
    sasl_mechanism: Option<String>,
    user: Option<String>,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
}

/// The TOML file. Unknown keys are refused.
#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, default)]
struct ConfigFile {
    data: Option<PathBuf>,
    listen: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    postgres: Option<SocketAddr>,
    log: Option<String>,
    node_id: Option<u32>,
    read: Option<String>,
    kafka: KafkaFile,
    region: Option<String>,
    insecure_listen: Option<bool>,
    log_format: Option<String>,
    connections: Option<usize>,
    connections_per_address: Option<usize>,
    stall_seconds: Option<u64>,
    cut_bytes: Option<u64>,
    cut_entries: Option<usize>,
    cut_seconds: Option<u64>,
    inline_bytes_max: Option<u64>,
    log_file_bytes: Option<u64>,
    bulk_file_bytes: Option<u64>,
    reserve_bytes: Option<u64>,
    sql_memory_bytes: Option<usize>,
    sql_spill_bytes: Option<u64>,
    sql_queries: Option<usize>,
    sql_slow_seconds: Option<u64>,
    sql_seconds: Option<u64>,
    sql_threads: Option<usize>,
    access_key: Option<String>,
    access_key_file: Option<PathBuf>,
    secret_key: Option<Secret>,
    secret_key_file: Option<PathBuf>,
    users: Vec<User>,
}

/// A user.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// A name for people.
    pub name: String,
    /// Canonical id: 64 hex digits.
    pub id: String,
    /// Shown as the owner of buckets and objects.
    pub display_name: String,
    /// Names the user in grants, which are refused for now.
    #[serde(default)]
    pub email: String,
    /// What requests are signed as.
    pub access_key: String,
    /// What they are signed with.
    pub secret_key: Secret,
    /// The signing key of today.
    #[serde(skip)]
    pub derived_key: DerivedKey,
}

/// Where the log is.
#[derive(Clone, Debug)]
pub enum LogKind {
    /// On this machine.
    Embedded,
    /// On brokers.
    Kafka(KafkaSettings),
}

/// How a log on Kafka is used.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// The brokers, and how to reach them.
    pub connection: kafka::KafkaSettings,
    /// What a topic must offer.
    pub safety: kafka::TopicSafety,
    /// Which node this is.
    pub node: NodeId,
    /// What reads promise.
    pub reads: ReadConsistency,
}

/// Settings in force.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The folder that holds the data.
    pub data: PathBuf,
    /// Where S3 is served.
    pub listen: SocketAddr,
    /// Where health, metrics and operations are served.
    pub admin: SocketAddr,
    /// Where PostgreSQL's protocol is served, if it is.
    pub postgres: Option<SocketAddr>,
    /// Where the log is.
    pub log: LogKind,
    /// The region that clients sign for.
    pub region: String,
    /// Logs as JSON.
    pub logs_json: bool,
    /// Connections to S3, if that is not left to the server.
    pub connections: Option<usize>,
    /// Connections to S3 from one address, likewise.
    pub connections_per_address: Option<usize>,
    /// How long a client may be waited for while it sends or takes 64 KiB.
    pub stall: Duration,
    /// Files that hold secrets.
    pub secret_files: Vec<PathBuf>,
    /// Users whose secrets are soon guessed.
    pub short_secrets: Vec<String>,
    /// When cuts are made.
    pub cut: CutPolicy,
    /// Payload up to this travels inside its record.
    pub inline_bytes_max: u64,
    /// Length of a log file.
    pub log_file_bytes: u64,
    /// Length at which a bulk file is full.
    pub bulk_file_bytes: u64,
    /// Bytes that writes leave free.
    pub reserve_bytes: u64,
    /// How SQL is run.
    pub sql: sql::SqlOptions,
    /// The root user's keys, if they are given.
    pub root: Option<(String, Secret)>,
    /// More users.
    pub users: Vec<User>,
}

fn key(value: Option<String>, file: Option<PathBuf>, what: &str) -> anyhow::Result<Option<String>> {
    match (value, file) {
        (Some(_), Some(_)) => bail!("{what} is given both as a value and as a file"),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(&path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Some(text.trim().to_owned()))
        }
        (value, None) => Ok(value),
    }
}

/// A secret, as a value or from a file.
fn secret(
    value: Option<Secret>,
    file: Option<PathBuf>,
    what: &str,
) -> anyhow::Result<Option<Secret>> {
    let value = value.map(|value| value.expose().to_owned());
    Ok(key(value, file, what)?.map(Secret::from))
}

/// Refuses a secret that is soon guessed: a login over PostgreSQL's protocol lets whoever listens try as many
/// as they like.
fn check_secret(user: &str, secret: &Secret) -> anyhow::Result<()> {
    if secret.expose().chars().count() < SECRET_CHARACTERS_MIN {
        bail!(
            "the secret key of user `{user}` is too short: {SECRET_CHARACTERS_MIN} characters at least"
        );
    }
    Ok(())
}

/// Checks the users of the file. Ids are compared as text everywhere, so they get one form.
fn checked(mut users: Vec<User>) -> anyhow::Result<Vec<User>> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for user in &mut users {
        let is_canonical = user.id.len() == 64 && user.id.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_canonical || user.access_key.is_empty() {
            bail!("user `{}` needs an id of 64 hex digits and both keys", user.name);
        }
        check_secret(&user.name, &user.secret_key)?;
        user.id.make_ascii_lowercase();
        if let Some(other) = names.insert(user.id.clone(), user.name.clone()) {
            bail!("users `{other}` and `{}` have the same id: they would be one user", user.name);
        }
    }
    Ok(users)
}

fn read_file(path: Option<&PathBuf>) -> anyhow::Result<ConfigFile> {
    let Some(path) = path else { return Ok(ConfigFile::default()) };
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("in {}", path.display()))
}

/// The brokers and how to reach them, from flags, environment and file.
fn connection(args: &LogArgs, file: &KafkaFile) -> anyhow::Result<kafka::KafkaSettings> {
    let bootstrap = args.bootstrap.clone().or_else(|| file.bootstrap.clone());
    let Some(bootstrap) = bootstrap else {
        bail!("a log on Kafka needs brokers: give --bootstrap HOST:PORT,HOST:PORT");
    };
    let Some(cluster) = args.cluster.clone().or_else(|| file.cluster.clone()) else {
        bail!("a log on Kafka needs the cluster's name: give --cluster NAME");
    };
    let client = match (&file.certificate_file, &file.key_file) {
        (Some(certificate_file), Some(key_file)) => Some(kafka::ClientCertificate {
            certificate_file: certificate_file.clone(),
            key_file: key_file.clone(),
        }),
        (None, None) => None,
        _ => bail!("kafka.certificate_file and kafka.key_file go together"),
    };
    let wants_tls = file.tls.unwrap_or(file.ca_file.is_some() || client.is_some());
    let tls = wants_tls.then(|| kafka::TlsSettings {
        ca_file: file.ca_file.clone(),
        client,
        checks_host: file.checks_host.unwrap_or(true),
    });
    let password = secret(file.password.clone(), file.password_file.clone(), "kafka.password")?;
    let sasl = match &file.sasl_mechanism {
        Some(mechanism) => Some(kafka::SaslSettings {
            mechanism: mechanism.parse()?,
            user: file.user.clone().unwrap_or_default(),
            password: password.map(|p| p.expose().to_owned()).unwrap_or_default(),
        }),
        None if file.user.is_some() || password.is_some() => {
            bail!("kafka.user and kafka.password need kafka.sasl_mechanism")
        }
        None => None,
    };
    let servers = bootstrap.split(',').map(|server| server.trim().to_owned()).collect();
    Ok(kafka::KafkaSettings::new(servers, cluster, kafka::ConnectionSecurity { tls, sasl })?)
}

fn safety(args: &LogArgs, file: &KafkaFile) -> kafka::TopicSafety {
    if args.single_replica || file.single_replica.unwrap_or(false) {
        return kafka::TopicSafety::TRIAL;
    }
    kafka::TopicSafety::default()
}

/// The promise of reads that a setting names.
fn read_promise(text: &str) -> anyhow::Result<ReadConsistency> {
    match text {
        "barrier" => Ok(ReadConsistency::Barrier),
        "high-watermark" => Ok(ReadConsistency::HighWatermark),
        other => bail!("read is `barrier` or `high-watermark`, not `{other}`"),
    }
}

/// Where the log is. What speaks of a cluster is refused without `--log kafka`: it would have no effect.
fn log_kind(args: &ServerArgs, file: &ConfigFile) -> anyhow::Result<LogKind> {
    let kind = args.log.log.as_deref().or(file.log.as_deref()).unwrap_or("embedded");
    let node = args.node_id.or(file.node_id);
    match kind {
        "embedded" => {
            let names_brokers = args.log.bootstrap.is_some() || file.kafka.bootstrap.is_some();
            if node.is_some() || names_brokers {
                bail!("a node id or brokers are given without --log kafka");
            }
            Ok(LogKind::Embedded)
        }
        "kafka" => {
            let Some(node) = node else {
                bail!("a node of a cluster needs an id of its own: give --node-id N");
            };
            let read = args.read.as_deref().or(file.read.as_deref()).unwrap_or("barrier");
            Ok(LogKind::Kafka(KafkaSettings {
                connection: connection(&args.log, &file.kafka)?,
                safety: safety(&args.log, &file.kafka),
                node: NodeId::new(node),
                reads: read_promise(read)?,
            }))
        }
        other => bail!("log is `embedded` or `kafka`, not `{other}`"),
    }
}

impl KafkaSettings {
    /// What `siltstone init` needs, and the number of partitions.
    pub fn for_init(args: &InitArgs) -> anyhow::Result<(Self, u32)> {
        let file = read_file(args.config.as_ref())?;
        let kind = args.log.log.as_deref().or(file.log.as_deref()).unwrap_or("kafka");
        if kind != "kafka" {
            bail!("only a log on Kafka is set up by `init`; an embedded one is made by the server");
        }
        if !(1..=1024).contains(&args.partitions) {
            bail!("a store has 1 to 1024 partitions");
        }
        let settings = Self {
            connection: connection(&args.log, &file.kafka)?,
            safety: safety(&args.log, &file.kafka),
            node: NodeId::ZERO,
            reads: ReadConsistency::Barrier,
        };
        Ok((settings, args.partitions))
    }
}

impl ServerSettings {
    /// Brings flags, environment and file together, and checks them.
    pub fn load(args: ServerArgs) -> anyhow::Result<Self> {
        let file = read_file(args.config.as_ref())?;
        let log = log_kind(&args, &file)?;
        let data = args.data.or(file.data).unwrap_or_else(|| DATA.into());
        let secret_files =
            [&args.config, &args.secret_key_file, &file.secret_key_file, &file.kafka.password_file];
        let secret_files = secret_files.into_iter().flatten().cloned().collect();
        let listen = args.listen.or(file.listen);
        let listen = listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9000)));
        let admin = args.admin.or(file.admin);
        let admin = admin.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9001)));
        let is_insecure = args.insecure_listen || file.insecure_listen.unwrap_or(false);
        let postgres = args.postgres.or(file.postgres);
        for address in [Some(listen), postgres].into_iter().flatten() {
            if !address.ip().is_loopback() && !is_insecure {
                bail!(
                    "{address} is not loopback and there is no TLS yet: put a TLS proxy in front, or give --insecure-listen"
                );
            }
        }
        if !admin.ip().is_loopback() {
            bail!(
                "the admin address {admin} must be loopback: it asks for no credentials, SQL apart"
            );
        }
        let logs_json = match args.log_format.or(file.log_format).as_deref() {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => bail!("log_format is `text` or `json`, not `{other}`"),
        };
        let access = key(
            args.access_key.or(file.access_key),
            args.access_key_file.or(file.access_key_file),
            "the access key",
        )?;
        let secret = secret(
            args.secret_key.or(file.secret_key),
            args.secret_key_file.or(file.secret_key_file),
            "the secret key",
        )?;
        let root = match (access, secret) {
            (Some(access), Some(secret)) if !access.is_empty() => {
                check_secret("root", &secret)?;
                Some((access, secret))
            }
            (None, None) => None,
            _ => bail!("access key and secret key go together, and neither may be empty"),
        };
        let users = checked(file.users)?;
        let named = users.iter().map(|user| (user.name.as_str(), &user.secret_key));
        let all = root.iter().map(|(_, secret)| ("root", secret)).chain(named);
        let short = all.filter(|(_, secret)| secret.expose().chars().count() < SECRET_CHARACTERS);
        let short_secrets = short.map(|(name, _)| name.to_owned()).collect();
        let stall = args.stall_seconds.or(file.stall_seconds).unwrap_or(60);
        if stall == 0 {
            bail!("stall_seconds is 1 at least");
        }
        let cut = CutPolicy {
            bytes: args.cut_bytes.or(file.cut_bytes).unwrap_or(64 << 20),
            entries: args.cut_entries.or(file.cut_entries).unwrap_or(200_000),
            age: Duration::from_secs(args.cut_seconds.or(file.cut_seconds).unwrap_or(60).max(1)),
            ..CutPolicy::default()
        };
        let inline = args.inline_bytes_max.or(file.inline_bytes_max).unwrap_or(256 << 10);
        let inline_limit = match &log {
            LogKind::Embedded => ingest::record::INLINE_BYTES_MAX,
            LogKind::Kafka(_) => ingest::record::DATA_BYTES_MAX,
        };
        if inline > inline_limit as u64 {
            bail!("inline_bytes_max is at most {inline_limit}");
        }
        let log_file_bytes = args.log_file_bytes.or(file.log_file_bytes).unwrap_or(64 << 20);
        if !log_file_bytes.is_multiple_of(4096) || log_file_bytes < 16 << 20 {
            bail!("log_file_bytes is a multiple of 4096 and at least 16 MiB");
        }
        let region = args.region.or(file.region).unwrap_or_else(|| "us-east-1".into());
        if region.len() > REGION_BYTES_MAX {
            bail!("region has at most {REGION_BYTES_MAX} bytes");
        }
        if let Some(user) = users.iter().find(|user| user.id.len() > OWNER_BYTES_MAX) {
            bail!("the id of user {} has at most {OWNER_BYTES_MAX} bytes", user.name);
        }
        let sql_defaults = sql::SqlOptions::default();
        let spill = args.sql_spill_bytes.or(file.sql_spill_bytes).unwrap_or(4 << 30);
        let sql = sql::SqlOptions {
            memory_bytes: args
                .sql_memory_bytes
                .or(file.sql_memory_bytes)
                .unwrap_or(sql_defaults.memory_bytes),
            spill: (spill > 0).then(|| (data.join("spill"), spill)),
            queries_max: args
                .sql_queries
                .or(file.sql_queries)
                .unwrap_or(sql_defaults.queries_max)
                .max(1),
            slow: args
                .sql_slow_seconds
                .or(file.sql_slow_seconds)
                .map_or(sql_defaults.slow, Duration::from_secs),
            threads: args.sql_threads.or(file.sql_threads).unwrap_or(sql_defaults.threads).max(1),
            deadline: args
                .sql_seconds
                .or(file.sql_seconds)
                .map_or(sql_defaults.deadline, Duration::from_secs),
            ..sql_defaults
        };
        Ok(Self {
            data,
            listen,
            admin,
            postgres,
            log,
            region,
            logs_json,
            connections: args.connections.or(file.connections),
            connections_per_address: args.connections_per_address.or(file.connections_per_address),
            stall: Duration::from_secs(stall),
            secret_files,
            short_secrets,
            cut,
            inline_bytes_max: inline,
            log_file_bytes,
            bulk_file_bytes: args.bulk_file_bytes.or(file.bulk_file_bytes).unwrap_or(1 << 30),
            reserve_bytes: args.reserve_bytes.or(file.reserve_bytes).unwrap_or(512 << 20),
            sql,
            root,
            users,
        })
    }

    /// Settings that tools use on a data directory that no server has open.
    pub fn for_tools(data: PathBuf) -> Self {
        Self {
            data,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            postgres: None,
            log: LogKind::Embedded,
            region: String::new(),
            logs_json: false,
            connections: None,
            connections_per_address: None,
            stall: Duration::from_secs(60),
            secret_files: Vec::new(),
            short_secrets: Vec::new(),
            cut: CutPolicy::default(),
            inline_bytes_max: 0,
            log_file_bytes: 64 << 20,
            bulk_file_bytes: 1 << 30,
            reserve_bytes: 0,
            sql: sql::SqlOptions::default(),
            root: None,
            users: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, id: &str, secret: &str) -> User {
        User {
            name: name.into(),
            id: id.repeat(64),
            display_name: name.into(),
            email: String::new(),
            access_key: format!("AKID{name}"),
            secret_key: Secret::from(secret.to_owned()),
            derived_key: DerivedKey::default(),
        }
    }

    const LONG: &str = "sixteen-letters!";

    #[test]
    fn users_are_one_form_and_differ() {
        let users = checked(vec![user("a", "A", LONG), user("b", "b", LONG)]).unwrap();
        assert_eq!(users[0].id, "a".repeat(64));
        for wrong in [
            vec![user("a", "A", LONG), user("b", "a", LONG)],
            vec![user("a", "a", &LONG[..SECRET_CHARACTERS_MIN - 1])],
            vec![user("a", "a", "")],
            vec![user("a", "g", LONG)],
        ] {
            assert!(checked(wrong).is_err());
        }
    }

    #[test]
    fn no_debug_output_shows_a_secret() {
        let text = format!(
            "access_key = \"AKIDroot\"\nsecret_key = \"{LONG}\"\n[kafka]\npassword = \"{LONG}\"\n\
             [[users]]\nname = \"a\"\nid = \"{}\"\ndisplay_name = \"A\"\naccess_key = \"AKIDa\"\nsecret_key = \"{LONG}\"\n",
            "a".repeat(64)
        );
        let file: ConfigFile = toml::from_str(&text).unwrap();
        let mut settings = ServerSettings::for_tools("data".into());
        settings.root = Some(("AKIDroot".into(), Secret::from(LONG.to_owned())));
        settings.users = checked(vec![user("a", "a", LONG)]).unwrap();
        for shown in [format!("{file:?}"), format!("{settings:?}")] {
            assert!(shown.contains("AKIDroot") && !shown.contains(LONG), "{shown}");
        }
    }
}
