//! The seeded executor: one thread, one choice at a time, and time that moves only when no task can run.
//!
//! A world holds one node or many. In a world of one node ([`Sim::env`], [`Sim::block_on`]) all tasks
//! live and end together. In a cluster ([`Sim::node_env`], [`Sim::block_on_cluster`]) each node's tasks
//! are its own: a node is stopped, cut off from power, paused and started again without the others, by
//! the main future, which belongs to no node.

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

/// The reason why a run ended without a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunStopped {
    /// The disk lost power.
    Crashed,
    /// No task can run and no timer is set: the future would wait for ever.
    Stalled,
    /// More polls or more time than any sane run takes: some task retries for ever.
    Endless,
}

/// The limits beyond which a run counts as endless.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunLimits {
    /// The most polls of tasks and of the main future.
    pub polls: u64,
    /// The most time that may pass in the world.
    pub time: Duration,
}

impl RunLimits {
    /// The limits of [`Sim::block_on`]: tests of one node take some hundred thousand polls, and some
    /// minutes of the world's time.
    pub const NODE: RunLimits = RunLimits { polls: 5_000_000, time: Duration::from_secs(600) };
    /// The limits of [`Sim::block_on_cluster`]: failovers take seconds each.
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

/// The power of a node in a cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NodePower {
    On,
    /// The disk is dead; the processor still runs for this number of the world's polls.
    Fading(u64),
    Off,
}

/// A simulated world. Dropping it ends all tasks and timers.
pub struct Sim {
    world: Arc<World>,
    mutant: Option<Mutant>,
    /// None for the usual limits of each kind of run.
    limits: Option<RunLimits>,
    disks: Mutex<BTreeMap<usize, NodeDisk>>,
}

/// Number of polls for which the processor still runs after a power cut, so that late answers escape.
const LINGER_POLLS: u64 = 200;
/// Longest time to a timer that the processor still reaches after a power cut.
const LINGER_STEP: Duration = Duration::from_millis(100);

impl Sim {
    /// Makes a world from a seed, which decides on every schedule, latency and random number. Keeps a
    /// hash of the history, not its text.
    pub fn new(seed: u64) -> Self {
        Self::with_trace(seed, Arc::new(Trace::new(false)))
    }

    /// Makes a world from a seed that writes to a given history, after the events that are in it
    /// already.
    pub fn with_trace(seed: u64, trace: Arc<Trace>) -> Self {
        let world = Arc::new(World::new(seed, trace));
        Self { world, mutant: None, limits: None, disks: Mutex::default() }
    }

    /// Shows a seeded bug in every environment made after this call. Environments made before keep
    /// theirs.
    pub fn set_mutant(&mut self, mutant: Option<Mutant>) {
        self.mutant = mutant;
    }

    /// Sets the limits of all later runs, in place of the usual ones. A run beyond a limit fails with
    /// [`RunStopped::Endless`].
    pub fn set_limits(&mut self, limits: RunLimits) {
        self.limits = Some(limits);
    }

    /// The state that disks and brokers of this world share with the executor. Once the [`Sim`] is
    /// dropped, its timers never act again.
    pub(crate) fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// The seed's randomness. Drawing from it changes all later random decisions of the world, so the
    /// order of draws matters.
    pub fn random(&self) -> &SimRandom {
        &self.world.random
    }

    /// The history of this world so far. Two runs of one seed must have equal histories.
    pub fn trace(&self) -> &Arc<Trace> {
        &self.world.trace
    }

    /// Monotonic time since the world began. Moves only while no task can run.
    pub fn now(&self) -> Tick {
        self.world.now()
    }

