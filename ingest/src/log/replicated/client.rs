//! The producer of one kind of records, and its replacement when it makes no progress.
//!
//! A client that gets no acknowledgement may be connected to a broker that was deposed and does not
//! know it. Waiting helps only if the client's own time-outs make it try another broker. When they have
//! not after [`ProducerTimeouts::stuck`], the client is dropped and a new one is made. Messages that
//! were not acknowledged are then *unknown*: they may be in the log or appear late. A client is never
//! kept beside its successor, since its retries would land after newer records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::env::{Env, Fut};
use crate::ids::PartitionId;
use crate::log::brokers::{BrokerError, Brokers, Producer, ProducerKind, SendError};
use crate::mutant::Mutant;
use crate::time::Tick;

/// Time-outs after which a producer is replaced.
#[derive(Clone, Copy, Debug)]
pub struct ProducerTimeouts {
    /// A client is replaced after this time without any acknowledgement, while a message waits for one.
    /// Longer than an ordinary change of leader takes.
    pub stuck: Duration,
    /// A new client is kept for at least this time: it has to connect first, and many new clients at
    /// once load the brokers further. Doubled, at most four times, for each client in a row that was
    /// replaced without any acknowledgement.
    pub pause: Duration,
}

impl Default for ProducerTimeouts {
    fn default() -> Self {
        Self { stuck: Duration::from_secs(8), pause: Duration::from_secs(3) }
    }
}

/// The facts that decide about a replacement.
#[derive(Clone, Copy, Debug)]
pub struct ProducerProgress {
    /// Time at which the client was made.
    pub born: Tick,
    /// Time of the last acknowledgement.
    pub acknowledged: Option<Tick>,
    /// Time since which the oldest message waits.
    pub oldest: Option<Tick>,
    /// Clients in a row before this one that were replaced without any acknowledgement.
    pub failures: u32,
}

/// Decides if a client must be replaced: only while a message waits, and only after both time-outs.
/// Pure, so that tables can test it.
pub fn is_stuck(progress: &ProducerProgress, patience: &ProducerTimeouts, now: Tick) -> bool {
    let Some(oldest) = progress.oldest else { return false };
    // The first message after an idle time gets the whole time as well.
    let heard = progress.acknowledged.unwrap_or(progress.born).max(oldest);
    let pause = patience.pause * 2u32.pow(progress.failures.min(4));
    now.since(heard) >= patience.stuck && now.since(progress.born) >= pause.max(patience.stuck)
}

/// The producer of one kind, shared by all sends of that kind.
pub struct ProducerClient {
    env: Env,
    brokers: Arc<dyn Brokers>,
    lane: ProducerKind,
    patience: ProducerTimeouts,
    state: Mutex<ProducerState>,
}

struct ProducerState {
    producer: Arc<dyn Producer>,
    attempt: u32,
    progress: ProducerProgress,
    next: u64,
    /// Messages without an acknowledgement, in the order of their sends: the time of the send, and a
    /// sender whose drop ends the waiting future with an unknown outcome.
    waiting: BTreeMap<u64, (Tick, oneshot::Sender<()>)>,
    /// Clients that were replaced; only with the seeded bug that keeps them.
    kept: Vec<Arc<dyn Producer>>,
}

impl ProducerClient {
    /// Makes the first client. Does no I/O, and fails only when the client cannot be created at all.
    pub fn new(
        env: &Env,
        brokers: Arc<dyn Brokers>,
        lane: ProducerKind,
        patience: ProducerTimeouts,
    ) -> Result<Self, BrokerError> {
        let producer = brokers.producer(lane, 0)?.into();
        let now = env.clock.now();
        let progress =
            ProducerProgress { born: now, acknowledged: None, oldest: None, failures: 0 };
        let state = ProducerState {
            producer,
            attempt: 0,
            progress,
            next: 0,
            waiting: BTreeMap::new(),
            kept: Vec::new(),
        };
        Ok(Self { env: env.clone(), brokers, lane, patience, state: Mutex::new(state) })
    }

