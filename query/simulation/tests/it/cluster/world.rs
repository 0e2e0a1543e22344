//! Three nodes on three brokers, and somebody who starts nodes again when they are down.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use compactor::partition;
use futures::channel::oneshot;
use futures::future::{Either, select};
use ingest::env::{Env, Fut};
use ingest::ids::{BucketId, NodeId, StoreId};
use ingest::time::Tick;
use parking_lot::Mutex;
use simulator::{CrashSurvival, Sim, SimBrokers, SimDisk, SimRandom};

use super::history::{Operation, Value};
use super::node::{self, Failure, Running, Settings, Start};

pub const NODES: usize = 3;
/// How often whoever watches the nodes looks at them.
const LOOK: Duration = Duration::from_millis(100);
/// A node that did not come up is started again after so long.
const RETRY: Duration = Duration::from_secs(1);

/// What has happened, over all seeds.
#[derive(Default)]
pub struct Tally {
    pub counts: BTreeMap<&'static str, u64>,
    pub simulated: Duration,
}

impl Tally {
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: &Tally) {
        for (what, count) in &other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.simulated += other.simulated;
    }

    pub fn tell(&self, runs: usize) {
        let hours = self.simulated.as_secs_f64() / 3600.0;
        println!("{runs} clusters, {hours:.1} simulated hours: {:?}", self.counts);
    }
}

type Opened = Arc<Mutex<Option<Result<Running, Failure>>>>;

enum State {
    Down { until: Tick },
    Opening(Opened),
    Up(Arc<Running>),
}

struct Slot {
    disk: SimDisk,
    /// Its disk has been full: payload may be missing.
    was_full: bool,
    store: Option<StoreId>,
    holds_id: bool,
    state: State,
}

/// See the module's description. It belongs to the run's main future and outlives every node.
pub struct World<'a> {
    pub sim: &'a Sim,
    pub brokers: SimBrokers,
    pub settings: Settings,
    pub random: SimRandom,
    /// No fault befalls it: everything is answered, and no outcome stays unknown.
    pub is_calm: Cell<bool>,
    pub tally: RefCell<Tally>,
    /// The bucket of each partition.
    pub buckets: RefCell<Vec<BucketId>>,
    /// What was written, by its value.
    pub contents: RefCell<Vec<Bytes>>,
    /// Of each partition's keys.
    pub histories: RefCell<BTreeMap<(usize, usize), Vec<Operation>>>,
    slots: Vec<RefCell<Slot>>,
    moments: Cell<u64>,
    violation: RefCell<Option<String>>,
}

impl<'a> World<'a> {
    pub fn new(sim: &'a Sim, brokers: SimBrokers, settings: Settings, random: SimRandom) -> Self {
        let slot = |_| {
            let state = State::Down { until: Tick::default() };
            let disk = SimDisk::new(sim);
            RefCell::new(Slot { disk, was_full: false, store: None, holds_id: false, state })
        };
        Self {
            sim,
            brokers,
            settings,
            random,
            is_calm: Cell::new(false),
            tally: RefCell::default(),
            buckets: RefCell::default(),
            contents: RefCell::default(),
            histories: RefCell::default(),
            slots: (0..NODES).map(slot).collect(),
            moments: Cell::new(0),
            violation: RefCell::default(),
        }
    }

    pub fn count(&self, what: &'static str) {
        self.tally.borrow_mut().count(what);
    }

    /// Numbers calls and answers as they happen.
    pub fn moment(&self) -> u64 {
        self.moments.set(self.moments.get() + 1);
        self.moments.get()
    }

    /// Something that never should happen has; the run ends with it.
    pub fn violates(&self, what: String) {
        self.violation.borrow_mut().get_or_insert(what);
    }

    /// The value that has a length; lengths are as unique as values.
    pub fn value_of(&self, len: u64) -> Option<Value> {
        let contents = self.contents.borrow();
        contents.iter().position(|content| content.len() as u64 == len).map(|at| at as Value)
    }

    pub fn running(&self, node: usize) -> Option<Arc<Running>> {
        match &self.slots[node].borrow().state {
            State::Up(running) => Some(running.clone()),
            _ => None,
        }
    }

    pub fn disk(&self, node: usize) -> SimDisk {
        self.slots[node].borrow().disk.clone()
    }

    /// An environment for what is done before there are nodes.
    pub fn founder(&self) -> Env {
        self.sim.node_env(NODES, &SimDisk::new(self.sim))
    }

