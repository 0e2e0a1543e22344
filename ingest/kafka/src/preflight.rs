//! The check of a topic for unsafe properties, with texts for people. Pure: no broker is asked here.

use std::fmt;

use crate::topic::{PartitionDescription, TopicDescription};

/// The safety that a topic must provide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicSafety {
    /// The least number of brokers that keep each message.
    pub replicas_min: u32,
    /// The least number of brokers that must have a message before it is acknowledged.
    pub in_sync_min: u32,
}

impl Default for TopicSafety {
    /// No acknowledged record is lost when one broker loses all its data while another is away.
    fn default() -> Self {
        Self { replicas_min: 3, in_sync_min: 2 }
    }
}

impl TopicSafety {
    /// For a trial on a single broker: data that this broker loses is lost.
    pub const TRIAL: Self = Self { replicas_min: 1, in_sync_min: 1 };
}

/// A reason not to use a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicProblem {
    /// The unsafe property and its consequence.
    pub problem: String,
    /// The action that makes the topic safe.
    pub remedy: String,
}

impl fmt::Display for TopicProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}

/// Length in bytes of the longest record with its frame. The default of brokers is a little above it.
const MESSAGE_BYTES: u64 = 1_000_000 + 128;

/// Returns every reason not to use a topic, empty when it is safe, in a fixed order. A setting that is
/// not known counts as unsafe. A topic without partitions does not exist, and this is then the only
/// reason. Callers must not open the log before this list is empty.
pub fn problems(
    topic: &TopicDescription,
    expected_partitions: Option<u32>,
    safety: &TopicSafety,
) -> Vec<TopicProblem> {
    if topic.partitions.is_empty() {
        return vec![TopicProblem {
            problem: format!("there is no topic {}", topic.name),
            remedy: "set the cluster up with `siltstone init`, or correct its name".into(),
        }];
    }
    let count = expected_partitions.and_then(|expected| partition_count(topic, expected));
    let replicas = replication(topic, safety);
    let in_sync = in_sync(topic, safety);
    let rules = RULES.iter().filter_map(|rule| rule.broken_by(topic));
    let length = message_length(topic);
    count.into_iter().chain(replicas).chain(in_sync).chain(rules).chain(length).collect()
}

/// The problem of a topic with another number of partitions than expected.
fn partition_count(topic: &TopicDescription, expected: u32) -> Option<TopicProblem> {
    let found = topic.partitions.len();
    (found != expected as usize).then(|| TopicProblem {
        problem: format!("topic {} has {found} partitions, expected {expected}", topic.name),
        remedy: "correct the expected number; a log's partitions cannot be added to or taken away, since \
                 keys would move between them"
            .into(),
    })
}

/// The problem of partitions that too few brokers keep.
fn replication(topic: &TopicDescription, safety: &TopicSafety) -> Option<TopicProblem> {
    let thin =
        |partition: &&PartitionDescription| partition.replicas.len() < safety.replicas_min as usize;
    let fewest =
        topic.partitions.iter().filter(thin).map(|partition| partition.replicas.len()).min()?;
    let concerned = topic.partitions.iter().filter(thin).count();
    Some(TopicProblem {
        problem: format!(
            "{concerned} of {} partitions of topic {} are kept by as few as {fewest} brokers, at least {} \
             are needed: the loss of brokers would lose acknowledged records",
            topic.partitions.len(),
            topic.name,
            safety.replicas_min
        ),
        remedy: format!(
            "reassign its partitions to {} brokers each (there are {}), or make the topic anew while it is \
             empty",
            safety.replicas_min, topic.brokers
        ),
    })
}

/// The problem of an acknowledgement that needs too few brokers, or more than there are.
fn in_sync(topic: &TopicDescription, safety: &TopicSafety) -> Option<TopicProblem> {
    const NAME: &str = "min.insync.replicas";
    let set = |value: u32| format!("set {NAME}={value} on topic {}", topic.name);
    let Some(value) = number(topic, NAME) else { return Some(unknown(topic, NAME)) };
    let fewest = topic.partitions.iter().map(|partition| partition.replicas.len()).min()? as u64;
    if value < u64::from(safety.in_sync_min) {
        return Some(TopicProblem {
            problem: format!(
                "{NAME} of topic {} is {value}: a record is acknowledged while fewer than {} brokers have \
                 it, and the loss of one may lose it",
                topic.name, safety.in_sync_min
            ),
            remedy: set(safety.in_sync_min),
        });
    }
    (value > fewest).then(|| TopicProblem {
        problem: format!(
            "{NAME} of topic {} is {value} and a partition has {fewest} replicas: no record would ever be \
             acknowledged",
            topic.name
        ),
        remedy: set(safety.in_sync_min),
    })
}

/// The problem of a topic that refuses the longest records.
fn message_length(topic: &TopicDescription) -> Option<TopicProblem> {
    const NAME: &str = "max.message.bytes";
    let Some(value) = number(topic, NAME) else { return Some(unknown(topic, NAME)) };
    (value < MESSAGE_BYTES).then(|| TopicProblem {
        problem: format!(
            "{NAME} of topic {} is {value}: the brokers would not take records of the greatest length",
            topic.name
        ),
        remedy: format!("raise it to Kafka's default, 1048588, or at least to {MESSAGE_BYTES}"),
    })
}

/// A setting that has exactly one safe value.
struct TopicRule {
    name: &'static str,
    safe: &'static str,
    /// The consequence of any other value.
    else_: &'static str,
}

const RULES: [TopicRule; 5] = [
    TopicRule {
        name: "unclean.leader.election.enable",
        safe: "false",
        else_: "a broker that has missed acknowledged records could become leader, and they would be lost",
    },
    TopicRule {
        name: "retention.ms",
        safe: "-1",
        else_: "records would be deleted by age, whether or not every node has folded and sealed them",
    },
    TopicRule {
        name: "retention.bytes",
        safe: "-1",
        else_: "records would be deleted when there are many, whether or not every node has folded and \
                sealed them",
    },
    TopicRule {
        name: "cleanup.policy",
        safe: "delete",
        else_: "with compaction records would vanish from the middle, and without deletion the log could \
                not be trimmed",
    },
    TopicRule {
        name: "message.timestamp.type",
        safe: "LogAppendTime",
        else_: "records would carry the time of whoever sent them, and every node's clock would count",
    },
];

impl TopicRule {
    /// The problem of a topic with another value, or with an unknown one.
    fn broken_by(&self, topic: &TopicDescription) -> Option<TopicProblem> {
        let Some(value) = topic.settings.get(self.name) else {
            return Some(unknown(topic, self.name));
        };
        (value != self.safe).then(|| TopicProblem {
            problem: format!("{} of topic {} is {value}: {}", self.name, topic.name, self.else_),
            remedy: format!("set {}={} on topic {}", self.name, self.safe, topic.name),
        })
    }
}

/// A setting's value as a number.
fn number(topic: &TopicDescription, name: &str) -> Option<u64> {
    topic.settings.get(name)?.parse().ok()
}

/// The problem of a setting that the brokers do not reveal.
fn unknown(topic: &TopicDescription, name: &str) -> TopicProblem {
    TopicProblem {
        problem: format!("the brokers do not say what {name} of topic {} is", topic.name),
        remedy: "allow this user to describe the topic's configuration".into(),
    }
}

#[cfg(test)]
mod tests;
