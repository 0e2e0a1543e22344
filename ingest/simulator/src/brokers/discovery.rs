//! The connection of a client to the leader of its partition: how it is found, kept, and recognized as lost.
//!
//! ```text
//!   Away ──search──► Searching ──► Asking(any broker) ──its belief──► At(leader)
//!                        ▲               │ no reply                     │ refused, reset, no answer
//!                        └───────────────┴──────────────────────────────┘
//! ```
//!
//! Requests and answers of one connection keep their order: a lost one takes all behind it with it. A
//! client notices by itself only that an answer is overdue, after one to two seconds.

use std::time::Duration;

use ingest::time::Tick;

use super::BROKERS;
use super::cluster::{BrokerEvent, ClientEvent, Cluster, ClusterEvent};
use super::exchange::{ClientAnswer, ClientId, ClientRequest};
use crate::executor::ProcessLife;

/// The state of a client's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContactState {
    /// No leader is needed.
    Away,
    /// A broker will be asked for the leader after a delay.
    Searching,
    /// Waiting for this broker's answer to the question who leads.
    Asking(usize),
    /// Connected to this broker, which the client believes to lead.
    At(usize),
}

/// A client's connection to the leader of its partition.
pub struct LeaderContact {
    pub life: ProcessLife,
    pub partition: usize,
    pub stand: ContactState,
    /// Number of the present connection. Answers on older ones are ignored.
    pub connection: u64,
    /// The newest connection that has lost a message, as only the world knows.
    pub broken: u64,
    /// Number of searches in a row without a reply.
    pub failures: u32,
    /// Number of searches and connections in a row without success.
    fruitless: u32,
    pub is_closed: bool,
    /// Time since which an answer is overdue.
    pub waits_since: Option<Tick>,
    /// The newest epoch that a broker has named. Older ones are ignored.
    epoch: u32,
    next_asked: usize,
    suspect: Option<usize>,
    last_request: Tick,
    last_answer: Tick,
    is_scanned: bool,
}

/// Time for which a client waits for an answer, checked at intervals.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Shortest interval between two checks; up to as much is added.
const SCAN: Duration = Duration::from_millis(500);

impl LeaderContact {
    /// A client of a process that asks the given broker for the leader first. Sends nothing before it
    /// has work.
    pub fn new(life: ProcessLife, partition: usize, first_asked: usize) -> Self {
        Self {
            life,
            partition,
            stand: ContactState::Away,
            connection: 1,
            broken: 0,
            failures: 0,
            fruitless: 0,
            is_closed: false,
            waits_since: None,
            epoch: 0,
            next_asked: first_asked,
            suspect: None,
            last_request: Tick::default(),
            last_answer: Tick::default(),
            is_scanned: false,
        }
    }

    /// True after the present connection has lost a message, even before the client notices.
    pub fn is_broken(&self) -> bool {
        self.broken >= self.connection
    }

    /// The next broker to ask: each in turn, except the one that has just failed.
    fn next_asked(&mut self) -> usize {
        loop {
            let broker = self.next_asked % BROKERS;
            self.next_asked += 1;
            if self.suspect.take() != Some(broker) {
                return broker;
            }
        }
    }
}

impl Cluster {
    /// The connection of a client. The client must exist; closed ones stay in the list and are never
    /// removed.
    pub fn contact(&mut self, client: ClientId) -> &mut LeaderContact {
        match client {
            ClientId::Pipe(number) => &mut self.pipes[number].contact,
            ClientId::Reader(number) => &mut self.readers[number].contact,
        }
    }

    /// Sends a request on the client's present connection, behind those sent before. The request may be
    /// lost on the way, of which the client learns only by a time-out.
    pub fn request(&mut self, client: ClientId, broker: usize, request: ClientRequest) {
        let (now, hop) = (self.world.now(), self.hop());
        let contact = self.contact(client);
        let delay = in_order(&mut contact.last_request, now, hop);
        let connection = contact.connection;
        let request = BrokerEvent::Request { client, connection, request };
        self.after(delay, ClusterEvent::Broker(broker, request));
    }

    /// Sends an answer on the connection of its request, behind those sent before. Dropped when that
    /// connection has lost a message, unless the answer is a reset.
    pub fn answer(
        &mut self,
        client: ClientId,
        connection: u64,
        broker: usize,
        answer: ClientAnswer,
    ) {
        let (now, hop) = (self.world.now(), self.hop());
        let contact = self.contact(client);
        // The end of a process is noticed on a connection that has lost a message as well.
        if connection <= contact.broken && !matches!(answer, ClientAnswer::Reset) {
            return;
        }
        let delay = in_order(&mut contact.last_answer, now, hop);
        let life = contact.life;
        self.after_in(life, delay, client, ClientEvent::Answer { connection, broker, answer });
    }

