//! One node of a cluster: a copy of every partition, folded from a log on brokers.
//!
//! A start makes three checks and fails with a message if one of them fails. The topic must be safe for the only copy
//! of the data. The topic must be the log from which this directory was folded, and must still contain the record of
//! the last cut. No other process may use this node's id.
//!
//! The topic is checked before anything is written. The last record is checked for each partition before this
//! partition is opened. The id is decided by records in the log, after all partitions have been opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use compactor::catalog::Catalog;
use compactor::partition::{self, Partition, PartitionOptions, PayloadRoute, hash_of};
use ingest::bulk::BulkFiles;
use ingest::env::{Env, FilePath, timeout};
use ingest::ids::{NodeId, Offset, PartitionId};
use ingest::log::brokers::Brokers;
use ingest::log::replicated::{self, ReplicatedLog};
use ingest::log::{Log, ReadError};
use ingest::record::DATA_BYTES_MAX;
use kafka::{KafkaBrokers, TopicDescription};

use super::cold_folder;
use super::engine_options::{bulk_options, partition_options};
use super::identity::{DataIdentity, NodeIdentity, new_store};
use crate::config::{KafkaSettings, ServerSettings};

/// The longest time that a write waits for its outcome. After that it fails with an unknown outcome.
const WRITE_WAIT: Duration = Duration::from_secs(15);
/// The longest time that a read waits for its barrier.
const READ_WAIT: Duration = Duration::from_secs(10);
/// The longest wait for the record of the last cut at a start.
const LAST_RECORD_WAIT: Duration = Duration::from_secs(30);

/// The parts of a node that all its partitions share.
pub struct NodeContext {
    /// The node's id.
    pub id: NodeId,
    /// The cluster's name.
    pub cluster: String,
    /// The log of all partitions, on brokers.
    pub log: Arc<ReplicatedLog>,
}

/// Fails for a topic with unsafe settings, and with a message that lists all problems and their remedies.
fn check_topic(
    topic: &TopicDescription,
    kafka: &KafkaSettings,
    partitions: Option<u32>,
) -> anyhow::Result<()> {
    let problems = kafka::problems(topic, partitions, &kafka.safety);
    if problems.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = problems
        .iter()
        .map(|refusal| format!("  - {}: {}", refusal.problem, refusal.remedy))
        .collect();
    bail!("topic {} is not safe to keep a store in:\n{}", topic.name, lines.join("\n"));
}

/// `siltstone init`: creates the topic and writes the identity of the store to it; returns a message for the
/// operator. A repeated call changes nothing. Fails if the brokers do not answer, if the topic is not safe, and if
/// an existing topic has another number of partitions or belongs to another cluster.
pub async fn init(env: &Env, kafka: &KafkaSettings, partitions: u32) -> anyhow::Result<String> {
    kafka::check_connection(&kafka.connection).await?;
    let replicas = kafka.safety.replicas_min;
    let made = kafka::create(&kafka.connection, partitions, replicas).await?;
    let topic = kafka::describe(&kafka.connection).await?;
    check_topic(&topic, kafka, Some(partitions))?;
    let brokers: Arc<dyn Brokers> = Arc::new(KafkaBrokers::new(kafka.connection.clone()));
    let cluster = kafka.connection.cluster();
    ReplicatedLog::establish(env, &brokers, partitions, new_store()?, cluster).await?;
    Ok(match made {
        kafka::TopicCreation::Created => {
            format!("cluster {cluster}: made topic {} with {partitions} partitions", topic.name)
        }
        kafka::TopicCreation::AlreadyThere => {
            format!("cluster {cluster}: topic {} was there already", topic.name)
        }
    })
}

