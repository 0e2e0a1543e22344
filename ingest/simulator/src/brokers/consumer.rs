//! Consumers: committed messages in order, from the broker that the consumer believes to lead.
//!
//! A fetch that finds nothing new waits at the broker. A consumer at a deposed leader, which answers
//! and commits nothing, therefore waits without an error.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ingest::env::Fut;
use ingest::ids::Offset;
use ingest::log::brokers::{CommittedMessage, ConsumeError, Consumer};

use super::BROKERS;
use super::cluster::{Cluster, SharedCluster};
use super::discovery::{ContactState, LeaderContact};
use super::exchange::{ClientAnswer, ClientId, ClientRequest};
use super::partition::{ParkedReader, ReplicaRole};
use super::replica_log::LogEntry;
use crate::executor::ProcessLife;

/// The most bytes of one delivery.
const DELIVERY_BYTES_MAX: usize = 2 << 20;

/// The state of a consumer.
pub struct Reader {
    pub contact: LeaderContact,
    /// The offset to fetch next.
    from: u64,
    /// Messages that were fetched and not returned yet.
    fetched: VecDeque<CommittedMessage>,
    error: Option<ConsumeError>,
    waker: Option<Waker>,
    /// True while a fetch is under way.
    pub is_fetching: bool,
}

impl Reader {
    /// A consumer that begins at an offset and asks the given broker for the leader first. Sends
    /// nothing before it is polled.
    pub fn new(life: ProcessLife, partition: usize, from: u64, first_asked: usize) -> Self {
        Self {
            contact: LeaderContact::new(life, partition, first_asked),
            from,
            fetched: VecDeque::new(),
            error: None,
            waker: None,
            is_fetching: false,
        }
    }

    /// True while a task waits for messages. Only then must the client keep looking for the leader.
    pub fn is_awaited(&self) -> bool {
        self.waker.is_some()
    }

    /// Wakes the task that waits for messages, if any.
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Sets the error that the next poll returns.
    fn fail(&mut self, error: ConsumeError) {
        self.error = Some(error);
        self.wake();
    }
}

/// The message of a log entry, as consumers see it. The caller must check first that the entry is
/// committed.
pub fn message(entry: &LogEntry) -> CommittedMessage {
    CommittedMessage {
        offset: Offset::new(entry.offset),
        time: entry.time,
        value: entry.value.clone(),
    }
}

