//! The seeded executor: one thread, one choice at a time, time that moves only when nobody can run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::channel::oneshot;
use ingest::env::{Clock, Env, Fut, Random, Runtime, Task};
use ingest::mutant::Mutant;
use ingest::words::{Tick, WallTime};
use parking_lot::Mutex;

use crate::disk::{SimDisk, Survival};
use crate::random::SimRandom;
use crate::trace::Trace;

/// Why [`Sim::block_on`] came back without a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// The disk lost power.
    Crashed,
    /// Nobody can run and no timer is set: the future would wait for ever.
    Stalled,
    /// More polls or more time than a sane run takes: something tries again for ever.
    Endless,
}

/// Which ready task runs next; drawn from the seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Policy {
    Any,
    First,
    Last,
}

type Action = Box<dyn FnOnce() + Send>;

struct Timer {
    at: Tick,
    number: u64,
    action: Action,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[derive(Default)]
struct Queue {
    now: Tick,
    /// Added to monotonic time for wall time, in microseconds; jumps when told.
    wall_offset: i64,
    next_task: u64,
    next_timer: u64,
    tasks: BTreeMap<u64, Option<Fut<'static, ()>>>,
    ready: Vec<u64>,
    timers: BinaryHeap<Reverse<Timer>>,
}

/// What executor, clock and disk share.
pub(crate) struct World {
    queue: Mutex<Queue>,
    pub random: SimRandom,
    pub trace: Arc<Trace>,
    policy: Policy,
    /// The longest disk latency in nanoseconds; drawn from the seed, 0 for many.
    latency_max: u64,
}

impl World {
    /// Runs an action after a latency drawn from the seed.
    pub fn after_latency(&self, action: Action) {
        let nanos = if self.latency_max == 0 { 0 } else { self.random.below(self.latency_max) };
        self.after(Duration::from_nanos(nanos), action);
    }

    pub fn after(&self, delay: Duration, action: Action) {
        let mut queue = self.queue.lock();
        let at = Tick::from_nanos(queue.now.nanos() + delay.as_nanos() as u64);
        let number = queue.next_timer;
        queue.next_timer += 1;
        queue.timers.push(Reverse(Timer { at, number, action }));
    }

    pub fn now(&self) -> Tick {
        self.queue.lock().now
    }

    fn choose(&self, ready: &mut Vec<u64>) -> Option<u64> {
        if ready.is_empty() {
            return None;
        }
        let index = match self.policy {
            Policy::Any => self.random.below(ready.len() as u64) as usize,
            Policy::First => 0,
            Policy::Last => ready.len() - 1,
        };
        Some(ready.remove(index))
    }
}

struct TaskWaker {
    world: Arc<World>,
    task: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut queue = self.world.queue.lock();
        if queue.tasks.contains_key(&self.task) && !queue.ready.contains(&self.task) {
            queue.ready.push(self.task);
        }
    }
}

struct MainWaker(AtomicBool);

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A simulated world of one node.
pub struct Sim {
    world: Arc<World>,
    mutant: Option<Mutant>,
}

/// So many polls after a power cut the processor still runs, so that late answers escape.
const LINGER_POLLS: u64 = 200;
/// A run of the longest stories takes some hundred thousand.
const POLLS_MAX: u64 = 5_000_000;
/// The longest stories live for some minutes.
const TIME_MAX: Duration = Duration::from_secs(600);

impl Sim {
    /// Makes a world from a seed.
    pub fn new(seed: u64) -> Self {
        Self::with_trace(seed, Arc::new(Trace::new(false)))
    }

    /// Makes a world from a seed that writes to a given history.
    pub fn with_trace(seed: u64, trace: Arc<Trace>) -> Self {
        let random = SimRandom::new(seed);
        let policy = match random.below(4) {
            0 => Policy::First,
            1 => Policy::Last,
            _ => Policy::Any,
        };
        // The scale of latencies hides or shows races: 0, microseconds, milliseconds.
        let latency_max = [0, 50_000, 3_000_000][random.below(3) as usize];
        let queue = Queue { wall_offset: 1_700_000_000_000_000, ..Queue::default() };
        let world = World { queue: Mutex::new(queue), random, trace, policy, latency_max };
        Self { world: Arc::new(world), mutant: None }
    }

