//! Producers: messages in the order of their sends, each at most once.
//!
//! A producer has a pipe to each partition. A pipe numbers its messages, keeps a few requests in
//! flight, and sends unacknowledged messages again in order; the broker drops those that it has. Only a
//! message that is too old is given up, and with it all messages in flight, because later ones must not
//! be accepted before the outcome of earlier ones is fixed. The pipe then continues under a new
//! producer epoch, after which brokers refuse the rest of the old one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use ingest::env::Fut;
use ingest::ids::PartitionId;
use ingest::log::brokers::{Producer, SendError};
use ingest::time::Tick;
use parking_lot::Mutex;

use super::cluster::{Cluster, SharedCluster};
use super::discovery::{ContactState, LeaderContact};
use super::exchange::{ClientAnswer, ClientId, ClientRequest, MessageBatch};
use super::partition::{PendingProduce, ReplicaRole};
use super::replica_log::{AppendVerdict, LogEntry, ProducerStamp};
use crate::executor::ProcessLife;

/// The most requests that a pipe keeps in flight.
const FLIGHTS_MAX: usize = 5;
/// The longest message in bytes: Kafka's default less a little for the envelope.
const MESSAGE_BYTES_MAX: usize = 1_000_000;
/// The most messages that wait in one pipe.
const QUEUE_MESSAGES_MAX: usize = 100_000;

/// Takes the outcome of a message.
pub type ProduceReply = oneshot::Sender<Result<(), SendError>>;

/// A producer's messages for one partition.
pub struct ProducerPipe {
    pub contact: LeaderContact,
    /// Messages that are not in flight, in order.
    queue: VecDeque<OutgoingMessage>,
    /// Requests in flight, in order.
    flights: VecDeque<InFlightRequest>,
    epoch: u32,
    next_sequence: u64,
    is_dropped: bool,
    /// Time until which the pipe continues after its producer is gone; none if it does not.
    goes_on_until: Option<Tick>,
    /// Delay of the batches that were on their way when the producer was dropped.
    held_up: Option<Duration>,
}

/// A message of a pipe.
struct OutgoingMessage {
    sequence: u64,
    value: Bytes,
    born: Tick,
    /// True after the first attempt to send it.
    is_sent: bool,
    /// None once the outcome has been reported.
    reply: Option<ProduceReply>,
}

impl OutgoingMessage {
    /// Reports the outcome, unless that has happened before.
    fn report(&mut self, result: Result<(), SendError>) {
        if let Some(reply) = self.reply.take() {
            // The sender may have dropped its future.
            let _ = reply.send(result);
        }
    }

    /// Reports a failure: unknown if the message was ever sent, otherwise not sent.
    fn fail(&mut self, reason: &str) {
        self.report(Err(match self.is_sent {
            true => SendError::Unknown(reason.into()),
            false => SendError::NotSent(reason.into()),
        }));
    }
}

/// A request in flight.
struct InFlightRequest {
    sent: Tick,
    messages: Vec<OutgoingMessage>,
}

impl ProducerPipe {
    /// A pipe of a process that asks the given broker for the leader first. Sends nothing before it has
    /// a message.
    pub fn new(life: ProcessLife, partition: usize, first_asked: usize) -> Self {
        Self {
            contact: LeaderContact::new(life, partition, first_asked),
            queue: VecDeque::new(),
            flights: VecDeque::new(),
            epoch: 0,
            next_sequence: 1,
            is_dropped: false,
            goes_on_until: None,
            held_up: None,
        }
    }

    /// True while a message waits or is in flight. Only then must the pipe look for the leader.
    pub fn has_work(&self) -> bool {
        !self.queue.is_empty() || !self.flights.is_empty()
    }

    /// Time at which the oldest request in flight was sent; none while there is none. An answer is
    /// overdue after that.
    pub fn oldest_flight(&self) -> Option<Tick> {
        self.flights.front().map(|flight| flight.sent)
    }

