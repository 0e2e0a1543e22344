//! The topic that is a cluster's log: creating it with safe settings, and describing its state.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use ingest::env::Fut;
use ingest::log::brokers::BrokerError;

use crate::admin::{ANSWER, metadata_client, on_thread, topic_admin};
use crate::context::broker_error;
use crate::settings::KafkaSettings;

/// Longest time that brokers may take to create a topic.
const MAKING: Duration = Duration::from_secs(30);
/// Interval at which a new topic is checked for leaders.
const LOOK: Duration = Duration::from_millis(100);

/// Settings of a new topic that a log's safety depends on, by Kafka's names.
///
/// `min.insync.replicas` is missing, since it depends on the number of replicas.
const WANTED: [(&str, &str); 6] = [
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    ("unclean.leader.election.enable", "false"),
    ("message.timestamp.type", "LogAppendTime"),
    ("compression.type", "producer"),
];

/// A topic, as one broker believes it to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicDescription {
    /// The topic's name.
    pub name: String,
    /// Number of brokers in the cluster.
    pub brokers: usize,
    /// The partitions, in order. Empty when the topic does not exist.
    pub partitions: Vec<PartitionDescription>,
    /// The effective settings, by Kafka's names, set on the topic, on the brokers, or by default.
    pub settings: BTreeMap<String, String>,
}

/// One partition of a topic. Brokers are named by their numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionDescription {
    /// The broker that accepts messages; none while there is no leader.
    pub leader: Option<i32>,
    /// The brokers that keep the messages.
    pub replicas: Vec<i32>,
    /// Those of the replicas that have every acknowledged message.
    pub in_sync: Vec<i32>,
}

/// The result of a request to create a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicCreation {
    /// The topic has been created.
    Created,
    /// The topic existed before, perhaps with other settings than requested.
    AlreadyThere,
}

/// Creates the topic, and waits until every partition has a leader. The topic keeps all messages until
/// they are deleted, and acknowledges a message only when two brokers have it, or one if there is to be
/// one replica only.
///
/// An existing topic is left unchanged, even with unsafe settings. Fails when there are fewer brokers than
/// replicas, or when brokers do not reply in time; the topic may then exist. Dropping the future does
/// not stop the request.
pub fn create(
    settings: &KafkaSettings,
    partitions: u32,
    replicas: u32,
) -> Fut<'static, Result<TopicCreation, BrokerError>> {
    let settings = settings.clone();
    on_thread("kafka create", move || {
        let name = settings.topic();
        // With one replica only, more than one in sync would refuse every message.
        let in_sync = replicas.min(2).to_string();
        let replication = TopicReplication::Fixed(replicas.cast_signed());
        let mut topic = NewTopic::new(&name, partitions.cast_signed(), replication)
            .set("min.insync.replicas", &in_sync);
        topic.config.extend(WANTED);
        let options =
            AdminOptions::new().request_timeout(Some(MAKING)).operation_timeout(Some(MAKING));
        let answers = block_on(topic_admin(&settings)?.create_topics(&[topic], &options));
        match answers.map_err(broker_error)?.first() {
            Some(Ok(_)) => await_leaders(&settings, partitions).map(|()| TopicCreation::Created),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(TopicCreation::AlreadyThere),
            Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) => {
                Err(BrokerError(format!(
                    "topic {name} cannot have {replicas} replicas: there are fewer brokers than that"
                )))
            }
            Some(Err((_, error))) => {
                Err(BrokerError(format!("the brokers did not create topic {name}: {error}")))
            }
            None => {
                Err(BrokerError(format!("the brokers do not say whether topic {name} is made")))
            }
        }
    })
}

/// Waits until every partition of a new topic has a leader. Fails after [`MAKING`]. Blocks.
fn await_leaders(settings: &KafkaSettings, partitions: u32) -> Result<(), BrokerError> {
    let began = Instant::now();
    loop {
        let found = layout(settings).map(|(_, found)| found).unwrap_or_default();
        let led = found.iter().filter(|partition| partition.leader.is_some()).count();
        if led == partitions as usize {
            return Ok(());
        }
        if began.elapsed() >= MAKING {
            return Err(BrokerError(format!(
                "topic {} has been made, but {led} of its {partitions} partitions have a leader",
                settings.topic()
            )));
        }
        thread::sleep(LOOK);
    }
}

/// Asks the brokers for the topic's partitions and effective settings. A topic that does not exist has
/// no partitions, and is not created and not an error. Fails when no broker replies in time or this
/// user may not see the settings.
pub fn describe(settings: &KafkaSettings) -> Fut<'static, Result<TopicDescription, BrokerError>> {
    let settings = settings.clone();
    on_thread("kafka describe", move || {
        let (brokers, partitions) = layout(&settings)?;
        let effective = if partitions.is_empty() { BTreeMap::new() } else { effective(&settings)? };
        Ok(TopicDescription { name: settings.topic(), brokers, partitions, settings: effective })
    })
}

/// The number of brokers, and the topic's partitions in order. Blocks.
fn layout(settings: &KafkaSettings) -> Result<(usize, Vec<PartitionDescription>), BrokerError> {
    let (client, _) = metadata_client(settings, 0)?;
    let metadata = client.fetch_metadata(Some(&settings.topic()), ANSWER).map_err(broker_error)?;
    let brokers = metadata.brokers().len();
    let Some(topic) = metadata.topics().first() else { return Ok((brokers, Vec::new())) };
    match topic.error().map(RDKafkaErrorCode::from) {
        None => {}
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => return Ok((brokers, Vec::new())),
        Some(error) => return Err(broker_error(KafkaError::MetadataFetch(error))),
    }
    let mut found: Vec<_> = topic.partitions().iter().collect();
    found.sort_by_key(|partition| partition.id());
    let partition = |found: &rdkafka::metadata::MetadataPartition| PartitionDescription {
        leader: Some(found.leader()).filter(|leader| *leader >= 0),
        replicas: found.replicas().to_vec(),
        in_sync: found.isr().to_vec(),
    };
    Ok((brokers, found.into_iter().map(partition).collect()))
}

/// The topic's effective settings. Blocks.
fn effective(settings: &KafkaSettings) -> Result<BTreeMap<String, String>, BrokerError> {
    let name = settings.topic();
    let options = AdminOptions::new().request_timeout(Some(ANSWER));
    let wanted = ResourceSpecifier::Topic(&name);
    let answers = block_on(topic_admin(settings)?.describe_configs([&wanted], &options));
    let answer = answers.map_err(broker_error)?.into_iter().next();
    let nothing = || BrokerError(format!("the brokers do not say what holds for topic {name}"));
    let found = answer.ok_or_else(nothing)?;
    let found = found.map_err(|error| {
        BrokerError(format!("the brokers do not say what holds for topic {name}: {error}"))
    })?;
    Ok(found.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
}
