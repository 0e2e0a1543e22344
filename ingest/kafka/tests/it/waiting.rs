use std::fs;
use std::time::{Duration, Instant};

use ingest::ids::PartitionId;
use ingest::log::brokers::{Brokers, ProducerKind};

use crate::trial::{ONE, PATIENCE, Trial, numbered, read};

/// A consumer at the end sleeps until there is something, and then has it at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_waits_and_wakes() {
    let Some(trial) = Trial::begin("wake", 1).await else { return };
    let producer = trial.producer(ProducerKind::Commits);
    producer.send(ONE, numbered(0)).await.unwrap();
    let mut consumer = trial.consumer(1);
    let mut latencies = Vec::new();
    for n in 1..=100 {
        // Longer than a long poll now and then, so that both its halves are met.
        let idle = Duration::from_millis(if n % 20 == 0 { 700 } else { 7 * (n % 10) });
        let early = tokio::time::timeout(idle, consumer.next()).await;
        assert!(early.is_err(), "nothing has been sent: {early:?}");
        let began = Instant::now();
        let sent = producer.send(ONE, numbered(n));
        let found = read(consumer.as_mut(), 1).await;
        latencies.push(began.elapsed());
        sent.await.unwrap();
        assert_eq!(found[0].value, numbered(n));
        assert_eq!(found[0].offset.get(), n);
    }
    latencies.sort();
    println!("from the call to the message: p50 {:?}, p99 {:?}", latencies[50], latencies[98]);
    trial.end().await;
}

/// Giving up waiting loses nothing, however often.
#[tokio::test]
async fn a_dropped_wait_loses_no_message() {
    const COUNT: u64 = 20_000;
    let Some(trial) = Trial::begin("dropped", 1).await else { return };
    let mut consumer = trial.consumer(0);
    let fill = trial.fill(COUNT);
    let mut found = Vec::new();
    let mut given_up = 0;
    let pull = async {
        let began = Instant::now();
        while found.len() < COUNT as usize {
            assert!(began.elapsed() < PATIENCE, "{}", found.len());
            match tokio::time::timeout(Duration::from_micros(200), consumer.next()).await {
                Ok(messages) => found.extend(messages.unwrap()),
                Err(_) => given_up += 1,
            }
        }
    };
    futures::join!(fill, pull);
    println!("{given_up} waits were given up");
    assert!(given_up > 10);
    assert_eq!(found.len(), COUNT as usize);
    for (n, message) in (0..).zip(&found) {
        assert_eq!(message.value, numbered(n));
    }
    trial.end().await;
}

/// The threads of this process that bear a name.
fn threads(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
    names.filter(|found| found.as_ref().is_ok_and(|found| found.trim() == name)).count()
}

/// A dropped consumer ends its thread soon, whether that was waiting for messages or for a reader.
#[tokio::test]
async fn a_dropped_consumer_ends() {
    let partition = PartitionId::new(7);
    let name = "kafka reader 7";
    let Some(trial) = Trial::begin("ends", 8).await else { return };
    for count in [0_u64, 30_000] {
        let producer = trial.producer(ProducerKind::Commits);
        let sent: Vec<_> = (0..count).map(|n| producer.send(partition, numbered(n))).collect();
        futures::future::join_all(sent).await;
        let consumer = trial.brokers.consumer(partition, Default::default(), 0).unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(threads(name), 1);
        let began = Instant::now();
        drop(consumer);
        assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
        while threads(name) > 0 {
            assert!(began.elapsed() < Duration::from_secs(3));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("with {count} messages: gone after {:?}", began.elapsed());
    }
    trial.end().await;
}