    /// Resolves after `duration` in the world's time, even if every node is stopped before. For the
    /// main future.
    pub fn sleep(&self, duration: Duration) -> Fut<'static, ()> {
        self.world.sleep(TimerOwner::World, duration)
    }

    /// Moves the wall-clock time of all nodes by a number of microseconds, forward or backward.
    /// Monotonic time and timers stay unchanged, in value and order.
    pub fn jump_wall_clock(&self, micros: i64) {
        self.world.jump_wall_clock(micros);
    }

    /// An environment with a disk of this world, for a world of one node. Must not be mixed with
    /// environments of [`Sim::node_env`].
    pub fn env(&self, disk: &SimDisk) -> Env {
        self.env_of(None, disk)
    }

    /// An environment for a node of a cluster, in the node's present life. Tasks started through it end
    /// with that life; after a stop or a crash the node needs a new environment.
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

    /// Runs all tasks until a future is done or the disk's power is cut. Returns the future's value, or
    /// the reason why it did not end; the future is dropped then. Tasks that are still running stay,
    /// and continue in the next run.
    ///
    /// After a power cut the tasks run on for a moment, so that late answers escape. Panics when a task
    /// panics.
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
            // Every task may wait for the disk, which never answers without power.
            Err(RunStopped::Stalled) if disk.is_dead() => Err(RunStopped::Crashed),
            run => run,
        }
    }

    /// Runs all tasks until a future is done, even if single nodes fail. A node whose disk has lost its
    /// power runs on for a moment and then stands still, until it is crashed ([`Self::crash_node`]) or
    /// stopped. The future directs the test and belongs to no node.
    ///
    /// Returns the future's value, or the reason why it did not end. Panics when a task panics.
    pub fn block_on_cluster<T>(&self, future: impl Future<Output = T>) -> Result<T, RunStopped> {
        self.run(future, RunLimits::CLUSTER, |polled| {
            self.hold_nodes_without_power(polled);
            Ok(false)
        })
    }

    /// Runs until a future is done or `before_poll` ends the run. `before_poll` gets the task that was
    /// polled last, and returns `true` while the world is dead and only runs out.
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

    /// Polls one ready task. Returns the life that the task belongs to, or none when no task is ready.
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

    /// Counts down and then holds the nodes whose disk has lost its power. A disk dies of an operation
    /// of its own node or of the main future.
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

    /// Cuts the power: ends all tasks of all nodes, then lets the disk keep only its durable content
    /// and what survives.
    pub fn crash(&self, disk: &SimDisk, survival: CrashSurvival) {
        self.stop();
        disk.lose_power(survival);
    }

    /// Ends all tasks of all nodes at the planned operation of a disk ([`SimDisk::crash_at`]) as a kill of their
    /// processes would: bytes and names written before stay visible, and are not more durable than before.
    pub fn kill(&self, disk: &SimDisk) {
        self.stop();
        disk.outlive_process();
    }

    /// Ends all tasks of all nodes as a kill of their processes would. Bytes written before stay
    /// visible, since the system survives, but are not more durable than before. Brokers and other
    /// timers of the world continue.
    pub fn stop(&self) {
        self.world.stop_all(|owner| owner != TimerOwner::World);
    }

    /// Cuts one node's power: ends its tasks, then lets its disk keep only its durable content and what
    /// survives. Other nodes continue.
    pub fn crash_node(&self, node: usize, disk: &SimDisk, survival: CrashSurvival) {
        self.stop_node(node);
        disk.lose_power(survival);
    }

    /// Ends one node's tasks as a kill of its process would. Bytes written before stay visible, since
    /// the system survives and completes the operations that have begun. Other nodes continue.
    pub fn stop_node(&self, node: usize) {
        self.world.stop_node(node);
        self.disks.lock().remove(&node);
    }

    /// Stops one node's tasks as SIGSTOP does, until [`Sim::resume_node`]. Timers run out and disk
    /// operations end meanwhile; their effects reach the tasks only after that.
    pub fn pause_node(&self, node: usize) {
        self.world.hold_node(node);
    }

    /// Continues a paused node, with all events that became due meanwhile, in their order. Does nothing
    /// for a node without power, which must be crashed first.
    pub fn resume_node(&self, node: usize) {
        if self.disks.lock().get(&node).is_none_or(|disk| disk.power != NodePower::Off) {
            self.world.release_node(node);
        }
    }

    /// True while a node stands still: after a pause, or after its disk has lost its power.
    pub fn is_held(&self, node: usize) -> bool {
        self.world.is_held(node)
    }
}

impl Drop for Sim {
    /// Ends all tasks and timers: they and the world refer to each other, and would outlive the run.
    fn drop(&mut self) {
        self.world.stop_all(|_| true);
    }
}

/// The future that was polled last.
#[derive(Clone, Copy)]
enum LastPolled {
    Main,
    Task(Option<ProcessLife>),
}
