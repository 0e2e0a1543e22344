//! The seeded executor: one thread, one choice at a time, time that moves only when nobody can run.
//!
//! A world holds one node or many. In a world of one node ([`Sim::env`], [`Sim::block_on`]) everything
//! lives and ends together. In a cluster ([`Sim::node_env`], [`Sim::block_on_cluster`]) each node's tasks
//! are its own: it is stopped, cut off from power, paused and started again without the others, by the
//! main future, which is the world's hand and belongs to no node.

mod node;
mod timer;
mod world;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use ingest::env::{Env, Fut, Random};
use ingest::mutant::Mutant;
use ingest::time::Tick;
use parking_lot::Mutex;

use crate::disk::{CrashSurvival, SimDisk};
use crate::random::SimRandom;
use crate::trace::Trace;
use node::SimProcess;
pub(crate) use timer::{ProcessLife, TimerOwner};
use world::TaskWaker;
pub(crate) use world::World;

/// Why [`Sim::block_on`] came back without a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunStopped {
    /// The disk lost power.
    Crashed,
    /// Nobody can run and no timer is set: the future would wait for ever.
    Stalled,
    /// More polls or more time than a sane run takes: something tries again for ever.
    Endless,
}

/// How long a run may take before it counts as endless.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunLimits {
    /// How often tasks may be polled.
    pub polls: u64,
    /// How much time may pass in the world.
    pub time: Duration,
}

impl RunLimits {
    /// Of [`Sim::block_on`]: stories of one node take some hundred thousand polls, and live for some
    /// minutes.
    pub const NODE: RunLimits = RunLimits { polls: 5_000_000, time: Duration::from_secs(600) };
    /// Of [`Sim::block_on_cluster`]: failovers take seconds each.
    pub const CLUSTER: RunLimits =
        RunLimits { polls: 50_000_000, time: Duration::from_secs(2 * 3600) };
}

struct MainWaker(AtomicBool);

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The disk of a node in a cluster.
struct NodeDisk {
    disk: SimDisk,
    power: NodePower,
}

/// Whether a node of a cluster runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NodePower {
    On,
    /// Its disk is dead; its processor runs on for so many of the world's polls.
    Fading(u64),
    Off,
}

/// A simulated world.
pub struct Sim {
    world: Arc<World>,
    mutant: Option<Mutant>,
    /// None for what suits the kind of run.
    limits: Option<RunLimits>,
    disks: Mutex<BTreeMap<usize, NodeDisk>>,
}

/// So many polls after a power cut the processor still runs, so that late answers escape.
const LINGER_POLLS: u64 = 200;
/// It does not live to see timers that are further away.
const LINGER_STEP: Duration = Duration::from_millis(100);

impl Sim {
    /// Makes a world from a seed.
    pub fn new(seed: u64) -> Self {
        Self::with_trace(seed, Arc::new(Trace::new(false)))
    }

    /// Makes a world from a seed that writes to a given history.
    pub fn with_trace(seed: u64, trace: Arc<Trace>) -> Self {
        let world = Arc::new(World::new(seed, trace));
        Self { world, mutant: None, limits: None, disks: Mutex::default() }
    }

    /// Shows a seeded bug in every environment made from now on.
    pub fn set_mutant(&mut self, mutant: Option<Mutant>) {
        self.mutant = mutant;
    }

    /// Says how long runs may take from now on.
    pub fn set_limits(&mut self, limits: RunLimits) {
        self.limits = Some(limits);
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// The seed's randomness.
    pub fn random(&self) -> &SimRandom {
        &self.world.random
    }

    /// The history.
    pub fn trace(&self) -> &Arc<Trace> {
        &self.world.trace
    }

    /// Monotonic time.
    pub fn now(&self) -> Tick {
        self.world.now()
    }

    /// Resolves after `duration`, whatever becomes of the nodes.
    pub fn sleep(&self, duration: Duration) -> Fut<'static, ()> {
        self.world.sleep(TimerOwner::World, duration)
    }

    /// Moves wall-clock time by so many microseconds, forward or backward.
    pub fn jump_wall_clock(&self, micros: i64) {
        self.world.jump_wall_clock(micros);
    }

    /// An environment in this world with a disk of it.
    pub fn env(&self, disk: &SimDisk) -> Env {
        self.env_of(None, disk)
    }

    /// An environment for a node of a cluster, in the life that the node is in now. What is started
    /// through it ends with that life.
    pub fn node_env(&self, node: usize, disk: &SimDisk) -> Env {
        self.disks.lock().insert(node, NodeDisk { disk: disk.clone(), power: NodePower::On });
        self.env_of(Some(self.world.life(node)), disk)
    }

    fn env_of(&self, life: Option<ProcessLife>, disk: &SimDisk) -> Env {
        let process = Arc::new(SimProcess { world: self.world.clone(), life });
        let random = Arc::new(SimRandom::new(self.world.random.next()));
        Env {
            rt: process.clone(),
            disk: disk.handle(),
            disk_dedicated: disk.handle(),
            clock: process,
            random,
            mutant: self.mutant,
        }
    }

    /// Runs everything until a future is done, or until the disk's power is cut. A task that panics makes
    /// this panic.
    pub fn block_on<T>(
        &self,
        disk: &SimDisk,
        future: impl Future<Output = T>,
    ) -> Result<T, RunStopped> {
        let mut linger = LINGER_POLLS;
        let run = self.run(future, RunLimits::NODE, |_| {
            if disk.is_dead() {
                if linger == 0 {
                    return Err(RunStopped::Crashed);
                }
                linger -= 1;
                return Ok(true);
            }
            Ok(false)
        });
        match run {
            Err(RunStopped::Stalled) if disk.is_dead() => Err(RunStopped::Crashed),
            run => run,
        }
    }

