use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ingest::ids::Offset;
use ingest::log::brokers::{Brokers, CommittedMessage, ConsumeError, ProducerKind, SendError};
use kafka::{ConnectionSecurity, KafkaBrokers, KafkaSettings};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::trial::{ONE, PATIENCE, Trial, numbered, read};

/// librdkafka's own pretence of a cluster, which gives wrong answers on request.
fn pretended() -> (MockCluster<'static, DefaultProducerContext>, KafkaBrokers) {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic("siltstone-c", 1, 3).unwrap();
    let servers = cluster.bootstrap_servers().split(',').map(str::to_owned).collect();
    let settings = KafkaSettings::new(servers, "c", ConnectionSecurity::default()).unwrap();
    (cluster, KafkaBrokers::new(settings))
}

/// After an error that ends a producer, what is sent to it waits unanswered, as with one that hears
/// nothing: that is what has it replaced. Nothing is said to be known that is not.
#[tokio::test]
async fn a_producer_that_has_ended_answers_nothing() {
    let (cluster, brokers) = pretended();
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[denied; 5]);
    let producer = brokers.producer(ProducerKind::Commits, 0).unwrap();
    let first = tokio::time::timeout(PATIENCE, producer.send(ONE, numbered(0))).await.unwrap();
    assert!(matches!(first, Err(SendError::Unknown(_))), "{first:?}");
    let mut later = producer.send(ONE, numbered(1));
    let waits = tokio::time::timeout(Duration::from_secs(1), &mut later).await;
    assert!(waits.is_err(), "{waits:?}");
    drop(producer);
    assert!(matches!(later.await, Err(SendError::Unknown(_))));
    cluster.clear_request_errors(RDKafkaApiKey::InitProducerId);
    brokers.producer(ProducerKind::Commits, 1).unwrap().send(ONE, numbered(2)).await.unwrap();
}

/// What a broker cannot do just now is tried again, in order and once.
#[tokio::test]
async fn passing_errors_of_brokers_are_not_seen() {
    use RDKafkaRespErr as E;
    let (cluster, brokers) = pretended();
    let passing = [
        E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        E::RD_KAFKA_RESP_ERR__TRANSPORT,
        E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ];
    cluster.request_errors(RDKafkaApiKey::Produce, &passing);
    let producer = brokers.producer(ProducerKind::Commits, 0).unwrap();
    let sent: Vec<_> = (0..100).map(|n| producer.send(ONE, numbered(n))).collect();
    for outcome in sent {
        outcome.await.unwrap();
    }
    cluster.request_errors(RDKafkaApiKey::Fetch, &passing[..2]);
    let mut consumer = brokers.consumer(ONE, Offset::ZERO, 0).unwrap();
    let found = read(consumer.as_mut(), 100).await;
    for (n, message) in (0..).zip(&found) {
        assert_eq!((message.offset.get(), &message.value), (n, &numbered(n)));
    }
}

/// An error behind which librdkafka might go on with something left out ends the consumer.
#[tokio::test]
async fn an_error_that_is_not_known_to_pass_ends_a_consumer() {
    let (cluster, brokers) = pretended();
    brokers.producer(ProducerKind::Commits, 0).unwrap().send(ONE, numbered(0)).await.unwrap();
    let damaged = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_MSG;
    cluster.request_errors(RDKafkaApiKey::Fetch, &[damaged]);
    let mut consumer = brokers.consumer(ONE, Offset::ZERO, 0).unwrap();
    let end = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap_err();
    assert!(
        matches!(&end, ConsumeError::Unavailable(reason) if reason.contains("Invalid")),
        "{end}"
    );
    let again = consumer.next().await;
    assert!(matches!(again, Err(ConsumeError::Unavailable(_))), "{again:?}");
}

/// The broker that leads a test's partition, paused until this is dropped.
struct Paused(String);

impl Paused {
    /// `SILTSTONE_KAFKA_PIDS` is a folder where `node-N.pid` tells the process of broker N.
    async fn leader(trial: &Trial) -> Option<Self> {
        let Ok(folder) = std::env::var("SILTSTONE_KAFKA_PIDS") else {
            println!("SKIPPED pausing a broker: SILTSTONE_KAFKA_PIDS names no folder of pid files");
            return None;
        };
        let leader = kafka::describe(&trial.settings).await.unwrap().partitions[0].leader.unwrap();
        let file = PathBuf::from(folder).join(format!("node-{leader}.pid"));
        let paused = Self(fs::read_to_string(file).unwrap().trim().to_owned());
        paused.signal("-STOP");
        Some(paused)
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.0]).status().unwrap().success());
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