    /// Shows a seeded bug in every environment made from now on.
    pub fn set_mutant(&mut self, mutant: Option<Mutant>) {
        self.mutant = mutant;
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

    /// Moves wall-clock time by so many microseconds, forward or backward.
    pub fn jump_wall_clock(&self, micros: i64) {
        self.world.queue.lock().wall_offset += micros;
    }

    /// An environment in this world with a disk of it.
    pub fn env(&self, disk: &SimDisk) -> Env {
        let node = Arc::new(Node { world: self.world.clone() });
        let random = Arc::new(SimRandom::new(self.world.random.next()));
        Env {
            rt: node.clone(),
            disk: disk.handle(),
            disk_dedicated: disk.handle(),
            clock: node,
            random,
            mutant: self.mutant,
        }
    }

    /// Runs everything until a future is done. A task that panics makes this panic.
    pub fn block_on<T>(
        &self,
        disk: &SimDisk,
        future: impl Future<Output = T>,
    ) -> Result<T, Stopped> {
        let woken = Arc::new(MainWaker(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        let mut future = pin!(future);
        let mut polls = 0u64;
        let mut linger = LINGER_POLLS;
        let began = self.now();
        loop {
            if disk.is_dead() {
                if linger == 0 {
                    return Err(Stopped::Crashed);
                }
                linger -= 1;
            }
            polls += 1;
            if polls > POLLS_MAX {
                return Err(Stopped::Endless);
            }
            // The main future takes its turn among the ready tasks.
            let ready = self.world.queue.lock().ready.len() as u64;
            let main_is_ready = woken.0.load(Ordering::Relaxed);
            if main_is_ready && self.world.random.below(ready + 1) == 0 {
                woken.0.store(false, Ordering::Relaxed);
                if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Ok(value);
                }
                continue;
            }
            if self.step() {
                continue;
            }
            if main_is_ready {
                continue;
            }
            if self.now().since(began) > TIME_MAX {
                return Err(Stopped::Endless);
            }
            if !self.move_time() {
                return Err(if disk.is_dead() { Stopped::Crashed } else { Stopped::Stalled });
            }
        }
    }

    /// Polls one ready task; `false` when there is none.
    fn step(&self) -> bool {
        let (id, task) = {
            let mut queue = self.world.queue.lock();
            let mut ready = std::mem::take(&mut queue.ready);
            let chosen = self.world.choose(&mut ready);
            queue.ready = ready;
            let Some(id) = chosen else { return false };
            (id, queue.tasks.get_mut(&id).and_then(Option::take))
        };
        let Some(mut task) = task else { return true };
        let waker = Waker::from(Arc::new(TaskWaker { world: self.world.clone(), task: id }));
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        let mut queue = self.world.queue.lock();
        match polled {
            Poll::Ready(()) => {
                queue.tasks.remove(&id);
            }
            Poll::Pending => {
                // Cancelled while it ran: then there is no slot to put it back into.
                if let Some(slot) = queue.tasks.get_mut(&id) {
                    *slot = Some(task);
                    return true;
                }
            }
        }
        drop(queue);
        true
    }

    /// Moves time to the earliest timer and runs all timers of that instant; `false` when there is none.
    fn move_time(&self) -> bool {
        let mut due = Vec::new();
        {
            let mut queue = self.world.queue.lock();
            let Some(Reverse(first)) = queue.timers.pop() else { return false };
            let at = first.at;
            queue.now = queue.now.max(at);
            due.push(first.action);
            while queue.timers.peek().is_some_and(|Reverse(timer)| timer.at == at) {
                if let Some(Reverse(timer)) = queue.timers.pop() {
                    due.push(timer.action);
                }
            }
        }
        due.into_iter().for_each(|action| action());
        true
    }

    /// Cuts the power: the disk keeps what survives, all tasks and timers are gone.
    pub fn crash(&self, disk: &SimDisk, survival: Survival) {
        self.stop();
        disk.lose_power(survival);
    }

    /// Ends all tasks as a killed process would; what it wrote is still with the system.
    pub fn stop(&self) {
        // Dropped outside the lock: a task's end may cancel others.
        loop {
            let (tasks, timers) = {
                let mut queue = self.world.queue.lock();
                queue.ready.clear();
                (std::mem::take(&mut queue.tasks), std::mem::take(&mut queue.timers))
            };
            if tasks.is_empty() && timers.is_empty() {
                return;
            }
            drop((tasks, timers));
        }
    }
}

struct Node {
    world: Arc<World>,
}

impl Runtime for Node {
    fn spawn(&self, _name: &'static str, task: Fut<'static, ()>) -> Task {
        let mut queue = self.world.queue.lock();
        let id = queue.next_task;
        queue.next_task += 1;
        queue.tasks.insert(id, Some(task));
        queue.ready.push(id);
        let world = self.world.clone();
        Task::new(move || {
            let task = world.queue.lock().tasks.remove(&id);
            drop(task);
        })
    }

    fn spawn_dedicated(&self, name: &'static str, task: Fut<'static, ()>) -> Task {
        self.spawn(name, task)
    }

    fn work(&self, _name: &'static str, job: Box<dyn FnOnce() + Send>) -> Fut<'static, ()> {
        job();
        Box::pin(std::future::ready(()))
    }
}

impl Clock for Node {
    fn now(&self) -> Tick {
        self.world.now()
    }

    fn wall(&self) -> WallTime {
        let queue = self.world.queue.lock();
        WallTime::from_micros(queue.wall_offset + (queue.now.nanos() / 1000) as i64)
    }

    fn sleep(&self, duration: Duration) -> Fut<'static, ()> {
        let (sender, receiver) = oneshot::channel();
        self.world.after(
            duration,
            Box::new(move || {
                // Whoever slept may have gone.
                let _ = sender.send(());
            }),
        );
        Box::pin(async move {
            if receiver.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
