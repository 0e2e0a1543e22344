//! The state that everything in a simulated world shares: ready tasks, timers, nodes and the seed's
//! randomness.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use futures::channel::oneshot;
use ingest::env::Fut;
use ingest::time::{Tick, WallTime};
use parking_lot::Mutex;

use super::timer::{ProcessLife, Timer, TimerAction, TimerOwner};
use crate::random::SimRandom;
use crate::trace::Trace;

/// The choice of the ready task that runs next, drawn from the seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SchedulePolicy {
    Any,
    First,
    Last,
}

struct TaskSlot {
    life: Option<ProcessLife>,
    /// None while the task is polled.
    future: Option<Fut<'static, ()>>,
}

/// The state of a node in a cluster.
#[derive(Default)]
struct NodeState {
    life: u64,
    /// True while no task of the node may run: paused, or without power.
    is_held: bool,
    /// Tasks that became ready while the node was held.
    ready: Vec<u64>,
    due: Vec<TimerAction>,
}

#[derive(Default)]
struct Queue {
    now: Tick,
    /// Added to monotonic time for wall-clock time, in microseconds. Changed by jumps of the clock.
    wall_offset: i64,
    next_task: u64,
    next_timer: u64,
    tasks: BTreeMap<u64, TaskSlot>,
    ready: Vec<u64>,
    /// Number of ready tasks that were ready before the step that runs now.
    settled: usize,
    timers: BinaryHeap<Reverse<Timer>>,
    nodes: Vec<NodeState>,
}

impl Queue {
    /// The state of a node, made at first use.
    fn node(&mut self, node: usize) -> &mut NodeState {
        if self.nodes.len() <= node {
            self.nodes.resize_with(node + 1, NodeState::default);
        }
        &mut self.nodes[node]
    }

    /// True while a node is in this life.
    fn is_current(&mut self, life: ProcessLife) -> bool {
        self.node(life.node).life == life.number
    }

    /// Makes a task ready, in the node's own list while the node is held.
    fn make_ready(&mut self, task: u64) {
        let Some(slot) = self.tasks.get(&task) else { return };
        let held = slot.life.and_then(|life| self.nodes.get_mut(life.node));
        let (ready, settled) = match held {
            Some(node) if node.is_held => (&mut node.ready, 0),
            _ => (&mut self.ready, self.settled),
        };
        // Tasks that one step wakes are ordered by their numbers, as if woken at one moment: tokio's
        // `watch` keeps its waiters in lists that it chooses by a random number of its own, which no
        // seed controls.
        if !ready.contains(&task) {
            let woken = ready[settled..].partition_point(|other| *other < task);
            ready.insert(settled + woken, task);
        }
    }

    /// Fixes the order of the tasks that are ready now.
    fn settle(&mut self) {
        self.settled = self.ready.len();
    }
}

/// Parts cut off from a world. Dropped outside the lock, because the end of a task may cancel others.
#[derive(Default)]
struct DroppedParts {
    tasks: Vec<TaskSlot>,
    timers: Vec<Reverse<Timer>>,
    actions: Vec<TimerAction>,
}

impl DroppedParts {
    fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.timers.is_empty() && self.actions.is_empty()
    }
}

/// A task that has been chosen to run.
pub struct ChosenTask {
    pub task: u64,
    pub life: Option<ProcessLife>,
    /// None if the task has ended in the meantime.
    pub future: Option<Fut<'static, ()>>,
}

/// The state shared by executor, clocks, disks and brokers.
pub struct World {
    queue: Mutex<Queue>,
    pub random: SimRandom,
    pub trace: Arc<Trace>,
    policy: SchedulePolicy,
    /// The longest latency of a disk in nanoseconds, drawn from the seed; 0 for many seeds.
    latency_max: u64,
}

impl World {
    /// Draws a world's schedule policy and latencies from its seed. Equal seeds give equal worlds, as
    /// long as callers draw numbers in the same order.
    pub fn new(seed: u64, trace: Arc<Trace>) -> Self {
        let random = SimRandom::new(seed);
        let policy = match random.below(4) {
            0 => SchedulePolicy::First,
            1 => SchedulePolicy::Last,
            _ => SchedulePolicy::Any,
        };
        // The scale of latencies hides or shows races: 0, microseconds, milliseconds.
        let latency_max = [0, 50_000, 3_000_000][random.below(3) as usize];
        let queue = Queue { wall_offset: 1_700_000_000_000_000, ..Queue::default() };
        Self { queue: Mutex::new(queue), random, trace, policy, latency_max }
    }

    /// Monotonic time since the world began. Changes only in [`World::move_time`].
    pub fn now(&self) -> Tick {
        self.queue.lock().now
    }

