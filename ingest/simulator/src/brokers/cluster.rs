//! The whole state of the cluster and its clients, and the dispatch of events.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ingest::env::Random as _;
use parking_lot::Mutex;

use super::BROKERS;
use super::call::AdminCall;
use super::config::BrokerConfig;
use super::consumer::Reader;
use super::controller::Controller;
use super::exchange::{ClientAnswer, ClientId, ClientRequest};
use super::network::{Network, ProcessState};
use super::partition::Partition;
use super::producer::ProducerPipe;
use crate::executor::{ProcessLife, TimerOwner, World};
use crate::random::SimRandom;

/// The cluster, shared by handles, clients and timers.
pub type SharedCluster = Mutex<Cluster>;

/// An event that reaches a broker or is due there.
pub enum BrokerEvent {
    /// A client's request arrives.
    Request { client: ClientId, connection: u64, request: ClientRequest },
    /// A node's request without a client arrives.
    Call(AdminCall),
    /// A follower's fetch reaches its leader.
    FetchArrives(FollowerFetch, FollowerHolding),
    /// The leader's answer reaches its follower.
    FetchReturns(FollowerFetch),
    /// Time for a leader to send idle followers its high watermark.
    Refresh { partition: usize, epoch: u32 },
    /// Time for a leader to give up a deletion that has not reached its followers.
    DeletionExpires { partition: usize, number: u64 },
    /// The controllers' decisions arrive.
    Decisions,
}

/// A fetch of one follower for one partition.
#[derive(Clone, Copy)]
pub struct FollowerFetch {
    pub partition: usize,
    pub follower: usize,
    pub leader: usize,
    pub epoch: u32,
    /// Unique among all fetches.
    pub number: u64,
}

/// The state of a follower's log when it fetches.
#[derive(Clone, Copy)]
pub struct FollowerHolding {
    /// The end of its log.
    pub position: u64,
    pub start: u64,
    pub high_watermark: u64,
    /// True when the follower knows that its log is a part of this leader's.
    pub is_checked: bool,
}

/// An event in a client's process.
pub enum ClientEvent {
    /// A broker's answer arrives.
    Answer { connection: u64, broker: usize, answer: ClientAnswer },
    /// Time to look for the leader.
    Search { connection: u64 },
    /// Time to check for overdue answers.
    Scan,
}

/// An event at the controllers.
pub enum ControllerDecision {
    /// A broker has been away for as long as a session lasts.
    SessionExpires { broker: usize, absence: u64 },
    /// A broker that was replaced or restarted is back.
    Registers { broker: usize, start: u64 },
    /// A leader has not reached a follower for too long.
    LagExpires { partition: usize, epoch: u32, leader: usize, follower: usize },
}

/// An event of the cluster, delivered by a timer of the world.
pub enum ClusterEvent {
    Broker(usize, BrokerEvent),
    Client(ClientId, ClientEvent),
    Controllers(ControllerDecision),
}

/// A simulated cluster with its clients; see the module's description.
pub struct Cluster {
    pub world: Arc<World>,
    pub random: SimRandom,
    pub knobs: BrokerConfig,
    pub network: Network,
    pub controller: Controller,
    pub partitions: Vec<Partition>,
    pub pipes: Vec<ProducerPipe>,
    pub readers: Vec<Reader>,
    /// Events that have reached paused brokers, in order.
    pub inboxes: [Vec<BrokerEvent>; BROKERS],
    /// Number of producers' requests that each broker has acknowledged.
    pub acknowledgements: [u64; BROKERS],
    /// Number of times that each node's clients have been ended.
    pub deaths: BTreeMap<usize, u64>,
    pub next_fetch: u64,
    pub next_deletion: u64,
    me: Weak<SharedCluster>,
}

impl Cluster {
    /// Makes a cluster whose partitions are empty and have a leader and followers. Consumes one number
    /// of the world's randomness, from which all random decisions of the cluster follow.
    pub fn new(
        world: &Arc<World>,
        partitions: usize,
        draw: impl FnOnce(&SimRandom) -> BrokerConfig,
    ) -> Arc<SharedCluster> {
        let random = SimRandom::new(world.random.next());
        let knobs = draw(&random);
        let partitions = (0..partitions).map(|number| Partition::new(number % BROKERS)).collect();
        let shared = Arc::new_cyclic(|me| {
            Mutex::new(Self {
                world: world.clone(),
                random,
                knobs,
                network: Network::new(),
                controller: Controller::default(),
                partitions,
                pipes: Vec::new(),
                readers: Vec::new(),
                inboxes: Default::default(),
                acknowledgements: [0; BROKERS],
                deaths: BTreeMap::new(),
                next_fetch: 0,
                next_deletion: 0,
                me: me.clone(),
            })
        });
        {
            // Before the first client, so that every partition has a leader from the beginning.
            let mut cluster = shared.lock();
            (0..BROKERS).for_each(|broker| cluster.hear_decisions(broker));
        }
        shared
    }