    /// Does something in a node's process, as a request does that came in there, and waits for so long.
    /// None when no answer came: nobody knows what became of it. A request that is given up sometimes
    /// ends with its connection, and sometimes goes on.
    pub async fn ask<T: Send + 'static>(
        &self,
        running: &Running,
        wait: Duration,
        request: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let request: Fut<'static, ()> = Box::pin(async move {
            let _ = answer.send(request.await);
        });
        let task = running.env.rt.spawn("request", request);
        match select(answered, self.sim.sleep(wait)).await {
            Either::Left((answered, _)) => {
                task.detach();
                answered.ok()
            }
            Either::Right(_) => {
                if self.random.chance(50) {
                    task.detach();
                }
                None
            }
        }
    }

    /// Counts what a life of a node has met, so that a test shows whether it comes where bugs would be.
    pub fn count_life(&self, node: usize) {
        let Some(running) = self.running(node) else { return };
        let mut tally = self.tally.borrow_mut();
        for copy in &running.partitions {
            let counters = copy.counters();
            for (what, count) in [
                ("records repeated", &counters.duplicates),
                ("records rejected", &counters.rejected),
                ("epochs opened", &counters.epochs),
            ] {
                *tally.counts.entry(what).or_default() += count.load(Ordering::Relaxed);
            }
        }
        let replaced: u32 = running.log.clients_replaced().iter().map(|(_, count)| count).sum();
        *tally.counts.entry("clients replaced").or_default() += u64::from(replaced);
        let consumers = running.log.counters().consumers_replaced.load(Ordering::Relaxed);
        *tally.counts.entry("consumers replaced").or_default() += consumers;
    }

    /// Ends a node's process; it is started again after so long.
    pub fn kill(&self, node: usize, down: Duration) {
        self.count_life(node);
        self.sim.stop_node(node);
        let until =
            Tick::from_nanos((self.sim.now().nanos()).saturating_add(down.as_nanos() as u64));
        let old =
            std::mem::replace(&mut self.slots[node].borrow_mut().state, State::Down { until });
        drop(old);
    }

    /// Cuts a node's power; it is started again after so long.
    pub fn cut_power(&self, node: usize, survival: CrashSurvival, down: Duration) {
        self.kill(node, down);
        let disk = self.disk(node);
        self.sim.crash_node(node, &disk, survival);
    }

    /// Leaves a node's disk so much room and no more.
    pub fn fill_disk(&self, node: usize, room: u64) {
        let mut slot = self.slots[node].borrow_mut();
        slot.was_full = true;
        slot.disk.set_capacity(Some(slot.disk.used_bytes() + room));
    }

    /// Says whether payload may be missing on a node.
    pub fn was_full(&self, node: usize) -> bool {
        self.slots[node].borrow().was_full
    }

    /// Takes a node's directory away; it is started again, empty, after so long.
    pub fn wipe(&self, node: usize, down: Duration) {
        self.kill(node, down);
        let mut slot = self.slots[node].borrow_mut();
        slot.disk = SimDisk::new(self.sim);
        slot.was_full = false;
        slot.store = None;
        slot.holds_id = false;
    }

    fn start(&self, node: usize) {
        let mut slot = self.slots[node].borrow_mut();
        let env = self.sim.node_env(node, &slot.disk);
        let start = Start {
            env: env.clone(),
            brokers: self.brokers.handle(node),
            settings: self.settings.clone(),
            store: slot.store,
            node: partition::ThisNode {
                id: NodeId::new(node as u32 + 1),
                held_before: slot.holds_id,
            },
        };
        let opened = Opened::default();
        slot.state = State::Opening(opened.clone());
        let opening: Fut<'static, ()> = Box::pin(async move {
            let result = node::open(start).await;
            *opened.lock() = Some(result);
        });
        env.rt.spawn("open", opening).detach();
    }

    /// Looks after the nodes until something never should have happened; gives that.
    pub async fn watch(&self) -> String {
        loop {
            self.sim.sleep(LOOK).await;
            for node in 0..NODES {
                if let Err(violation) = self.look_at(node) {
                    return violation;
                }
            }
            if let Some(violation) = self.violation.borrow().clone() {
                return violation;
            }
        }
    }

    fn look_at(&self, node: usize) -> Result<(), String> {
        let disk = self.disk(node);
        // What a disk without power says counts for nothing; a node in a pause says nothing.
        if disk.is_dead() || self.sim.is_held(node) {
            return Ok(());
        }
        enum Next {
            Nothing,
            Start,
            Opened(Result<Running, Failure>),
            Stop,
        }
        let next = match &self.slots[node].borrow().state {
            State::Down { until } if self.sim.now() >= *until => Next::Start,
            State::Down { .. } => Next::Nothing,
            State::Opening(opened) => opened.lock().take().map_or(Next::Nothing, Next::Opened),
            State::Up(running) => {
                for partition in &running.partitions {
                    let name = format!("node {node}, partition {}", partition.id());
                    if let Some(reason) = partition.stopped() {
                        return Err(format!("{name} has stopped: {reason}"));
                    }
                    if let Some(reason) = partition.quarantined() {
                        return Err(format!("{name} is quarantined: {reason}"));
                    }
                }
                match *running.partitions[0].holds_node().borrow() {
                    Some(false) => Next::Stop,
                    _ => Next::Nothing,
                }
            }
        };
        match next {
            Next::Nothing => {}
            Next::Start => self.start(node),
            Next::Stop => {
                self.count("nodes that lost their id to a former life");
                self.kill(node, RETRY);
            }
            Next::Opened(Ok(running)) => {
                let mut slot = self.slots[node].borrow_mut();
                (slot.store, slot.holds_id) = (Some(running.store), true);
                slot.state = State::Up(Arc::new(running));
                self.tally.borrow_mut().count("nodes up");
            }
            Next::Opened(Err(Failure::Later(reason))) => {
                self.sim.trace().event(format_args!("node {node} does not come up: {reason}"));
                self.count("starts in vain");
                self.kill(node, RETRY);
            }
            Next::Opened(Err(Failure::Never(reason))) => {
                return Err(format!("node {node} cannot be started: {reason}"));
            }
        }
        Ok(())
    }
}