    /// Wall-clock time, the same for all nodes: monotonic time after a start in 2023, plus all jumps
    /// before this call.
    pub fn wall(&self) -> WallTime {
        let queue = self.queue.lock();
        WallTime::from_micros(queue.wall_offset + (queue.now.nanos() / 1000) as i64)
    }

    /// Moves wall-clock time by a number of microseconds, forward or backward. Monotonic time and
    /// timers never change by it.
    pub fn jump_wall_clock(&self, micros: i64) {
        self.queue.lock().wall_offset += micros;
    }

    /// Runs an action after a latency drawn from the seed, unless everything is stopped before.
    pub fn after_latency(&self, action: TimerAction) {
        let nanos = if self.latency_max == 0 { 0 } else { self.random.below(self.latency_max) };
        self.after(TimerOwner::Nodes, Duration::from_nanos(nanos), action);
    }

    /// Runs an action after a delay, unless its owner ends before. Actions of one instant run in the
    /// order of these calls, and outside the lock.
    pub fn after(&self, owner: TimerOwner, delay: Duration, action: TimerAction) {
        let mut queue = self.queue.lock();
        let at = Tick::from_nanos(queue.now.nanos() + delay.as_nanos() as u64);
        let number = queue.next_timer;
        queue.next_timer += 1;
        queue.timers.push(Reverse(Timer { at, number, owner, action }));
    }

