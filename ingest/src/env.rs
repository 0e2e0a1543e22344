//! The outside world, as the core sees it: tasks, time, randomness and disk.
//!
//! The core never reads a clock, starts a thread or opens a file by itself; it is handed an [`Env`].
//! Production fills it with real parts ([`system`] and the server's tokio runtime), the simulator with
//! seeded ones. Futures are boxed by hand ([`Fut`]): the seam is crossed per block, not per byte, and
//! `dyn` lets a fault or trace wrapper stack on a disk without types.

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

/// Everything that the core may touch outside itself. Cheap to clone; one per node.
#[derive(Clone)]
pub struct Env {
    /// Starts tasks.
    pub rt: Arc<dyn Runtime>,
    /// The data directory, for tasks that share threads: its futures yield while the device works.
    pub disk: Arc<dyn Disk>,
    /// The same data directory, for tasks of [`Runtime::spawn_dedicated`]: its futures block and are
    /// ready at first poll, which saves two thread hops per commit.
    pub disk_dedicated: Arc<dyn Disk>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws numbers that need not be secret.
    pub random: Arc<dyn Random>,
    /// The seeded bug to show, if any; see [`crate::mutant`].
    pub mutant: Option<Mutant>,
}

impl Env {
    /// Says whether the seeded bug is to be shown. Always `false` without the feature `mutants`.
    #[inline]
    pub fn mutated(&self, mutant: Mutant) -> bool {
        mutant.is_on(self.mutant)
    }

    /// Draws 128 bits, for ids.
    pub fn random_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.random.next().to_le_bytes());
        id[8..].copy_from_slice(&self.random.next().to_le_bytes());
        id
    }
}

/// Starts tasks. A task that panics stops its node.
pub trait Runtime: Send + Sync {
    /// Runs a task beside others.
    fn spawn(&self, name: &'static str, task: Fut<'static, ()>) -> Task;

    /// Runs a task that may block its thread with I/O: a thread of its own in production, a plain task
    /// in simulation. Such a task uses [`Env::disk_dedicated`].
    fn spawn_dedicated(&self, name: &'static str, task: Fut<'static, ()>) -> Task;

    /// Runs processor-bound work off the threads that serve requests.
    fn work(&self, name: &'static str, job: Box<dyn FnOnce() + Send>) -> Fut<'static, ()>;
}

/// A started task. Dropping it cancels the task at its next `.await`.
pub struct Task {
    cancel: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Task {
    /// Wraps the action that cancels the task.
    pub fn new(cancel: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { cancel: Some(Box::new(cancel)) }
    }

    /// Lets the task run on by itself.
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

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Monotonic time.
    fn now(&self) -> Tick;

    /// Wall-clock time; it may jump.
    fn wall(&self) -> WallTime;

    /// Resolves after `duration`.
    fn sleep(&self, duration: Duration) -> Fut<'static, ()>;
}

/// Draws numbers that need not be secret: ids and jitter, never keys or nonces.
pub trait Random: Send + Sync {
    /// The next number.
    fn next(&self) -> u64;
}

/// Waits for `future`, at most for `limit`; `None` when time ran out (the future is then dropped).
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

/// Lets other ready tasks run once. Works on any executor.
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
