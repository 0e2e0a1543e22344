//! The environment of the core: tasks, time, randomness and disk.
//!
//! The core never reads a clock, starts a thread or opens a file by itself; all of these come from an
//! [`Env`]. Production fills it with real parts ([`system`] and the server's tokio runtime), the
//! simulator with seeded ones. Futures are boxed by hand ([`Fut`]): the calls are per block, not per
//! byte, and `dyn` lets a wrapper for faults or traces stack on a disk without further types.

mod disk;
pub mod production;
pub mod system;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::mutant::Mutant;
use crate::time::{Tick, WallTime};

pub use disk::{Disk, DiskError, DiskErrorKind, File, FilePath, OpenMode};

/// A boxed future that may move between threads.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Everything that the core may use outside itself. Cheap to clone; one for each node.
#[derive(Clone)]
pub struct Env {
    /// Starts tasks.
    pub rt: Arc<dyn Runtime>,
    /// The data directory, for tasks that share threads: its futures yield while the device works.
    pub disk: Arc<dyn Disk>,
    /// The same data directory, for tasks of [`Runtime::spawn_dedicated`]: its futures block and are
    /// ready at the first poll, which saves two thread switches per commit.
    pub disk_dedicated: Arc<dyn Disk>,
    /// Reads the time.
    pub clock: Arc<dyn Clock>,
    /// Draws numbers that need not be secret.
    pub random: Arc<dyn Random>,
    /// The seeded bug of this environment, if any; see [`crate::mutant`].
    pub mutant: Option<Mutant>,
}

impl Env {
    /// Returns true only if this environment must show the given seeded bug. Constantly `false` without
    /// the feature `mutants`, so that the wrong path compiles to nothing.
    #[inline]
    pub fn mutated(&self, mutant: Mutant) -> bool {
        mutant.is_on(self.mutant)
    }

    /// Draws 128 bits, for ids. Unique in practice, but never a secret: see [`Random`].
    pub fn random_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.random.next().to_le_bytes());
        id[8..].copy_from_slice(&self.random.next().to_le_bytes());
        id
    }
}

/// Starts tasks. A task that panics stops its whole node, since it may leave its work half done.
pub trait Runtime: Send + Sync {
    /// Starts a task on shared threads. The task must not block. Never waits; dropping the returned
    /// [`Task`] cancels it.
    fn spawn(&self, name: &'static str, task: Fut<'static, ()>) -> Task;

    /// Starts a task that may block its thread with I/O: on a thread of its own in production, as a
    /// plain task in the simulation. Only such a task uses [`Env::disk_dedicated`]. Dropping the
    /// returned [`Task`] cancels it.
    fn spawn_dedicated(&self, name: &'static str, task: Fut<'static, ()>) -> Task;

    /// Runs processor-bound work away from the threads that serve requests, and resolves when it is
    /// done. Dropping the future does not stop the work. Panics of the work stop the node.
    fn work(&self, name: &'static str, job: Box<dyn FnOnce() + Send>) -> Fut<'static, ()>;
}

/// A started task. Dropping it cancels the task at its next `.await`, unless it was detached.
pub struct Task {
    cancel: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Task {
    /// Wraps the action that cancels the task. Called by runtimes only; the action runs at most once,
    /// and never after [`Task::detach`].
    pub fn new(cancel: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { cancel: Some(Box::new(cancel)) }
    }

    /// Lets the task run to its end without an owner. Nothing can cancel it after that, except the end
    /// of its node.
    pub fn detach(mut self) {
        self.cancel = None;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel();
        }
    }
}

/// Reads the time.
pub trait Clock: Send + Sync {
    /// Monotonic time since the process, or the simulated world, began. Never goes backwards.
    fn now(&self) -> Tick;

    /// Wall-clock time. May jump in both directions, so it must never order events.
    fn wall(&self) -> WallTime;

    /// Resolves after `duration`, counted from this call. Dropping the future ends the wait.
    fn sleep(&self, duration: Duration) -> Fut<'static, ()>;
}

/// Draws numbers that need not be secret: for ids and jitter, never for keys or security nonces.
pub trait Random: Send + Sync {
    /// The next number, of 64 bits.
    fn next(&self) -> u64;
}

/// Waits for `future`, at most for `limit`; `None` when the time is over, after which the future is
/// dropped. When both are ready in the same poll, the future's value counts.
pub async fn timeout<T>(
    clock: &dyn Clock,
    limit: Duration,
    future: impl Future<Output = T> + Send,
) -> Option<T> {
    let future = std::pin::pin!(future);
    match futures::future::select(future, clock.sleep(limit)).await {
        futures::future::Either::Left((value, _)) => Some(value),
        futures::future::Either::Right(((), _)) => None,
    }
}

/// Lets other ready tasks run once before this one continues. Works on any executor, and never waits
/// for an event.
pub async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
