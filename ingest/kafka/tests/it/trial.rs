//! A log of its own for each test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ingest::ids::{Offset, PartitionId};
use ingest::log::brokers::{Brokers, CommittedMessage, Consumer, Producer, ProducerKind};
use kafka::{ConnectionSecurity, KafkaBrokers, KafkaSettings, TopicCreation};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The only partition of most tests.
pub const ONE: PartitionId = PartitionId::new(0);

/// How long brokers may take for anything that is asked of them here.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The brokers that an environment variable names.
pub fn servers(variable: &str, test: &str) -> Option<Vec<String>> {
    let Ok(servers) = std::env::var(variable) else {
        println!("SKIPPED {test}: {variable} names no brokers");
        return None;
    };
    Some(servers.split(',').map(str::to_owned).collect())
}

/// A name that no other test and no other run uses.
pub fn fresh_name(test: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    format!("t-{test}-{now:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Whoever disturbs the brokers does so while nobody else uses them.
static CALM: RwLock<()> = RwLock::const_new(());

#[expect(dead_code, reason = "they are held, and never looked at")]
enum Calm {
    Shared(RwLockReadGuard<'static, ()>),
    Disturbed(RwLockWriteGuard<'static, ()>),
}

pub struct Trial {
    pub settings: KafkaSettings,
    pub brokers: KafkaBrokers,
    _calm: Calm,
}

impl Trial {
    /// Makes the log; `None` when there are no brokers to make it on.
    pub async fn begin(test: &str, partitions: u32) -> Option<Self> {
        let trial = Self::unmade(test).await?;
        trial.make(partitions).await;
        Some(trial)
    }

    /// The same without a topic.
    pub async fn unmade(test: &str) -> Option<Self> {
        Self::prepare(test, Calm::Shared(CALM.read().await))
    }

    /// The same for a test that disturbs the brokers.
    pub async fn alone(test: &str, partitions: u32) -> Option<Self> {
        let trial = Self::prepare(test, Calm::Disturbed(CALM.write().await))?;
        trial.make(partitions).await;
        Some(trial)
    }

    fn prepare(test: &str, calm: Calm) -> Option<Self> {
        let servers = servers("SILTSTONE_KAFKA", test)?;
        let settings =
            KafkaSettings::new(servers, fresh_name(test), ConnectionSecurity::default()).unwrap();
        Some(Self { brokers: KafkaBrokers::new(settings.clone()), settings, _calm: calm })
    }

    /// Makes the topic, with three replicas if there are brokers for them.
    pub async fn make(&self, partitions: u32) {
        let brokers = kafka::describe(&self.settings).await.unwrap().brokers;
        let replicas = if brokers < 3 { 1 } else { 3 };
        let made = kafka::create(&self.settings, partitions, replicas).await;
        assert_eq!(made, Ok(TopicCreation::Created));
    }

    /// The end of the first partition. The leader of a new topic is elected after the topic exists; until then a
    /// broker answers that it does not lead the partition.
    pub async fn end_of_one(&self) -> Offset {
        for _ in 0..PATIENCE.as_secs() {
            match self.brokers.bounds(ONE).await {
                Ok(bounds) => return bounds.end,
                Err(error) => println!("asking again: {error}"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("the first partition has no leader")
    }

    pub fn producer(&self, lane: ProducerKind) -> Box<dyn Producer> {
        self.brokers.producer(lane, 0).unwrap()
    }

    pub fn consumer(&self, from: u64) -> Box<dyn Consumer> {
        self.brokers.consumer(ONE, Offset::new(from), 0).unwrap()
    }

    /// Sends messages one by one and waits for all of them.
    pub async fn fill(&self, count: u64) {
        let producer = self.producer(ProducerKind::Commits);
        let sent: Vec<_> = (0..count).map(|n| producer.send(ONE, numbered(n))).collect();
        for outcome in sent {
            outcome.await.unwrap();
        }
    }

    /// A client that does what no test of ours asks of the adapter.
    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        let servers = std::env::var("SILTSTONE_KAFKA").unwrap();
        ClientConfig::new().set("bootstrap.servers", servers).create().unwrap()
    }

    pub async fn end(self) {
        let topic = self.settings.topic();
        let deleted = self.admin().delete_topics(&[&topic], &AdminOptions::new()).await.unwrap();
        deleted.into_iter().next().unwrap().unwrap();
    }
}

/// A message that tells its place in the order.
pub fn numbered(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_le_bytes())
}

/// Reads so many messages.
pub async fn read(consumer: &mut dyn Consumer, count: usize) -> Vec<CommittedMessage> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
        messages.extend(next.expect("messages come").unwrap());
    }
    messages
}
