//! The topic that is a cluster's log: making it as it has to be, and seeing how it is.

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

/// How long brokers may take to make a topic.
const MAKING: Duration = Duration::from_secs(30);
/// How often it is seen whether a new topic has become known.
const LOOK: Duration = Duration::from_millis(100);

/// Settings that a log's safety hangs on, by Kafka's names, as a new topic gets them.
///
/// `min.insync.replicas` is missing: it depends on the number of replicas.
const WANTED: [(&str, &str); 6] = [
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    ("unclean.leader.election.enable", "false"),
    ("message.timestamp.type", "LogAppendTime"),
    ("compression.type", "producer"),
];

/// A topic, as some broker believes it to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// How many brokers there are.
    pub brokers: usize,
    /// Its partitions, in order. None at all: there is no such topic.
    pub partitions: Vec<PartitionDescription>,
    /// What holds for it, by Kafka's names, whether set on the topic, on the brokers or by default.
    pub settings: BTreeMap<String, String>,
}

/// One partition of a topic. Brokers are named by their numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionDescription {
    /// Who takes its messages, if anybody does.
    pub leader: Option<i32>,
    /// Who keeps them.
    pub replicas: Vec<i32>,
    /// Who of these has got all that is acknowledged.
    pub in_sync: Vec<i32>,
}

/// What became of a wish for a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicCreation {
    /// It has been made.
    Created,
    /// It had been there, and may be unlike what was wished.
    AlreadyThere,
}

/// Makes the topic. It keeps everything until it is told to delete, and acknowledges nothing that less
/// than two brokers have, or than one if there is to be one replica only.
pub fn create(
    settings: &KafkaSettings,
    partitions: u32,
    replicas: u32,
) -> Fut<'static, Result<TopicCreation, BrokerError>> {
    let settings = settings.clone();
    on_thread("kafka create", move || {
        let name = settings.topic();
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
                Err(BrokerError(format!("the brokers do not make topic {name}: {error}")))
            }
            None => {
                Err(BrokerError(format!("the brokers do not say whether topic {name} is made")))
            }
        }
    })
}

/// Waits until somebody takes messages for every partition of a new topic.
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

/// Sees how the topic is.
pub fn describe(settings: &KafkaSettings) -> Fut<'static, Result<TopicDescription, BrokerError>> {
    let settings = settings.clone();
    on_thread("kafka describe", move || {
        let (brokers, partitions) = layout(&settings)?;
        let effective = if partitions.is_empty() { BTreeMap::new() } else { effective(&settings)? };
        Ok(TopicDescription { name: settings.topic(), brokers, partitions, settings: effective })
    })
}

/// The number of brokers, and the topic's partitions.
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

/// What holds for the topic.
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