    /// Breaks a connection: all later messages on it are lost as well. The client learns of it only by
    /// a time-out.
    pub fn lose(&mut self, client: ClientId, connection: u64) {
        let contact = self.contact(client);
        contact.broken = contact.broken.max(connection);
        self.notice_trouble(client);
    }

    /// Starts the client's time-out for an answer that will not come in time. The client does not learn
    /// the reason, as in reality.
    pub fn notice_trouble(&mut self, client: ClientId) {
        let now = self.world.now();
        let contact = self.contact(client);
        if contact.waits_since.is_none() {
            contact.waits_since = Some(now);
        }
        self.scan_soon(client);
    }

    /// Schedules a check for overdue answers, unless one is scheduled already. Does not depend on the
    /// order of requests.
    pub fn scan_soon(&mut self, client: ClientId) {
        let delay = SCAN + self.draw(SCAN);
        let contact = self.contact(client);
        if !std::mem::replace(&mut contact.is_scanned, true) {
            let life = contact.life;
            self.after_in(life, delay, client, ClientEvent::Scan);
        }
    }

    /// Drops the present connection, if any, and looks for the leader after a delay. Answers that are
    /// still on the way are ignored.
    pub fn search(&mut self, client: ClientId, delay: Duration) {
        let contact = self.contact(client);
        contact.connection += 1;
        contact.waits_since = None;
        contact.stand = ContactState::Searching;
        let (life, connection) = (contact.life, contact.connection);
        self.after_in(life, delay, client, ClientEvent::Search { connection });
    }

    /// Draws the time before the next attempt of a client: longer with every failed attempt, up to two
    /// seconds.
    pub fn backoff(&mut self, client: ClientId) -> Duration {
        let millis = 20 + self.random.below(80);
        let contact = self.contact(client);
        contact.fruitless += 1;
        Duration::from_millis(millis << contact.fruitless.min(5).saturating_sub(1))
    }

    /// Processes a request that arrives at a running broker. Delays batches of a dropped producer, and
    /// loses requests when the connection is broken or cut.
    pub fn take_request(
        &mut self,
        broker: usize,
        client: ClientId,
        connection: u64,
        mut request: ClientRequest,
    ) {
        if let ClientRequest::Produce(batch) = &mut request
            && let Some(delay) = self.hold_up(batch)
        {
            let request = BrokerEvent::Request { client, connection, request };
            return self.after(delay, ClusterEvent::Broker(broker, request));
        }
        let contact = self.contact(client);
        if connection <= contact.broken {
            return;
        }
        let (node, partition) = (contact.life.node, contact.partition);
        if !self.network.serves(node, broker) {
            return self.lose(client, connection);
        }
        match request {
            ClientRequest::Leader => {
                let heard = self.partitions[partition].replicas[broker].heard;
                let answer = ClientAnswer::Leader(heard.leader, heard.epoch);
                self.answer(client, connection, broker, answer);
            }
            ClientRequest::Produce(batch) => self.take_batch(broker, connection, batch),
            ClientRequest::Fetch { from } => self.serve(broker, client, connection, from),
        }
    }

    /// Processes an event in a client's process. Called only while that process runs and is not paused.
    pub fn at_client(&mut self, client: ClientId, event: ClientEvent) {
        match event {
            ClientEvent::Answer { connection, broker, answer } => {
                self.take_answer(client, connection, broker, answer);
            }
            ClientEvent::Search { connection } => self.ask(client, connection),
            ClientEvent::Scan => self.scan(client),
        }
    }

    /// Asks the next broker for the leader, unless the client has no work any longer.
    fn ask(&mut self, client: ClientId, connection: u64) {
        if self.contact(client).connection != connection {
            return;
        }
        if let ClientId::Pipe(number) = client {
            self.expire(number);
        }
        if !self.is_wanted(client) {
            self.contact(client).stand = ContactState::Away;
            return;
        }
        let now = self.world.now();
        let contact = self.contact(client);
        let broker = contact.next_asked();
        contact.stand = ContactState::Asking(broker);
        contact.waits_since = Some(now);
        self.scan_soon(client);
        self.request(client, broker, ClientRequest::Leader);
    }

    /// Processes an answer at the client. Answers on older connections are ignored.
    fn take_answer(
        &mut self,
        client: ClientId,
        connection: u64,
        broker: usize,
        answer: ClientAnswer,
    ) {
        let contact = self.contact(client);
        let node = contact.life.node;
        if connection != contact.connection || contact.is_closed {
            return;
        }
        if !self.network.serves(node, broker) {
            return self.lose(client, connection);
        }
        let LeaderContact { stand, epoch: known, .. } = *self.contact(client);
        match (stand, answer) {
            (ContactState::Asking(_), ClientAnswer::Leader(Some(leader), epoch))
                if epoch >= known =>
            {
                self.turn_to(client, leader, epoch);
            }
            (ContactState::Asking(_), _) => self.fail_search(client),
            (ContactState::At(_), ClientAnswer::NotLeader | ClientAnswer::NotEnoughReplicas) => {
                self.disconnect(client, None);
            }
            (ContactState::At(_), ClientAnswer::Reset) => self.disconnect(client, Some(broker)),
            (ContactState::At(_), answer) => {
                self.contact(client).fruitless = 0;
                match client {
                    ClientId::Pipe(number) => self.take_report(number, answer),
                    ClientId::Reader(number) => self.take_messages(number, answer),
                }
            }
            (ContactState::Away | ContactState::Searching, _) => {}
        }
    }