    /// Time at which the oldest message was accepted.
    fn oldest_message(&self) -> Option<Tick> {
        let flying = self.flights.front().and_then(|flight| flight.messages.first());
        flying.or(self.queue.front()).map(|message| message.born)
    }
}

impl Cluster {
    /// Queues a message behind all earlier ones and sends it as soon as possible. Fails at once when
    /// the message is too long or the queue is full; the outcome otherwise comes through `reply`.
    pub fn send(&mut self, number: usize, value: Bytes, reply: ProduceReply) {
        let now = self.world.now();
        let pipe = &mut self.pipes[number];
        let sequence = pipe.next_sequence;
        let mut message =
            OutgoingMessage { sequence, value, born: now, is_sent: false, reply: Some(reply) };
        if message.value.len() > MESSAGE_BYTES_MAX {
            return message.fail("the message is too long");
        }
        if pipe.queue.len() >= QUEUE_MESSAGES_MAX {
            return message.fail("the queue is full");
        }
        pipe.next_sequence += 1;
        pipe.queue.push_back(message);
        self.pump(number);
    }

    /// Sends queued messages in order, as long as the leader is known and few enough requests are in
    /// flight. Starts a search for the leader otherwise.
    pub fn pump(&mut self, number: usize) {
        let client = ClientId::Pipe(number);
        loop {
            let now = self.world.now();
            let pipe = &mut self.pipes[number];
            if pipe.queue.is_empty() || pipe.flights.len() >= FLIGHTS_MAX {
                return;
            }
            let broker = match pipe.contact.stand {
                ContactState::At(broker) => broker,
                ContactState::Away => return self.search(client, Duration::ZERO),
                ContactState::Searching | ContactState::Asking(_) => return,
            };
            let messages_max = 1 + self.random.below(self.knobs.request_messages_max);
            let count = pipe.queue.len().min(messages_max as usize);
            let mut messages: Vec<OutgoingMessage> = pipe.queue.drain(..count).collect();
            messages.iter_mut().for_each(|message| message.is_sent = true);
            let batch = MessageBatch {
                pipe: number,
                producer_epoch: pipe.epoch,
                first: messages[0].sequence,
                values: messages.iter().map(|message| message.value.clone()).collect(),
                is_late: false,
            };
            pipe.flights.push_back(InFlightRequest { sent: now, messages });
            self.request(client, broker, ClientRequest::Produce(batch));
            self.scan_soon(client);
        }
    }

    /// Moves the messages in flight back to the front of the queue, in order. Called when the
    /// connection is dropped, before they are sent again.
    pub fn take_back(&mut self, number: usize) {
        let pipe = &mut self.pipes[number];
        while let Some(flight) = pipe.flights.pop_back() {
            flight.messages.into_iter().rev().for_each(|message| pipe.queue.push_front(message));
        }
    }

    /// Processes the leader's answer to the oldest request: reports its messages as committed, or
    /// begins a new epoch when the broker misses earlier ones.
    pub fn take_report(&mut self, number: usize, answer: ClientAnswer) {
        let pipe = &mut self.pipes[number];
        let oldest = pipe.flights.front().map(|flight| flight.messages[0].sequence);
        match answer {
            ClientAnswer::Acknowledged { first } if oldest == Some(first) => {
                for mut message in pipe.flights.pop_front().into_iter().flat_map(|f| f.messages) {
                    message.report(Ok(()));
                }
                self.trace(format_args!("pipe {number} is told that {first} is committed"));
                self.pump(number);
            }
            // The earlier messages are acknowledged and truncated since, or this request has overtaken
            // them.
            ClientAnswer::OutOfOrder { first } if oldest == Some(first) => {
                self.begin_anew(number, 0, "the broker misses what came before it");
            }
            _ => {}
        }
    }

