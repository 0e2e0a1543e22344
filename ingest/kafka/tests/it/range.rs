use std::time::{Duration, Instant};

use ingest::ids::{Offset, PartitionId};
use ingest::log::brokers::{Brokers, ConsumeError, Consumer, PartitionBounds};

use crate::trial::{ONE, PATIENCE, Trial, numbered, read};

async fn error(consumer: &mut dyn Consumer) -> ConsumeError {
    tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap_err()
}

/// Where there is nothing, a consumer says so, and does not jump to where there is something.
#[tokio::test]
async fn an_offset_outside_the_log_is_out_of_range() {
    let Some(trial) = Trial::begin("range", 1).await else { return };
    trial.fill(100).await;
    let bounds =
        |first, end| Ok(PartitionBounds { first: Offset::new(first), end: Offset::new(end) });
    assert_eq!(trial.brokers.bounds(ONE).await, bounds(0, 100));

    assert_eq!(error(trial.consumer(101).as_mut()).await, ConsumeError::OutOfRange);
    assert_eq!(error(trial.consumer(1 << 40).as_mut()).await, ConsumeError::OutOfRange);

    trial.brokers.delete_below(ONE, Offset::new(60)).await.unwrap();
    trial.brokers.delete_below(ONE, Offset::new(60)).await.unwrap();
    trial.brokers.delete_below(ONE, Offset::new(10)).await.unwrap();
    assert_eq!(trial.brokers.bounds(ONE).await, bounds(60, 100));
    assert_eq!(error(trial.consumer(59).as_mut()).await, ConsumeError::OutOfRange);
    assert_eq!(error(trial.consumer(0).as_mut()).await, ConsumeError::OutOfRange);
    assert_eq!(read(trial.consumer(60).as_mut(), 40).await[0].value, numbered(60));

    let beyond = trial.brokers.delete_below(ONE, Offset::new(101)).await;
    println!("deleting beyond the end: {beyond:?}");
    assert!(beyond.is_err());
    trial.brokers.delete_below(ONE, Offset::new(100)).await.unwrap();
    assert_eq!(trial.brokers.bounds(ONE).await, bounds(100, 100));
    trial.end().await;
}

/// A running consumer whose next message is deleted under it says so, too.
#[tokio::test]
async fn a_consumer_that_is_overtaken_by_trimming_is_out_of_range() {
    let Some(trial) = Trial::begin("overtaken", 1).await else { return };
    let big = vec![1; 900_000];
    let producer = trial.producer(ingest::log::brokers::ProducerKind::Data);
    let sent: Vec<_> = (0..60).map(|_| producer.send(ONE, big.clone().into())).collect();
    for outcome in sent {
        outcome.await.unwrap();
    }
    // It holds what it has fetched (well below the 54 MB) and waits for us.
    let mut consumer = trial.consumer(0);
    read(consumer.as_mut(), 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    trial.brokers.delete_below(ONE, Offset::new(60)).await.unwrap();
    let mut last = 0;
    let end = loop {
        match tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap() {
            Ok(messages) => last = messages.last().unwrap().offset.get(),
            Err(error) => break error,
        }
    };
    println!("read up to {last} of 60 before the end was met");
    assert_eq!(end, ConsumeError::OutOfRange);
    assert!(last < 59, "the consumer fetched everything: it is not bounded");
    trial.end().await;
}

/// A topic that is not there is refused once it has been missing for a while.
#[tokio::test]
async fn a_missing_topic_is_refused() {
    let Some(trial) = Trial::unmade("missing").await else { return };
    let began = Instant::now();
    let refused = error(trial.consumer(0).as_mut()).await;
    println!("after {:?}: {refused}", began.elapsed());
    assert!(matches!(&refused, ConsumeError::Refused(reason) if reason.contains("no topic")));
    assert!(began.elapsed() >= Duration::from_secs(3), "news of a topic may take a while");
    println!("bounds: {:?}", trial.brokers.bounds(ONE).await.unwrap_err());
}

#[tokio::test]
async fn a_missing_partition_is_refused() {
    let Some(trial) = Trial::begin("part", 1).await else { return };
    let other = PartitionId::new(1);
    let mut consumer = trial.brokers.consumer(other, Offset::ZERO, 0).unwrap();
    let refused = error(consumer.as_mut()).await;
    assert!(matches!(&refused, ConsumeError::Refused(reason) if reason.contains("no partition 1")));
    println!("bounds: {:?}", trial.brokers.bounds(other).await.unwrap_err());
    trial.end().await;
}

/// A topic that is deleted under a consumer is refused in the end, and one that comes late is read.
#[tokio::test]
async fn a_topic_may_come_late_and_go_early() {
    let Some(trial) = Trial::unmade("late").await else { return };
    let mut consumer = trial.consumer(0);
    // Long enough for librdkafka to have given the topic up, and not for us.
    let waits = tokio::time::timeout(Duration::from_millis(3500), consumer.next()).await;
    assert!(waits.is_err(), "{waits:?}");
    trial.make(1).await;
    trial.fill(3).await;
    assert_eq!(read(consumer.as_mut(), 3).await.len(), 3);
    trial.end().await;
    let began = Instant::now();
    let refused = error(consumer.as_mut()).await;
    println!("after {:?}: {refused}", began.elapsed());
    assert!(matches!(refused, ConsumeError::Refused(_)), "{refused}");
}

/// Brokers that cannot be reached at all make a consumer unavailable, not silent.
#[tokio::test]
async fn brokers_out_of_reach_are_unavailable() {
    let nowhere = vec!["127.0.0.1:1".to_owned()];
    let settings =
        kafka::KafkaSettings::new(nowhere, "c", kafka::ConnectionSecurity::default()).unwrap();
    let brokers = kafka::KafkaBrokers::new(settings);
    let mut consumer = brokers.consumer(ONE, Offset::ZERO, 1).unwrap();
    let began = Instant::now();
    let unavailable = error(consumer.as_mut()).await;
    println!("after {:?}: {unavailable}", began.elapsed());
    assert!(matches!(unavailable, ConsumeError::Unavailable(_)));
    println!("bounds: {:?}", brokers.bounds(ONE).await.unwrap_err());
}