impl Cluster {
    /// Returns fetched messages or an error, or continues the search for messages and registers the
    /// waiting task.
    fn poll_next(
        &mut self,
        number: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<Vec<CommittedMessage>, ConsumeError>> {
        let client = ClientId::Reader(number);
        let reader = &mut self.readers[number];
        if !reader.fetched.is_empty() {
            return Poll::Ready(Ok(self.hand_out(number)));
        }
        if let Some(error) = reader.error.take() {
            return Poll::Ready(Err(error));
        }
        if reader.contact.is_closed {
            let ended = ConsumeError::Unavailable("the consumer has ended".into());
            return Poll::Ready(Err(ended));
        }
        reader.waker = Some(context.waker().clone());
        match reader.contact.stand {
            ContactState::Away => self.search(client, Duration::ZERO),
            ContactState::At(_) => self.fetch_more(number),
            ContactState::Searching | ContactState::Asking(_) => {}
        }
        if self.readers[number].contact.waits_since.is_some() {
            self.scan_soon(client);
        }
        Poll::Pending
    }

    /// Returns some of the fetched messages, at least one, in order.
    fn hand_out(&mut self, number: usize) -> Vec<CommittedMessage> {
        // Of random length, so that no caller relies on the borders of deliveries.
        let count = 1 + self.random.below(self.knobs.delivery_messages_max);
        let reader = &mut self.readers[number];
        let mut bytes = 0;
        let fits = |message: &&CommittedMessage| {
            bytes += message.value.len();
            bytes <= DELIVERY_BYTES_MAX
        };
        let count = reader.fetched.iter().take(count as usize).take_while(fits).count().max(1);
        let messages: Vec<CommittedMessage> = reader.fetched.drain(..count).collect();
        let partition = reader.contact.partition;
        let first = messages[0].offset;
        self.trace(format_args!("p{partition} consumer {number} delivers {count} from {first}"));
        messages
    }

    /// Sends the next fetch to the leader, unless one is under way or fetched messages still wait.
    pub fn fetch_more(&mut self, number: usize) {
        let reader = &mut self.readers[number];
        let ContactState::At(broker) = reader.contact.stand else { return };
        if reader.is_fetching || !reader.fetched.is_empty() {
            return;
        }
        reader.is_fetching = true;
        let from = reader.from;
        self.request(ClientId::Reader(number), broker, ClientRequest::Fetch { from });
    }

    /// Answers a consumer's fetch at a broker: now, or only once there is a new committed message. A
    /// broker that does not lead answers so, and an offset outside the log is an error.
    pub fn serve(&mut self, broker: usize, client: ClientId, connection: u64, from: u64) {
        let partition = self.contact(client).partition;
        let replica = &mut self.partitions[partition].replicas[broker];
        let log = &replica.log;
        let ReplicaRole::Leader(leading) = &mut replica.role else {
            return self.answer(client, connection, broker, ClientAnswer::NotLeader);
        };
        if from < log.start() || from > log.end() {
            return self.answer(client, connection, broker, ClientAnswer::OutOfRange);
        }
        let mut bytes = 0;
        let fits = |entry: &&LogEntry| {
            let is_first = bytes == 0;
            bytes += entry.value.len();
            is_first || bytes <= DELIVERY_BYTES_MAX
        };
        let messages: Vec<CommittedMessage> =
            log.committed_from(from).take_while(fits).map(message).collect();
        if messages.is_empty() {
            leading.readers.push(ParkedReader { client, connection, from });
        } else {
            self.answer(client, connection, broker, ClientAnswer::Messages(messages));
        }
    }

    /// Serves the waiting fetches of consumers again. Called after the leader has committed messages;
    /// fetches of closed and broken connections are dropped.
    pub fn serve_parked(&mut self, partition: usize, broker: usize) {
        let Some(leading) = self.partitions[partition].replicas[broker].leading() else { return };
        for parked in std::mem::take(&mut leading.readers) {
            let contact = self.contact(parked.client);
            let is_there = !contact.is_closed && contact.connection == parked.connection;
            if is_there && !contact.is_broken() {
                self.serve(broker, parked.client, parked.connection, parked.from);
            }
        }
    }

    /// Processes the leader's answer to a fetch: messages move the next offset, an offset outside the
    /// log becomes the consumer's error.
    pub fn take_messages(&mut self, number: usize, answer: ClientAnswer) {
        let reader = &mut self.readers[number];
        match answer {
            ClientAnswer::Messages(messages) => {
                if let Some(last) = messages.last() {
                    reader.from = last.offset.get() + 1;
                }
                reader.fetched.extend(messages);
                reader.is_fetching = false;
                reader.wake();
            }
            ClientAnswer::OutOfRange => {
                reader.is_fetching = false;
                reader.fail(ConsumeError::OutOfRange);
            }
            _ => {}
        }
    }

    /// Fails a consumer after as many searches in a row have failed as there are brokers. The consumer
    /// may be polled again after that.
    pub fn report_failures(&mut self, number: usize) {
        let reader = &mut self.readers[number];
        if reader.contact.failures as usize >= BROKERS {
            reader.contact.failures = 0;
            reader.fail(ConsumeError::Unavailable("no broker knows the leader".into()));
        }
    }

    /// Ends a consumer that was dropped or whose process has ended. Messages that were fetched and not
    /// returned are lost to it.
    pub fn close_reader(&mut self, number: usize) {
        let reader = &mut self.readers[number];
        reader.contact.is_closed = true;
        reader.fetched.clear();
        reader.wake();
    }
}

/// A consumer as its node holds it. Dropping it ends the consumer.
pub struct SimConsumer {
    pub cluster: Arc<SharedCluster>,
    pub number: usize,
}

impl Consumer for SimConsumer {
    fn next(&mut self) -> Fut<'_, Result<Vec<CommittedMessage>, ConsumeError>> {
        let poll = |context: &mut Context<'_>| self.cluster.lock().poll_next(self.number, context);
        Box::pin(std::future::poll_fn(poll))
    }
}

impl Drop for SimConsumer {
    fn drop(&mut self) {
        self.cluster.lock().close_reader(self.number);
    }
}
