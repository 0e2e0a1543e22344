use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ingest::ids::{Offset, PartitionId};
use ingest::log::brokers::{Brokers, ProducerKind, SendError};
use kafka::{ConnectionSecurity, KafkaBrokers, KafkaSettings};

use crate::trial::{ONE, PATIENCE, Trial, read};

/// The length of message `n`: mostly small, now and then as long as a record of payload.
fn length(n: u32) -> usize {
    match n % 100 {
        99 => 900_000,
        other => 4 + other as usize * 50,
    }
}

fn message(n: u32) -> Bytes {
    let mut bytes = vec![n as u8; length(n)];
    bytes[..4].copy_from_slice(&n.to_le_bytes());
    bytes.into()
}

/// What one producer was called to send is read in that order, once and whole, in each partition.
#[tokio::test]
async fn messages_stand_in_the_order_of_the_calls() {
    const COUNT: u32 = 2000;
    let Some(trial) = Trial::begin("order", 2).await else { return };
    for lane in ProducerKind::ALL {
        let partitions = [0, 1].map(PartitionId::new);
        let producer = trial.producer(lane);
        let before = trial.end_of_one().await;
        let sent: Vec<_> = (0..COUNT)
            .flat_map(|n| partitions.map(|partition| producer.send(partition, message(n))))
            .collect();
        for outcome in sent {
            outcome.await.unwrap();
        }
        for partition in partitions {
            let mut consumer = trial.brokers.consumer(partition, before, 0).unwrap();
            let found = read(consumer.as_mut(), COUNT as usize).await;
            assert_eq!(found.len(), COUNT as usize);
            for (n, found) in (0..COUNT).zip(&found) {
                assert_eq!(found.value, message(n), "{lane:?} {partition} {n}");
                assert_eq!(found.offset.get(), before.get() + u64::from(n));
            }
        }
    }
    trial.end().await;
}

/// A message bears the brokers' time.
#[tokio::test]
async fn time_is_told_in_microseconds() {
    let Some(trial) = Trial::begin("time", 1).await else { return };
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let before = now();
    trial.fill(1).await;
    let found = read(trial.consumer(0).as_mut(), 1).await;
    let time = found[0].time.micros();
    // Brokers count milliseconds; these run beside the test.
    assert!(before - 1000 <= time && time <= now(), "{before} {time}");
    trial.end().await;
}

/// The longest record is taken, and a longer one is known not to have been sent.
#[tokio::test]
async fn the_length_of_a_message_is_bounded() {
    let Some(trial) = Trial::begin("length", 1).await else { return };
    let producer = trial.producer(ProducerKind::Data);
    producer.send(ONE, vec![7; 1_000_000].into()).await.unwrap();
    let refused = producer.send(ONE, vec![7; 1_000_100].into()).await.unwrap_err();
    assert!(matches!(refused, SendError::NotSent(_)), "{refused}");
    let found = read(trial.consumer(0).as_mut(), 1).await;
    assert_eq!(found[0].value.len(), 1_000_000);
    assert_eq!(trial.brokers.bounds(ONE).await.unwrap().end, Offset::new(1));
    trial.end().await;
}

/// Without brokers a producer takes what its queue holds and no more; when it is dropped, what it held is
/// unknown at once.
#[tokio::test]
async fn a_full_queue_refuses_and_a_dropped_one_answers() {
    let nowhere =
        KafkaSettings::new(vec!["127.0.0.1:1".into()], "c", ConnectionSecurity::default()).unwrap();
    let brokers = KafkaBrokers::new(nowhere);
    let producer = brokers.producer(ProducerKind::Data, 0).unwrap();
    let value = Bytes::from(vec![0; 1_000_000]);
    let mut held = Vec::new();
    let refused = loop {
        let mut sent = producer.send(ONE, value.clone());
        match futures::poll!(&mut sent) {
            std::task::Poll::Pending => held.push(sent),
            std::task::Poll::Ready(outcome) => break outcome.unwrap_err(),
        }
        assert!(held.len() < 100);
    };
    assert!(matches!(refused, SendError::NotSent(_)), "{refused}");
    assert_eq!(held.len(), (64 << 20) / 1_000_000, "room above what the layer above admits");
    let began = Instant::now();
    drop(producer);
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
    for outcome in held {
        let outcome = tokio::time::timeout(PATIENCE, outcome).await.unwrap();
        assert!(matches!(outcome, Err(SendError::Unknown(_))), "{outcome:?}");
    }
    println!("all unknown after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