impl NodeContext {
    /// Joins the cluster: checks the topic, opens and folds every partition, and claims the node's id, in this order.
    /// Fails if a check fails, if a partition cannot be opened, and if another process uses the id. On return the
    /// directory's identity, with the confirmed id, is durable.
    pub async fn open(
        env: Env,
        settings: &ServerSettings,
        kafka: &KafkaSettings,
        found: Option<DataIdentity>,
    ) -> anyhow::Result<(Self, Vec<Partition>)> {
        let own = own_identity(&settings.service.data, kafka, found)?;
        kafka::check_connection(&kafka.connection).await?;
        let topic = kafka::describe(&kafka.connection).await?;
        check_topic(&topic, kafka, own.map(|own| own.partitions))?;
        let partitions = topic.partitions.len() as u32;
        let brokers: Arc<dyn Brokers> = Arc::new(KafkaBrokers::new(kafka.connection.clone()));
        let options = replicated::ReplicatedLogOptions {
            reserve_bytes: settings.storage.reserve_bytes.get(),
            ..replicated::ReplicatedLogOptions::new(FilePath::new("spool"))
        };
        let known = own.map(|own| own.store);
        let log = ReplicatedLog::open(&env, brokers, partitions, known, options).await?;
        let log = Arc::new(log);
        let own = match own {
            Some(own) => own,
            None => {
                let (store, node) = (log.store(), kafka.node);
                let own = NodeIdentity { store, node, partitions, holds_id: false };
                DataIdentity::Node(own).write(&settings.service.data)?;
                own
            }
        };
        cold_folder::open(settings, own.store, own.holds_id)?;
        let opened = (0..partitions).map(PartitionId::new).map(|id| {
            let (env, log) = (env.clone(), log.clone());
            async move { open_partition(env, settings, kafka, log, own, id).await }
        });
        let partitions = futures::future::try_join_all(opened).await?;
        if !partitions[0].claim_node().await {
            bail!(
                "node id {} is in use by another process of cluster {}: give each node an id of its own",
                own.node,
                kafka.connection.cluster()
            );
        }
        DataIdentity::Node(NodeIdentity { holds_id: true, ..own }).write(&settings.service.data)?;
        let cluster = kafka.connection.cluster().to_owned();
        Ok((Self { id: own.node, cluster, log }, partitions))
    }
}

/// The identity of a node's directory; `None` for a new directory. Fails for an embedded store and for another node.
fn own_identity(
    data: &Path,
    kafka: &KafkaSettings,
    found: Option<DataIdentity>,
) -> anyhow::Result<Option<NodeIdentity>> {
    match found {
        None => Ok(None),
        Some(DataIdentity::Embedded(_)) => bail!(
            "{} holds a store with a log of its own: start it without --log kafka, or give another data directory",
            data.display()
        ),
        Some(DataIdentity::Node(own)) if own.node != kafka.node => bail!(
            "{} is the copy of node {}, not of node {}: give its id, or another data directory",
            data.display(),
            own.node,
            kafka.node
        ),
        Some(DataIdentity::Node(own)) => Ok(Some(own)),
    }
}

async fn open_partition(
    env: Env,
    settings: &ServerSettings,
    kafka: &KafkaSettings,
    log: Arc<ReplicatedLog>,
    own: NodeIdentity,
    id: PartitionId,
) -> anyhow::Result<Partition> {
    let found = Partition::catalog(&env, own.store, id).await;
    let found = found.with_context(|| format!("the catalog of partition {id}"))?;
    let catalog = found.unwrap_or_else(|| Catalog::first(own.store, id));
    let log: Arc<dyn Log> = log;
    check_last(&env, &log, &catalog).await?;
    let bulk = BulkFiles::open(env.clone(), bulk_options(&settings.storage, &catalog)).await?;
    let options = PartitionOptions {
        write_wait: WRITE_WAIT,
        reads: kafka.reads,
        read_wait: READ_WAIT,
        // Other nodes may still need records that this node has flushed.
        trims: false,
        payload: PayloadRoute::Log { piece_bytes: DATA_BYTES_MAX },
        node: Some(partition::ThisNode { id: own.node, held_before: own.holds_id }),
        ..partition_options(settings)
    };
    Ok(Partition::open(env, log, bulk, catalog, options).await?)
}

/// Fails unless the log has the record of the catalog's last cut at its offset. With another log, or after a loss in
/// the log, another record or none is there.
async fn check_last(env: &Env, log: &Arc<dyn Log>, catalog: &Catalog) -> anyhow::Result<()> {
    let Some(last) = catalog.next.get().checked_sub(1).map(Offset::new) else { return Ok(()) };
    let partition = catalog.partition;
    let advice = "the topic was made anew or cut off. Nothing has been changed; if the log is to be trusted, remove this data directory and the node folds it again";
    let read = async {
        let mut reader = log.read(partition, last).await?;
        reader.next().await
    };
    let found = match timeout(env.clock.as_ref(), LAST_RECORD_WAIT, read).await {
        Some(Ok(found)) => found,
        Some(Err(ReadError::Trimmed { .. })) => bail!(
            "partition {partition} of the log begins above offset {last}, up to which this directory has folded: {advice}"
        ),
        Some(Err(error)) => bail!("{error}: {advice}"),
        None => bail!(
            "offset {last} of partition {partition}, the last that this directory has folded, does not come: {advice}"
        ),
    };
    match found.first() {
        Some(found) if found.offset == last && hash_of(&found.record) == catalog.last => Ok(()),
        _ => bail!(
            "offset {last} of partition {partition} is not the record that this directory folded there: {advice}"
        ),
    }
}
