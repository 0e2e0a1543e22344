//! The simulated brokers keep their promises, and break what a cluster breaks.

mod clients;
mod failover;
mod faults;
mod hurts;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ingest::ids::{Offset, PartitionId};
use ingest::log::brokers::{CommittedMessage, ConsumeError, Producer, ProducerKind, SendError};
use simulator::brokers::{BrokerConfig, Endpoint};
use simulator::trace::Trace;
use simulator::{Sim, SimBrokers};

const PARTITION: PartitionId = PartitionId::ZERO;
const SECOND: Duration = Duration::from_secs(1);

/// How many seeds to run where a test does not need a certain number.
fn seeds(usual: u64) -> u64 {
    std::env::var("SILTSTONE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// A calm cluster with one partition.
fn calm(seed: u64) -> (Sim, SimBrokers) {
    let sim = Sim::new(seed);
    let knobs = BrokerConfig { hop_max: Duration::from_millis(2), ..BrokerConfig::calm() };
    let brokers = SimBrokers::with_knobs(&sim, 1, knobs);
    (sim, brokers)
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn texts(messages: &[CommittedMessage]) -> Vec<String> {
    messages.iter().map(|m| String::from_utf8_lossy(&m.value).into_owned()).collect()
}

fn producer(brokers: &SimBrokers, node: usize, attempt: u32) -> Box<dyn Producer> {
    brokers.handle(node).producer(ProducerKind::Commits, attempt).expect("a producer")
}

/// Waits at most so long for a future.
async fn within<T>(sim: &Sim, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let future = std::pin::pin!(future);
    match futures::future::select(future, sim.sleep(limit)).await {
        futures::future::Either::Left((value, _)) => Some(value),
        futures::future::Either::Right(_) => None,
    }
}

/// What is committed, once somebody leads.
async fn committed(
    sim: &Sim,
    brokers: &SimBrokers,
    partition: PartitionId,
) -> Vec<CommittedMessage> {
    for _ in 0..600 {
        match brokers.committed(partition) {
            Some(messages) => return messages,
            None => sim.sleep(SECOND / 10).await,
        }
    }
    panic!("nobody leads {partition}");
}

/// Reads everything that is committed now, with fresh consumers.
async fn read_all(
    sim: &Sim,
    brokers: &SimBrokers,
    partition: PartitionId,
    from: Offset,
) -> Vec<CommittedMessage> {
    let wanted = committed(sim, brokers, partition).await;
    let Some(last) = wanted.last().map(|message| message.offset) else { return Vec::new() };
    let mut found: Vec<CommittedMessage> = Vec::new();
    for attempt in 0..20 {
        let next = found.last().map_or(from, |message| message.offset.next());
        let mut consumer = brokers.handle(9).consumer(partition, next, attempt).expect("made");
        while let Some(Ok(messages)) = within(sim, SECOND * 5, consumer.next()).await {
            found.extend(messages);
            if found.last().is_some_and(|message| message.offset >= last) {
                return found;
            }
        }
    }
    panic!("{} of {} messages are not read", wanted.len() - found.len(), wanted.len());
}
