//! The environment of a real process: tokio's tasks and clock, and the real disk. Used by servers, and
//! by tests and tools on real brokers.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the outside that the core is kept from"
)]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use tokio::runtime::Handle;

use super::system::{OsDisk, OsRandom};
use super::{Clock, Env, Fut, Runtime, Task};
use crate::mutant::Mutant;
use crate::time::{Tick, WallTime};

/// Threads that perform disk operations for tasks that must not block.
const DISK_THREADS: usize = 8;

/// Makes the environment of a process with its data in a folder. Tasks run on the tokio runtime of the
/// caller; panics when called outside one. Starts eight disk threads, and neither makes nor checks the
/// folder.
///
/// Fails when the system provides no randomness or no threads, or when `SILTSTONE_MUTANT` names an unknown
/// seeded bug.
pub fn of(data: &Path) -> io::Result<Env> {
    let node = Arc::new(Node { handle: Handle::current(), started: Instant::now() });
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)
        .map_err(|error| io::Error::other(format!("no randomness: {error}")))?;
    Ok(Env {
        rt: node.clone(),
        disk: Arc::new(OsDisk::pooled(data, DISK_THREADS)?),
        disk_dedicated: Arc::new(OsDisk::dedicated(data)),
        clock: node,
        random: Arc::new(OsRandom::new(u64::from_le_bytes(seed))),
        mutant: mutant()?,
    })
}

/// The seeded bug that the environment variable names. None in a build without seeded bugs.
fn mutant() -> io::Result<Option<Mutant>> {
    if cfg!(not(feature = "mutants")) {
        return Ok(None);
    }
    let Ok(name) = std::env::var("SILTSTONE_MUTANT") else { return Ok(None) };
    let unknown = || io::Error::other(format!("SILTSTONE_MUTANT: there is no bug {name:?}"));
    let chosen = Mutant::named(&name).ok_or_else(unknown)?;
    tracing::error!(?chosen, "this process shows a seeded bug; it is for tests of tests only");
    Ok(Some(chosen))
}

/// The runtime and clock of this process.
struct Node {
    handle: Handle,
    started: Instant,
}

/// Runs a task and aborts the process when it panics: the task may have left work half done on which
/// others rely, and the next start recovers from the durable state.
async fn watched(name: &'static str, task: Fut<'static, ()>) {
    match std::panic::AssertUnwindSafe(task).catch_unwind().await {
        // For example a merge that was under way when the process was stopped. Nothing of it is
        // published yet.
        Err(panic) if tells_of_the_end(panic.as_ref()) => {}
        Err(_) => {
            tracing::error!(task = name, "a task has panicked; stopping at once");
            std::process::abort();
        }
        Ok(()) => {}
    }
}

/// True when a panic only means that tokio's runtime has been shut down: the task has a thread of its
/// own and tried to sleep.
fn tells_of_the_end(panic: &(dyn std::any::Any + Send)) -> bool {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.is_some_and(|text| text.contains("Tokio 1.x context was found, but it is being shutdown"))
}

impl Runtime for Node {
    fn spawn(&self, name: &'static str, task: Fut<'static, ()>) -> Task {
        let running = self.handle.spawn(watched(name, task));
        Task::new(move || running.abort())
    }

    fn spawn_dedicated(&self, name: &'static str, task: Fut<'static, ()>) -> Task {
        let (cancel, cancelled) = futures::future::abortable(watched(name, task));
        let handle = self.handle.clone();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            // Timers of the task run on the shared runtime. The task's I/O blocks only this thread.
            let _ended = handle.block_on(cancel);
        });
        if let Err(error) = thread {
            tracing::error!(%error, task = name, "no thread; stopping at once");
            std::process::abort();
        }
        Task::new(move || cancelled.abort())
    }

    fn work(&self, _name: &'static str, job: Box<dyn FnOnce() + Send>) -> Fut<'static, ()> {
        let done = self.handle.spawn_blocking(job);
        Box::pin(async move {
            match done.await {
                Ok(()) => {}
                // The runtime is shutting down, so the caller is about to be dropped as well.
                Err(error) if error.is_cancelled() => std::future::pending().await,
                Err(_) => std::process::abort(),
            }
        })
    }
}

impl Clock for Node {
    fn now(&self) -> Tick {
        Tick::from_nanos(self.started.elapsed().as_nanos() as u64)
    }

    fn wall(&self) -> WallTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        WallTime::from_micros(since.as_micros() as i64)
    }

    fn sleep(&self, duration: Duration) -> Fut<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A merge under way during a clean stop once aborted the whole process.
    #[test]
    fn a_task_that_outlives_the_runtime_ends_quietly() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let node = {
            let _inside = runtime.enter();
            Arc::new(Node { handle: Handle::current(), started: Instant::now() })
        };
        let (clock, (begun, seen)) = (node.clone(), std::sync::mpsc::channel());
        let task: Fut<'static, ()> = Box::pin(async move {
            // Work without an `.await` until the runtime has been shut down.
            begun.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            clock.sleep(Duration::from_millis(1)).await;
        });
        let _task = node.spawn_dedicated("outliving", task);
        seen.recv().unwrap();
        runtime.shutdown_background();
        std::thread::sleep(Duration::from_millis(500));
    }
}