/// A producer whose broker does not move is let go of at once, and what it held is unknown soon.
#[tokio::test]
async fn a_producer_of_a_paused_broker_is_dropped_at_once() {
    let Some(trial) = Trial::alone("paused", 1).await else { return };
    let producer = trial.producer(ProducerKind::Data);
    producer.send(ONE, numbered(0)).await.unwrap();
    let Some(paused) = Paused::leader(&trial).await else { return trial.end().await };
    let held: Vec<_> = (0..30).map(|_| producer.send(ONE, vec![1; 900_000].into())).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    drop(producer);
    let dropped = began.elapsed();
    for outcome in held {
        let outcome = tokio::time::timeout(PATIENCE, outcome).await.unwrap();
        assert!(matches!(outcome, Err(SendError::Unknown(_))), "{outcome:?}");
    }
    println!("dropped after {dropped:?}, all known to be unknown after {:?}", began.elapsed());
    assert!(dropped < Duration::from_millis(50), "{dropped:?}");
    assert!(began.elapsed() < Duration::from_secs(2));

    // What follows comes from a new client; the old one's messages stand before it or not at all, each
    // once, and none appears later on. One that begins at the paused broker gets nowhere, the next does.
    let mut fresh = None;
    for attempt in 1..=3 {
        let client = trial.brokers.producer(ProducerKind::Data, attempt).unwrap();
        let sent = client.send(ONE, numbered(1));
        if let Ok(Ok(())) = tokio::time::timeout(Duration::from_secs(8), sent).await {
            println!("attempt {attempt} is acknowledged after {:?}", began.elapsed());
            fresh = Some(client);
            break;
        }
    }
    drop(paused);
    tokio::time::sleep(Duration::from_secs(3)).await;
    fresh.expect("another broker leads").send(ONE, numbered(2)).await.unwrap();
    let end = trial.brokers.bounds(ONE).await.unwrap().end.get() as usize;
    let found = read(trial.consumer(0).as_mut(), end).await;
    let is_old = |message: &CommittedMessage| message.value.len() == 900_000;
    let old = found.iter().filter(|message| is_old(message)).count();
    println!("{old} of 30 messages of the old client stand in the log");
    assert!(old <= 30);
    assert!(found[1..=old].iter().all(is_old), "they come first");
    assert_eq!(found.last().unwrap().value, numbered(2));
    trial.end().await;
}

/// Producer and consumer get over the loss of the leader by themselves: order and once-ness hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_leader_is_survived() {
    const COUNT: u64 = 3000;
    let Some(trial) = Trial::alone("failover", 1).await else { return };
    let producer = trial.producer(ProducerKind::Commits);
    producer.send(ONE, numbered(0)).await.unwrap();
    let mut consumer = trial.consumer(0);
    read(consumer.as_mut(), 1).await;
    let Some(paused) = Paused::leader(&trial).await else { return trial.end().await };
    let began = Instant::now();
    let send = async {
        let mut sent = Vec::new();
        tokio::time::timeout(PATIENCE, producer.send(ONE, numbered(1))).await.unwrap().unwrap();
        println!("acknowledged after {:?}", began.elapsed());
        for n in 2..COUNT {
            sent.push(producer.send(ONE, numbered(n)));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        for outcome in sent {
            tokio::time::timeout(PATIENCE, outcome).await.unwrap().unwrap();
        }
    };
    let receive = async {
        let first = read(consumer.as_mut(), 1).await;
        println!("read after {:?}", began.elapsed());
        drop(paused);
        let rest = read(consumer.as_mut(), COUNT as usize - 1 - first.len()).await;
        for (n, message) in (1..).zip(first.iter().chain(&rest)) {
            assert_eq!((message.offset.get(), &message.value), (n, &numbered(n)));
        }
    };
    futures::join!(send, receive);
    assert_eq!(trial.brokers.bounds(ONE).await.unwrap().end.get(), COUNT);
    trial.end().await;
}