    /// Runs everything until a future is done, whatever becomes of single nodes. A node whose disk has
    /// lost its power runs on for a moment and then stands still, until it is crashed ([`Self::crash_node`])
    /// or stopped. The future drives the story and belongs to no node.
    pub fn block_on_cluster<T>(&self, future: impl Future<Output = T>) -> Result<T, RunStopped> {
        self.run(future, RunLimits::CLUSTER, |polled| {
            self.hold_nodes_without_power(polled);
            Ok(false)
        })
    }

    /// Runs until a future is done or `before_poll` ends it, which is told who was polled last, and says whether the world is dead and only lingers.
    fn run<T>(
        &self,
        future: impl Future<Output = T>,
        usual: RunLimits,
        mut before_poll: impl FnMut(LastPolled) -> Result<bool, RunStopped>,
    ) -> Result<T, RunStopped> {
        let woken = Arc::new(MainWaker(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        let mut future = pin!(future);
        let limits = self.limits.unwrap_or(usual);
        let mut polls = 0u64;
        let mut polled = LastPolled::Main;
        let began = self.now();
        loop {
            let lingers = before_poll(polled)?;
            polls += 1;
            if polls > limits.polls {
                return Err(RunStopped::Endless);
            }
            // The main future takes its turn among the ready tasks.
            let ready = self.world.ready_count();
            let main_is_ready = woken.0.load(Ordering::Relaxed);
            if main_is_ready && self.world.random.below(ready + 1) == 0 {
                woken.0.store(false, Ordering::Relaxed);
                polled = LastPolled::Main;
                if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Ok(value);
                }
                continue;
            }
            if let Some(life) = self.step() {
                polled = LastPolled::Task(life);
                continue;
            }
            if main_is_ready {
                continue;
            }
            if self.now().since(began) > limits.time {
                return Err(RunStopped::Endless);
            }
            let at_most = lingers.then_some(LINGER_STEP);
            if !self.world.move_time(at_most) {
                return Err(RunStopped::Stalled);
            }
        }
    }

    /// Polls one ready task; gives whose it was, or none when there is none.
    fn step(&self) -> Option<Option<ProcessLife>> {
        let chosen = self.world.choose()?;
        let Some(mut future) = chosen.future else { return Some(None) };
        let waker = TaskWaker { world: self.world.clone(), task: chosen.task };
        let waker = Waker::from(Arc::new(waker));
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => self.world.cancel(chosen.task),
            Poll::Pending => self.world.put_back(chosen.task, future),
        }
        Some(chosen.life)
    }

    /// A disk dies of its own node's operation, or of one of the main future's.
    fn hold_nodes_without_power(&self, polled: LastPolled) {
        let mut disks = self.disks.lock();
        let notice = |disk: &mut NodeDisk| {
            if disk.power == NodePower::On && disk.disk.is_dead() {
                disk.power = NodePower::Fading(LINGER_POLLS);
            }
        };
        match polled {
            LastPolled::Main => disks.values_mut().for_each(notice),
            LastPolled::Task(Some(life)) => disks.get_mut(&life.node).into_iter().for_each(notice),
            LastPolled::Task(None) => {}
        }
        for (node, disk) in disks.iter_mut() {
            match disk.power {
                NodePower::On | NodePower::Off => {}
                NodePower::Fading(0) => {
                    disk.power = NodePower::Off;
                    self.world.hold_node(*node);
                }
                NodePower::Fading(polls) => disk.power = NodePower::Fading(polls - 1),
            }
        }
    }

    /// Cuts the power: the disk keeps what survives, all tasks and timers are gone.
    pub fn crash(&self, disk: &SimDisk, survival: CrashSurvival) {
        self.stop();
        disk.lose_power(survival);
    }

    /// Ends all tasks of all nodes as killed processes would; what they wrote is still with the system.
    /// What lies beside the nodes, such as brokers, goes on.
    pub fn stop(&self) {
        self.world.stop_all(|owner| owner != TimerOwner::World);
    }

    /// Cuts one node's power: its disk keeps what survives, its tasks are gone.
    pub fn crash_node(&self, node: usize, disk: &SimDisk, survival: CrashSurvival) {
        self.stop_node(node);
        disk.lose_power(survival);
    }

    /// Ends one node's tasks as a killed process would; what they wrote is still with the system, which
    /// ends the operations that it has begun.
    pub fn stop_node(&self, node: usize) {
        self.world.stop_node(node);
        self.disks.lock().remove(&node);
    }

    /// Lets one node's tasks stand still, as SIGSTOP does. Its sleeps run out meanwhile, and what its
    /// disk has begun ends.
    pub fn pause_node(&self, node: usize) {
        self.world.hold_node(node);
    }

    /// Lets a paused node run on, with all that has become due. A node without power stays as it is.
    pub fn resume_node(&self, node: usize) {
        if self.disks.lock().get(&node).is_none_or(|disk| disk.power != NodePower::Off) {
            self.world.release_node(node);
        }
    }

    /// Says whether a node stands still: paused, or without power.
    pub fn is_held(&self, node: usize) -> bool {
        self.world.is_held(node)
    }
}

impl Drop for Sim {
    /// Tasks, timers and the world point at each other in a ring, which would outlive the run.
    fn drop(&mut self) {
        self.world.stop_all(|_| true);
    }
}

/// Who was polled last.
#[derive(Clone, Copy)]
enum LastPolled {
    Main,
    Task(Option<ProcessLife>),
}
