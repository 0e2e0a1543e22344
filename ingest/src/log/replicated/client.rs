//! One lane's way to the brokers: a producer, and its replacement when it does not get on.
//!
//! A client that gets no acknowledgement may be talking to a broker that was deposed and does not know
//! it. Waiting helps only if its own time-outs turn it elsewhere; if they have not after
//! [`ProducerTimeouts::stuck`], it is dropped and a fresh one begins. What the old one had not been told about is
//! then *unknown*: it may be in the log or turn up late. A client is never kept beside its successor,
//! since its retries would land after newer records.

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

/// For how long a client is trusted.
#[derive(Clone, Copy, Debug)]
pub struct ProducerTimeouts {
    /// Without any acknowledgement for so long, while something waits for one, a client is given up. Above
    /// the time that an ordinary change of leader takes.
    pub stuck: Duration,
    /// A fresh client is left alone for so long: it has to connect first, and a storm of clients helps
    /// nobody. Doubled for each client that was given up without having got anything through.
    pub pause: Duration,
}

impl Default for ProducerTimeouts {
    fn default() -> Self {
        Self { stuck: Duration::from_secs(8), pause: Duration::from_secs(3) }
    }
}

/// What the decision hangs on.
#[derive(Clone, Copy, Debug)]
pub struct ProducerProgress {
    /// When the client was made.
    pub born: Tick,
    /// When something was acknowledged last.
    pub acknowledged: Option<Tick>,
    /// Since when the oldest message waits.
    pub oldest: Option<Tick>,
    /// Clients given up in a row before this one.
    pub failures: u32,
}

/// Whether a client is to be given up.
pub fn is_stuck(progress: &ProducerProgress, patience: &ProducerTimeouts, now: Tick) -> bool {
    let Some(oldest) = progress.oldest else { return false };
    let heard = progress.acknowledged.unwrap_or(progress.born).max(oldest);
    let pause = patience.pause * 2u32.pow(progress.failures.min(4));
    now.since(heard) >= patience.stuck && now.since(progress.born) >= pause.max(patience.stuck)
}

/// A lane's producer.
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
    /// What waits for an acknowledgement: since when, and whom to tell that it is given up.
    waiting: BTreeMap<u64, (Tick, oneshot::Sender<()>)>,
    /// With the seeded bug that keeps them: clients that were replaced.
    kept: Vec<Arc<dyn Producer>>,
}

impl ProducerClient {
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

    /// Sends a message; it takes its place when this is called.
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
        // Forgotten with the future: what nobody waits for says nothing about the client.
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

    /// Replaces the producer if it does not get on; says whether it did.
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
        // The old client first: what it still holds must not be sent once its writers know.
        drop(old);
        drop(waiting);
        true
    }

    /// How many clients have been given up.
    pub fn replaced(&self) -> u32 {
        self.state.lock().attempt
    }
}

/// A message that waits for its acknowledgement.
struct PendingMessage {
    client: Arc<ProducerClient>,
    number: u64,
}

impl PendingMessage {
    fn acknowledged(&self) {
        let now = self.client.env.clock.now();
        let mut state = self.client.state.lock();
        // An acknowledgement of a client that has been replaced says nothing about its successor.
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
