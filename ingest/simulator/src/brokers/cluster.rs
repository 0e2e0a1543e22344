//! Everything that the cluster and its clients are, and what happens next in them.

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

/// Something that reaches a broker, or is due there.
pub enum BrokerEvent {
    /// A client asks something.
    Request { client: ClientId, connection: u64, request: ClientRequest },
    /// A node asks something that needs no client.
    Call(AdminCall),
    /// A follower asks its leader for what follows.
    FetchArrives(FollowerFetch, FollowerHolding),
    /// The leader's answer reaches its follower.
    FetchReturns(FollowerFetch),
    /// A leader tells idle followers how far it has committed.
    Refresh { partition: usize, epoch: u32 },
    /// A leader gives up waiting until a deletion has reached its followers.
    DeletionExpires { partition: usize, number: u64 },
    /// What the controllers have decided.
    Decisions,
}

/// A follower's fetch.
#[derive(Clone, Copy)]
pub struct FollowerFetch {
    pub partition: usize,
    pub follower: usize,
    pub leader: usize,
    pub epoch: u32,
    /// No other fetch has it.
    pub number: u64,
}

/// What a follower has when it fetches.
#[derive(Clone, Copy)]
pub struct FollowerHolding {
    /// The end of its log.
    pub position: u64,
    pub start: u64,
    pub high_watermark: u64,
    /// Whether the follower knows that its log is part of this leader's.
    pub is_checked: bool,
}

/// Something that happens in a client's process.
pub enum ClientEvent {
    /// A broker's answer has come.
    Answer { connection: u64, broker: usize, answer: ClientAnswer },
    /// Time to look for the leader.
    Search { connection: u64 },
    /// Time to look for requests that wait too long.
    Scan,
}

/// Something that the controllers notice.
pub enum ControllerDecision {
    /// A broker has been away for as long as a session lasts.
    SessionExpires { broker: usize, absence: u64 },
    /// A broker that was replaced, or has been restarted, is back.
    Registers { broker: usize, start: u64 },
    /// A leader has missed a follower for too long.
    LagExpires { partition: usize, epoch: u32, leader: usize, follower: usize },
}

/// What happens.
pub enum ClusterEvent {
    Broker(usize, BrokerEvent),
    Client(ClientId, ClientEvent),
    Controllers(ControllerDecision),
}

/// See the module's description.
pub struct Cluster {
    pub world: Arc<World>,
    pub random: SimRandom,
    pub knobs: BrokerConfig,
    pub network: Network,
    pub controller: Controller,
    pub partitions: Vec<Partition>,
    pub pipes: Vec<ProducerPipe>,
    pub readers: Vec<Reader>,
    /// What has reached brokers that stand still.
    pub inboxes: [Vec<BrokerEvent>; BROKERS],
    /// How many requests of producers each broker has acknowledged.
    pub acknowledgements: [u64; BROKERS],
    /// How often the clients of each node have been ended.
    pub deaths: BTreeMap<usize, u64>,
    pub next_fetch: u64,
    pub next_deletion: u64,
    me: Weak<SharedCluster>,
}

impl Cluster {
    /// Makes a cluster whose partitions are led, followed and empty.
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
            let mut cluster = shared.lock();
            (0..BROKERS).for_each(|broker| cluster.hear_decisions(broker));
        }
        shared
    }

    /// Adds to the world's history.
    pub fn trace(&self, event: std::fmt::Arguments<'_>) {
        self.world.trace.event(format_args!("{} {event}", self.world.now().nanos()));
    }

    /// How often the clients of a node have been ended.
    pub fn deaths(&self, node: usize) -> u64 {
        self.deaths.get(&node).copied().unwrap_or(0)
    }

    /// Draws a time below `max`.
    pub fn draw(&self, max: Duration) -> Duration {
        Duration::from_nanos(self.random.below(max.as_nanos() as u64))
    }

    /// Draws the time that a message takes from one process to another.
    pub fn hop(&self) -> Duration {
        self.draw(self.knobs.hop_max)
    }

    /// Lets something happen later at a broker or at the controllers, whatever becomes of the nodes.
    pub fn after(&self, delay: Duration, event: ClusterEvent) {
        self.after_of(TimerOwner::World, delay, event);
    }

    /// Lets something happen later in a node's process: not while it stands still, nor after its end.
    pub fn after_in(
        &self,
        life: ProcessLife,
        delay: Duration,
        client: ClientId,
        event: ClientEvent,
    ) {
        self.after_of(TimerOwner::Process(life), delay, ClusterEvent::Client(client, event));
    }

    fn after_of(&self, owner: TimerOwner, delay: Duration, event: ClusterEvent) {
        // A timer does not keep the cluster: it may be set for long after the last use of it.
        let me = self.me.clone();
        let happen = move || {
            if let Some(cluster) = me.upgrade() {
                cluster.lock().happen(event);
            }
        };
        self.world.after(owner, delay, Box::new(happen));
    }

    fn happen(&mut self, event: ClusterEvent) {
        match event {
            ClusterEvent::Broker(broker, event) => self.reach_broker(broker, event),
            ClusterEvent::Client(client, event) => self.at_client(client, event),
            ClusterEvent::Controllers(decision) => self.at_controllers(decision),
        }
    }

    /// Something has reached a broker's machine, where a process may or may not take it.
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
                // What was due there ended with the process.
                BrokerEvent::FetchReturns(_)
                | BrokerEvent::Refresh { .. }
                | BrokerEvent::DeletionExpires { .. }
                | BrokerEvent::Decisions => {}
            },
        }
    }

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