    /// Resolves after `duration`, counted from this call. Never resolves when the timer's owner ends
    /// before. Dropping the future leaves the timer set, without effect.
    pub fn sleep(&self, owner: TimerOwner, duration: Duration) -> Fut<'static, ()> {
        let (sender, receiver) = oneshot::channel();
        self.after(
            owner,
            duration,
            Box::new(move || {
                // The sleeper may have dropped its future.
                let _ = sender.send(());
            }),
        );
        Box::pin(async move {
            if receiver.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    /// Adds a task, ready at once, and returns its number. None, without starting it, when the process
    /// that it would belong to has ended before.
    pub fn spawn(&self, life: Option<ProcessLife>, future: Fut<'static, ()>) -> Option<u64> {
        let mut queue = self.queue.lock();
        if life.is_some_and(|life| !queue.is_current(life)) {
            drop(queue);
            return None;
        }
        let task = queue.next_task;
        queue.next_task += 1;
        queue.tasks.insert(task, TaskSlot { life, future: Some(future) });
        queue.make_ready(task);
        Some(task)
    }

    /// Ends a task, unless it has ended before, and drops its future outside the lock. A task that is
    /// being polled is dropped after that poll.
    pub fn cancel(&self, task: u64) {
        let slot = self.queue.lock().tasks.remove(&task);
        drop(slot);
    }

    /// Number of tasks that can run now. Tasks of held nodes are not counted before they are released.
    pub fn ready_count(&self) -> u64 {
        self.queue.lock().ready.len() as u64
    }

    /// Takes one of the ready tasks, as the seed's policy decides. None only when no task is ready.
    pub fn choose(&self) -> Option<ChosenTask> {
        let mut queue = self.queue.lock();
        if queue.ready.is_empty() {
            return None;
        }
        let index = match self.policy {
            SchedulePolicy::Any => self.random.below(queue.ready.len() as u64) as usize,
            SchedulePolicy::First => 0,
            SchedulePolicy::Last => queue.ready.len() - 1,
        };
        let task = queue.ready.remove(index);
        queue.settle();
        let slot = queue.tasks.get_mut(&task);
        Some(match slot {
            Some(slot) => ChosenTask { task, life: slot.life, future: slot.future.take() },
            None => ChosenTask { task, life: None, future: None },
        })
    }

    /// Puts a polled task back that is not done. A task that was cancelled during its poll is dropped
    /// instead, outside the lock.
    pub fn put_back(&self, task: u64, future: Fut<'static, ()>) {
        let mut queue = self.queue.lock();
        // A task that was cancelled while it ran has no slot any longer.
        if let Some(slot) = queue.tasks.get_mut(&task) {
            slot.future = Some(future);
            return;
        }
        drop(queue);
        drop(future);
    }

    /// Moves time to the earliest timer and runs all timers of that instant, in the order of their
    /// numbers. Returns `false`, with time unchanged, when there is no timer or only one further away
    /// than `at_most`.
    pub fn move_time(&self, at_most: Option<Duration>) -> bool {
        let mut due = Vec::new();
        {
            let mut queue = self.queue.lock();
            if let (Some(Reverse(next)), Some(at_most)) = (queue.timers.peek(), at_most)
                && next.at.since(queue.now) > at_most
            {
                return false;
            }
            let Some(Reverse(first)) = queue.timers.pop() else { return false };
            let at = first.at;
            queue.now = queue.now.max(at);
            due.push((first.owner, first.action));
            while queue.timers.peek().is_some_and(|Reverse(timer)| timer.at == at) {
                if let Some(Reverse(timer)) = queue.timers.pop() {
                    due.push((timer.owner, timer.action));
                }
            }
        }
        // Outside the lock, since an action may set timers and wake tasks.
        for (owner, action) in due {
            if let Some(action) = self.admit(owner, action) {
                action();
            }
        }
        true
    }

    /// Returns a due action if it may run now. Keeps it for later while the node is held, and drops it
    /// after the end of its life.
    fn admit(&self, owner: TimerOwner, action: TimerAction) -> Option<TimerAction> {
        let TimerOwner::Process(life) = owner else { return Some(action) };
        let mut queue = self.queue.lock();
        if !queue.is_current(life) {
            drop(queue);
            return None;
        }
        let node = queue.node(life.node);
        if node.is_held {
            node.due.push(action);
            return None;
        }
        Some(action)
    }

    /// The present life of a node's process. Tasks and clients made in it end with it.
    pub fn life(&self, node: usize) -> ProcessLife {
        ProcessLife { node, number: self.queue.lock().node(node).life }
    }

    /// True only while the node is in this life: false after its process has been stopped, even if it
    /// was started again.
    pub fn is_current(&self, life: ProcessLife) -> bool {
        self.queue.lock().is_current(life)
    }

    /// Lets no task of a node run until [`World::release_node`] or a stop. Time goes on meanwhile:
    /// tasks that become ready and actions that become due wait, in order.
    pub fn hold_node(&self, node: usize) {
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        queue.node(node).is_held = true;
        let held = &mut queue.nodes[node].ready;
        let tasks = &queue.tasks;
        queue.ready.retain(|task| {
            let is_held =
                tasks.get(task).and_then(|slot| slot.life).is_some_and(|life| life.node == node);
            if is_held {
                held.push(*task);
            }
            !is_held
        });
        held.sort_unstable();
        queue.settle();
    }

    /// True only while the node stands still, that is, between a hold and a release or a stop.
    pub fn is_held(&self, node: usize) -> bool {
        self.queue.lock().node(node).is_held
    }

    /// Lets a held node run again: its due actions run at once, in order, and its ready tasks can be
    /// chosen again. Does nothing for a node that is not held.
    pub fn release_node(&self, node: usize) {
        let due = {
            let mut queue = self.queue.lock();
            let state = queue.node(node);
            state.is_held = false;
            let ready = std::mem::take(&mut state.ready);
            let due = std::mem::take(&mut state.due);
            ready.into_iter().for_each(|task| queue.make_ready(task));
            due
        };
        due.into_iter().for_each(|action| action());
    }

    /// Ends one node's tasks and its life; timers of that life never act after this. Other nodes are
    /// unchanged, in state and order.
    pub fn stop_node(&self, node: usize) {
        self.let_go(|queue| {
            let state = queue.node(node);
            state.life += 1;
            state.is_held = false;
            state.ready.clear();
            let actions = std::mem::take(&mut state.due);
            let is_its = |slot: &mut TaskSlot| slot.life.is_some_and(|life| life.node == node);
            let tasks: Vec<TaskSlot> =
                queue.tasks.extract_if(.., |_, slot| is_its(slot)).map(|(_, slot)| slot).collect();
            let left = &queue.tasks;
            queue.ready.retain(|task| left.contains_key(task));
            queue.settle();
            DroppedParts { tasks, timers: Vec::new(), actions }
        });
    }

    /// Ends all tasks of all nodes, their lives, and every timer for whose owner `ends` returns true.
    /// Other timers keep their order.
    pub fn stop_all(&self, ends: impl Fn(TimerOwner) -> bool) {
        self.let_go(|queue| {
            let mut actions = Vec::new();
            for node in &mut queue.nodes {
                node.life += 1;
                node.is_held = false;
                node.ready.clear();
                actions.append(&mut node.due);
            }
            queue.ready.clear();
            queue.settle();
            let timers = std::mem::take(&mut queue.timers).into_vec();
            let (timers, stay): (Vec<_>, Vec<_>) =
                timers.into_iter().partition(|Reverse(timer)| ends(timer.owner));
            queue.timers = stay.into();
            let tasks = std::mem::take(&mut queue.tasks).into_values().collect();
            DroppedParts { tasks, timers, actions }
        });
    }

    /// Cuts parts off the world and drops them outside the lock, repeatedly, since their drops may
    /// leave new parts behind.
    fn let_go(&self, cut_off: impl Fn(&mut Queue) -> DroppedParts) {
        loop {
            let remains = cut_off(&mut self.queue.lock());
            if remains.is_empty() {
                return;
            }
            drop(remains);
        }
    }
}

/// Wakes a task of the world.
pub struct TaskWaker {
    pub world: Arc<World>,
    pub task: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.world.queue.lock().make_ready(self.task);
    }
}