    /// Gives up messages that have been tried for too long, with an unknown outcome, and ends a dropped
    /// pipe whose time is over.
    pub fn expire(&mut self, number: usize) {
        let now = self.world.now();
        let timeout = self.knobs.message_timeout;
        let pipe = &mut self.pipes[number];
        if pipe.is_dropped {
            if pipe.goes_on_until.is_none_or(|until| until <= now) {
                pipe.queue.clear();
                pipe.flights.clear();
                pipe.contact.is_closed = true;
            }
            return;
        }
        if pipe.oldest_message().is_some_and(|born| now.since(born) >= timeout) {
            self.take_back(number);
            let is_old = |message: &&OutgoingMessage| now.since(message.born) >= timeout;
            let old = self.pipes[number].queue.iter().take_while(is_old).count();
            self.begin_anew(number, old, "nobody acknowledged it in time");
        }
    }

    /// Gives up the first `messages` messages and all that have been sent, and numbers the rest in a
    /// new epoch.
    fn begin_anew(&mut self, number: usize, messages: usize, reason: &str) {
        self.take_back(number);
        let pipe = &mut self.pipes[number];
        let sent = pipe.queue.iter().take_while(|message| message.is_sent).count();
        let given_up = messages.max(sent).min(pipe.queue.len());
        pipe.queue.drain(..given_up).for_each(|mut message| message.fail(reason));
        pipe.epoch += 1;
        for (message, sequence) in pipe.queue.iter_mut().zip(1..) {
            message.sequence = sequence;
        }
        pipe.next_sequence = pipe.queue.len() as u64 + 1;
        self.trace(format_args!("pipe {number} gives up {given_up}"));
        let client = ClientId::Pipe(number);
        let delay = self.backoff(client);
        self.search(client, delay);
    }

    /// Ends the pipe of a dropped producer. While its process lives, the pipe may continue for a while.
    pub fn drop_pipe(&mut self, number: usize) {
        let lives = self.world.is_current(self.pipes[number].contact.life);
        self.close_pipe(number, lives);
    }

    /// Ends a pipe: all its messages fail at once. If `may_go_on`, it may still send those that were
    /// sent before, for a while. Batches on their way may arrive late in any case.
    pub fn close_pipe(&mut self, number: usize, may_go_on: bool) {
        let now = self.world.now();
        // Drawn in any case, so that later draws do not depend on the state of this pipe.
        let is_late = self.random.chance(self.knobs.late_percent);
        let late = self.draw(self.knobs.late_max);
        self.take_back(number);
        let pipe = &mut self.pipes[number];
        if std::mem::replace(&mut pipe.is_dropped, true) {
            return;
        }
        for message in &mut pipe.queue {
            message.fail("the producer was dropped");
        }
        pipe.queue.retain(|message| message.is_sent);
        pipe.held_up = is_late.then_some(late);
        if is_late && may_go_on {
            pipe.goes_on_until = Some(Tick::from_nanos(now.nanos() + late.as_nanos() as u64));
            let delay = self.draw(late);
            self.search(ClientId::Pipe(number), delay);
        } else {
            pipe.queue.clear();
            pipe.contact.is_closed = true;
        }
    }

    /// The delay of a batch that an ended producer still had on its way; none for all others, and after
    /// the first delay.
    pub fn hold_up(&self, batch: &mut MessageBatch) -> Option<Duration> {
        match std::mem::replace(&mut batch.is_late, true) {
            true => None,
            false => self.pipes[batch.pipe].held_up,
        }
    }