    /// Sends a message. The message takes its place in the order when this function is *called*: number
    /// and send happen under one lock. Resolves once acknowledged, or with [`SendError::Unknown`] when
    /// the client is replaced before. Dropping the future does not withdraw the message.
    pub fn send(
        self: &Arc<Self>,
        partition: PartitionId,
        value: Bytes,
    ) -> Fut<'static, Result<(), SendError>> {
        let (given_up, is_given_up) = oneshot::channel();
        let (sent, number) = {
            let mut state = self.state.lock();
            let number = state.next;
            state.next += 1;
            state.waiting.insert(number, (self.env.clock.now(), given_up));
            (state.producer.send(partition, value), number)
        };
        if self.env.mutated(Mutant::AcknowledgeAtEnqueue) && self.lane == ProducerKind::Commits {
            return Box::pin(std::future::ready(Ok(())));
        }
        // Removed when the future is dropped: a message without a waiting caller must not count as
        // evidence.
        let waiting = PendingMessage { client: self.clone(), number };
        Box::pin(async move {
            let ended = match futures::future::select(sent, is_given_up).await {
                futures::future::Either::Left((sent, _)) => sent,
                futures::future::Either::Right(_) => Err(SendError::Unknown(
                    "no acknowledgement came, the client was replaced".into(),
                )),
            };
            if ended.is_ok() {
                waiting.acknowledged();
            }
            drop(waiting);
            ended
        })
    }

    /// Replaces the producer when it makes no progress, and returns true only then. The old producer is
    /// dropped before its callers learn that their outcomes are unknown. Called at regular intervals; a
    /// new client that cannot be made leaves the old one in place until the next call.
    pub fn look(&self) -> bool {
        let now = self.env.clock.now();
        let mut state = self.state.lock();
        let mut progress = state.progress;
        progress.oldest = state.waiting.values().next().map(|(since, _)| *since);
        if !is_stuck(&progress, &self.patience, now) {
            return false;
        }
        let attempt = state.attempt.wrapping_add(1);
        let fresh = match self.brokers.producer(self.lane, attempt) {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::error!(%error, lane = ?self.lane, "no fresh client could be made");
                return false;
            }
        };
        let failures = match progress.acknowledged {
            Some(_) => 0,
            None => progress.failures + 1,
        };
        state.attempt = attempt;
        state.progress = ProducerProgress { born: now, acknowledged: None, oldest: None, failures };
        let old = std::mem::replace(&mut state.producer, fresh.into());
        let waiting = std::mem::take(&mut state.waiting);
        if self.env.mutated(Mutant::KeepReplacedClient) {
            state.kept.push(old.clone());
        }
        drop(state);
        tracing::warn!(
            lane = ?self.lane, attempt, unknown = waiting.len(),
            "no acknowledgement for too long: the client is replaced, its outcomes are unknown"
        );
        // The old client first: its messages must not be sent after their writers act on the
        // unknown outcome.
        drop(old);
        drop(waiting);
        true
    }

    /// The number of clients of this kind that have been replaced since the log was opened. Zero only
    /// while the first one is in use.
    pub fn replaced(&self) -> u32 {
        self.state.lock().attempt
    }
}

/// A message that waits for its acknowledgement. Dropping it removes the message from the waiting ones.
struct PendingMessage {
    client: Arc<ProducerClient>,
    number: u64,
}

impl PendingMessage {
    /// Notes an acknowledgement as progress of the present client.
    fn acknowledged(&self) {
        let now = self.client.env.clock.now();
        let mut state = self.client.state.lock();
        // An acknowledgement of a replaced client is no evidence about its successor.
        if state.waiting.contains_key(&self.number) {
            state.progress.acknowledged = Some(now);
            state.progress.failures = 0;
        }
    }
}

impl Drop for PendingMessage {
    fn drop(&mut self) {
        self.client.state.lock().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_client_is_given_up_when_nothing_comes_back_and_not_before() {
        let patience = ProducerTimeouts::default();
        let quiet = ProducerProgress { born: at(0), acknowledged: None, oldest: None, failures: 0 };
        assert!(!is_stuck(&quiet, &patience, at(100)), "nothing waits");
        let waits = ProducerProgress { oldest: Some(at(50)), ..quiet };
        assert!(!is_stuck(&waits, &patience, at(57)));
        assert!(is_stuck(&waits, &patience, at(58)));
        let hears = ProducerProgress { acknowledged: Some(at(55)), ..waits };
        assert!(!is_stuck(&hears, &patience, at(62)), "it gets on");
        assert!(is_stuck(&hears, &patience, at(63)));
        let again = ProducerProgress { born: at(50), failures: 3, ..waits };
        assert!(
            !is_stuck(&again, &patience, at(73)),
            "each failure makes the next one wait longer"
        );
        assert!(is_stuck(&again, &patience, at(74)));
    }
}