    /// Adds an event with the present time to the world's history. Must be called for every event that
    /// can differ between runs.
    pub fn trace(&self, event: std::fmt::Arguments<'_>) {
        self.world.trace.event(format_args!("{} {event}", self.world.now().nanos()));
    }

    /// Number of times that a node's clients have been ended. A producer compares it with the number at
    /// its own start, and fails when the two differ.
    pub fn deaths(&self, node: usize) -> u64 {
        self.deaths.get(&node).copied().unwrap_or(0)
    }

    /// Draws a time below `max`; zero when `max` is zero. Any other call advances the cluster's
    /// randomness, so the order of calls matters.
    pub fn draw(&self, max: Duration) -> Duration {
        Duration::from_nanos(self.random.below(max.as_nanos() as u64))
    }

    /// Draws the time that a message takes from one process to another. Messages of different
    /// connections may therefore change their order.
    pub fn hop(&self) -> Duration {
        self.draw(self.knobs.hop_max)
    }

    /// Delivers an event after a delay, at a broker or at the controllers, even if every node stops
    /// before.
    pub fn after(&self, delay: Duration, event: ClusterEvent) {
        self.after_of(TimerOwner::World, delay, event);
    }

    /// Delivers an event to a client in a node's process after a delay: later while the node is paused,
    /// and never after the end of that life.
    pub fn after_in(
        &self,
        life: ProcessLife,
        delay: Duration,
        client: ClientId,
        event: ClientEvent,
    ) {
        self.after_of(TimerOwner::Process(life), delay, ClusterEvent::Client(client, event));
    }

    /// Delivers an event by a timer of the given owner.
    fn after_of(&self, owner: TimerOwner, delay: Duration, event: ClusterEvent) {
        // A timer must not keep the cluster alive: it may be set for a time long after the cluster's
        // last use.
        let me = self.me.clone();
        let happen = move || {
            if let Some(cluster) = me.upgrade() {
                cluster.lock().happen(event);
            }
        };
        self.world.after(owner, delay, Box::new(happen));
    }

    /// Dispatches an event that is due.
    fn happen(&mut self, event: ClusterEvent) {
        match event {
            ClusterEvent::Broker(broker, event) => self.reach_broker(broker, event),
            ClusterEvent::Client(client, event) => self.at_client(client, event),
            ClusterEvent::Controllers(decision) => self.at_controllers(decision),
        }
    }

    /// Delivers an event to a broker's machine. A paused process takes it later, and a process that is
    /// down never does.
    fn reach_broker(&mut self, broker: usize, event: BrokerEvent) {
        match self.network.process(broker) {
            ProcessState::Up => self.at_broker(broker, event),
            ProcessState::Paused => {
                if let BrokerEvent::Request { client, .. } = &event {
                    self.notice_trouble(*client);
                }
                self.inboxes[broker].push(event);
            }
            ProcessState::Down => match event {
                BrokerEvent::Request { client, connection, .. } => {
                    self.answer(client, connection, broker, ClientAnswer::Reset);
                }
                BrokerEvent::Call(call) => self.fail_call(call),
                BrokerEvent::FetchArrives(fetch, _) => self.end_fetch(fetch),
                // The events that were due in the process ended with it.
                BrokerEvent::FetchReturns(_)
                | BrokerEvent::Refresh { .. }
                | BrokerEvent::DeletionExpires { .. }
                | BrokerEvent::Decisions => {}
            },
        }
    }

    /// Processes an event at a running broker. Called in the order of arrival, also for the events of a
    /// pause.
    pub fn at_broker(&mut self, broker: usize, event: BrokerEvent) {
        match event {
            BrokerEvent::Request { client, connection, request } => {
                self.take_request(broker, client, connection, request);
            }
            BrokerEvent::Call(call) => self.take_call(broker, call),
            BrokerEvent::FetchArrives(fetch, holding) => self.answer_fetch(fetch, holding),
            BrokerEvent::FetchReturns(fetch) => self.take_fetched(fetch),
            BrokerEvent::Refresh { partition, epoch } => {
                self.refresh_followers(partition, broker, epoch);
            }
            BrokerEvent::DeletionExpires { partition, number } => {
                self.expire_deletion(partition, broker, number);
            }
            BrokerEvent::Decisions => self.hear_decisions(broker),
        }
    }
}