    /// Appends a batch at a broker that leads and may commit, and answers only once the batch is
    /// committed. Duplicates are skipped; a gap in the sequences refuses the rest of the batch.
    pub fn take_batch(&mut self, broker: usize, connection: u64, batch: MessageBatch) {
        let number = batch.pipe;
        let client = ClientId::Pipe(number);
        let partition = self.pipes[number].contact.partition;
        let time = self.world.wall();
        let gap_percent = self.knobs.gap_percent;
        let replica = &mut self.partitions[partition].replicas[broker];
        let epoch = replica.heard.epoch;
        let refusal = match &replica.role {
            ReplicaRole::Leader(leading) if leading.may_commit() => None,
            ReplicaRole::Leader(_) => Some(ClientAnswer::NotEnoughReplicas),
            ReplicaRole::None | ReplicaRole::Follower(_) => Some(ClientAnswer::NotLeader),
        };
        if let Some(refusal) = refusal {
            return self.answer(client, connection, broker, refusal);
        }
        let before = replica.log.end();
        let mut checksum = 0;
        for (value, sequence) in batch.values.into_iter().zip(batch.first..) {
            let stamp = ProducerStamp { producer: number, epoch: batch.producer_epoch, sequence };
            match replica.log.judge(stamp) {
                AppendVerdict::Duplicate => {}
                AppendVerdict::OutOfOrder => {
                    let answer = ClientAnswer::OutOfOrder { first: batch.first };
                    return self.answer(client, connection, broker, answer);
                }
                AppendVerdict::New => {
                    let is_gap = gap_percent > 0 && self.random.chance(gap_percent);
                    let gap = if is_gap { 1 + self.random.below(3) } else { 0 };
                    let offset = replica.log.end() + gap;
                    checksum = crc32c::crc32c_append(checksum, &value);
                    replica.log.append(LogEntry::new(offset, time, epoch, stamp, value));
                }
            }
        }
        let end = replica.log.end();
        if let Some(leading) = replica.leading() {
            leading.pending.push_back(PendingProduce {
                needs: end,
                client,
                connection,
                first: batch.first,
            });
        }
        if end > before {
            self.trace(format_args!(
                "p{partition} b{broker} appends {before}..{end} of pipe {number}: {checksum}"
            ));
            self.wake_followers(partition, broker);
        }
        self.settle(partition, broker);
    }
}

/// A producer as its node holds it: the numbers of its pipes. Dropping it ends them.
pub struct SimProducer {
    pub cluster: Arc<SharedCluster>,
    pub life: ProcessLife,
    /// Number of times that the node's clients had been ended when this producer was made.
    pub deaths: u64,
    /// The broker that each pipe asks first.
    pub first_asked: usize,
    pub pipes: Mutex<BTreeMap<usize, usize>>,
}

impl SimProducer {
    /// The reason why nothing can be sent, if there is one.
    fn refusal(&self, cluster: &Cluster, partition: usize) -> Option<String> {
        if partition >= cluster.partitions.len() {
            return Some(format!("there is no partition {partition}"));
        }
        let has_ended =
            self.deaths != cluster.deaths(self.life.node) || !cluster.world.is_current(self.life);
        has_ended.then(|| "the producer's process has ended".into())
    }
}

impl Producer for SimProducer {
    fn send(&self, partition: PartitionId, value: Bytes) -> Fut<'static, Result<(), SendError>> {
        let partition = partition.get() as usize;
        let (reply, receiver) = oneshot::channel();
        let mut cluster = self.cluster.lock();
        if let Some(refusal) = self.refusal(&cluster, partition) {
            return Box::pin(std::future::ready(Err(SendError::NotSent(refusal))));
        }
        let pipe = *self.pipes.lock().entry(partition).or_insert_with(|| {
            cluster.pipes.push(ProducerPipe::new(self.life, partition, self.first_asked));
            cluster.pipes.len() - 1
        });
        cluster.send(pipe, value, reply);
        drop(cluster);
        Box::pin(async move {
            let gone = |_| Err(SendError::Unknown("the producer was dropped".into()));
            receiver.await.unwrap_or_else(gone)
        })
    }
}

impl Drop for SimProducer {
    fn drop(&mut self) {
        let mut cluster = self.cluster.lock();
        self.pipes.lock().values().for_each(|pipe| cluster.drop_pipe(*pipe));
    }
}
