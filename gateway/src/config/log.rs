//! The section "Log": where writes become durable, and this node's place in a cluster.

use anyhow::bail;
use clap::ValueEnum;
use compactor::partition::ReadConsistency;
use ingest::ids::NodeId;
use ingest::record::{DATA_BYTES_MAX, INLINE_BYTES_MAX};

use super::kafka::KafkaSecuritySettings;
use super::sources::Sources;
use super::units::SettingArg as _;

/// The place of a log.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogPlace {
    /// In the data directory.
    Embedded,
    /// On the brokers of a Kafka cluster.
    Kafka,
}

/// The guarantee of reads in a cluster.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadGuarantee {
    /// Linearizable: a read returns every write that was acknowledged before it.
    Barrier,
    /// Cheaper: a read may be stale while a broker does not know that it is no longer the leader.
    HighWatermark,
}

/// The place of the log, for a server and for `siltstone init`.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
pub struct LogSettings {
    /// The place of the log, which makes writes durable.
    #[arg(
        id = "log",
        long = "log",
        env = "SILTSTONE_LOG_KIND",
        value_name = "PLACE",
        default_value = "embedded"
    )]
    place: LogPlace,
    /// The brokers of the Kafka cluster, separated by commas. One that answers is enough: it names the others.
    #[arg(
        id = "kafka.bootstrap",
        long = "bootstrap",
        env = "SILTSTONE_BOOTSTRAP",
        value_name = "HOST:PORT,..."
    )]
    bootstrap: Option<String>,
    /// The name of the Siltstone cluster: 1 to 64 characters of a-z, 0-9 and `-`. Its log is the topic
    /// `siltstone-NAME`.
    #[arg(id = "kafka.cluster", long = "cluster", env = "SILTSTONE_CLUSTER", value_name = "NAME")]
    cluster: Option<String>,
    /// Accept a topic with one replica, for a trial: the loss of that broker loses the store.
    #[arg(
        id = "kafka.single_replica",
        long = "single-replica",
        env = "SILTSTONE_SINGLE_REPLICA",
        default_value = "false",
        switch()
    )]
    single_replica: bool,
    #[command(flatten)]
    security: KafkaSecuritySettings,
}

/// The node of a cluster that a server is.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
pub struct NodeSettings {
    /// The id of this node, a number that no other node of its cluster has. Needed with `--log kafka`.
    #[arg(long, env = "SILTSTONE_NODE_ID", value_name = "NUMBER")]
    node_id: Option<u32>,
    /// The guarantee of reads with `--log kafka`.
    #[arg(long, env = "SILTSTONE_READ", value_name = "GUARANTEE", default_value = "barrier")]
    read: ReadGuarantee,
}

/// The log in use.
#[derive(Clone, Debug)]
pub enum LogKind {
    /// A log in the data directory.
    Embedded,
    /// A log on the brokers of a Kafka cluster.
    Kafka(KafkaSettings),
}

/// The use of a log on Kafka.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// The brokers, and how to reach them.
    pub connection: kafka::KafkaSettings,
    /// The properties that the topic must have.
    pub safety: kafka::TopicSafety,
    /// The id of this node.
    pub node: NodeId,
    /// The guarantee of reads.
    pub reads: ReadConsistency,
}

impl LogKind {
    /// Returns the log that the settings select. Fails when a setting of a cluster is given without
    /// `--log kafka`, where it would have no effect, or when one that a cluster needs is missing.
    pub fn of_server(
        log: &LogSettings,
        node: &NodeSettings,
        sources: &Sources,
    ) -> anyhow::Result<Self> {
        match log.place {
            LogPlace::Embedded => {
                let of_cluster = ["node_id", "kafka.bootstrap"];
                if let Some(setting) = of_cluster.into_iter().find(|id| sources.is_given(id)) {
                    bail!("{} is given without --log kafka", sources.name(setting));
                }
                Ok(Self::Embedded)
            }
            LogPlace::Kafka => {
                let Some(id) = node.node_id else {
                    bail!("a node of a cluster needs an id of its own: give --node-id N");
                };
                Ok(Self::Kafka(KafkaSettings {
                    connection: log.connection()?,
                    safety: log.safety(),
                    node: NodeId::new(id),
                    reads: match node.read {
                        ReadGuarantee::Barrier => ReadConsistency::Barrier,
                        ReadGuarantee::HighWatermark => ReadConsistency::HighWatermark,
                    },
                }))
            }
        }
    }

    /// Returns the largest payload that a record of this log can hold, in bytes.
    pub fn inline_limit(&self) -> u64 {
        match self {
            Self::Embedded => INLINE_BYTES_MAX as u64,
            Self::Kafka(_) => DATA_BYTES_MAX as u64,
        }
    }
}

impl LogSettings {
    /// Returns the settings with which `siltstone init` reaches the brokers. Fails when `log` is
    /// `embedded`: the server creates an embedded log itself.
    pub fn for_init(&self) -> anyhow::Result<KafkaSettings> {
        if self.place == LogPlace::Embedded {
            bail!(
                "`siltstone init` sets up a log on Kafka only: a server creates an embedded log itself"
            );
        }
        Ok(KafkaSettings {
            connection: self.connection()?,
            safety: self.safety(),
            node: NodeId::ZERO,
            reads: ReadConsistency::Barrier,
        })
    }

    /// The file with the password of the connection to Kafka, if one is set.
    pub fn password_file(&self) -> Option<&std::path::PathBuf> {
        self.security.password_file.as_ref()
    }

    fn connection(&self) -> anyhow::Result<kafka::KafkaSettings> {
        let Some(bootstrap) = &self.bootstrap else {
            bail!("a log on Kafka needs brokers: give --bootstrap HOST:PORT,HOST:PORT");
        };
        let Some(cluster) = self.cluster.clone() else {
            bail!("a log on Kafka needs the name of the cluster: give --cluster NAME");
        };
        let servers = bootstrap.split(',').map(|server| server.trim().to_owned()).collect();
        Ok(kafka::KafkaSettings::new(servers, cluster, self.security.connection()?)?)
    }

    fn safety(&self) -> kafka::TopicSafety {
        if self.single_replica {
            return kafka::TopicSafety::TRIAL;
        }
        kafka::TopicSafety::default()
    }
}