    /// Connects a client to a leader, and sends its waiting requests.
    fn turn_to(&mut self, client: ClientId, leader: usize, epoch: u32) {
        let contact = self.contact(client);
        contact.epoch = epoch;
        contact.stand = ContactState::At(leader);
        contact.connection += 1;
        contact.failures = 0;
        contact.waits_since = None;
        match client {
            ClientId::Pipe(number) => self.pump(number),
            ClientId::Reader(number) => self.fetch_more(number),
        }
    }

    /// Schedules another search after one without success.
    fn fail_search(&mut self, client: ClientId) {
        let delay = self.backoff(client);
        self.contact(client).failures += 1;
        self.search(client, delay);
        if let ClientId::Reader(number) = client {
            self.report_failures(number);
        }
    }

    /// Drops the connection to the leader. The requests on it are sent again on the next one.
    fn disconnect(&mut self, client: ClientId, suspect: Option<usize>) {
        self.contact(client).suspect = suspect;
        let delay = self.backoff(client);
        match client {
            ClientId::Pipe(number) => self.take_back(number),
            ClientId::Reader(number) => self.readers[number].is_fetching = false,
        }
        self.search(client, delay);
    }

    /// True while a message or a waiting task needs the client.
    fn is_wanted(&self, client: ClientId) -> bool {
        match client {
            ClientId::Pipe(number) => self.pipes[number].has_work(),
            ClientId::Reader(number) => self.readers[number].is_awaited(),
        }
    }

    /// Checks if an answer is overdue, and tries another broker then.
    fn scan(&mut self, client: ClientId) {
        self.contact(client).is_scanned = false;
        if let ClientId::Pipe(number) = client {
            self.expire(number);
        }
        if !self.is_wanted(client) {
            return;
        }
        let now = self.world.now();
        let stand = self.contact(client).stand;
        let Some(since) = self.overdue_since(client) else { return };
        match stand {
            _ if now.since(since) < ANSWER_TIMEOUT => self.scan_soon(client),
            ContactState::Asking(broker) => {
                self.contact(client).suspect = Some(broker);
                self.fail_search(client);
            }
            ContactState::At(broker) => self.disconnect(client, Some(broker)),
            ContactState::Away | ContactState::Searching => {}
        }
    }

    /// Time since which a client waits for an answer that should have come at once.
    fn overdue_since(&mut self, client: ClientId) -> Option<Tick> {
        let contact = self.contact(client);
        let node = contact.life.node;
        let ContactState::At(broker) = contact.stand else { return contact.waits_since };
        let is_broken = contact.is_broken();
        match client {
            ClientId::Pipe(number) => self.pipes[number].oldest_flight(),
            // A broker that answers sends an empty answer from time to time, even a deposed leader.
            ClientId::Reader(_) if !is_broken && self.network.answers(node, broker) => {
                self.contact(client).waits_since = None;
                None
            }
            ClientId::Reader(_) => self.contact(client).waits_since,
        }
    }

    /// Sends a reset to every client that is connected to a broker whose process has ended. Requests on
    /// those connections are lost.
    pub fn reset_connections(&mut self, broker: usize) {
        let pipes = (0..self.pipes.len()).map(ClientId::Pipe);
        let readers = (0..self.readers.len()).map(ClientId::Reader);
        for client in pipes.chain(readers).collect::<Vec<_>>() {
            let contact = self.contact(client);
            if matches!(contact.stand, ContactState::Asking(to) | ContactState::At(to) if to == broker)
            {
                let connection = contact.connection;
                contact.broken = connection;
                self.answer(client, connection, broker, ClientAnswer::Reset);
            }
        }
    }

    /// Starts the time-outs of consumers whose broker does not answer them any longer. Called after a
    /// pause or a cut, since a waiting fetch would never notice by itself.
    pub fn notice_silence(&mut self) {
        for number in 0..self.readers.len() {
            let contact = &self.readers[number].contact;
            if let ContactState::At(broker) = contact.stand
                && !contact.is_closed
                && !self.network.answers(contact.life.node, broker)
            {
                self.notice_trouble(ClientId::Reader(number));
            }
        }
    }
}

/// The delay of a message that must not overtake the one before it.
fn in_order(last: &mut Tick, now: Tick, hop: Duration) -> Duration {
    let arrival = Tick::from_nanos(now.nanos() + hop.as_nanos() as u64).max(*last);
    *last = arrival;
    arrival.since(now)
}
