//! The outside world as it is, for what runs on real brokers and is not a server: tokio's tasks and clock,
//! a folder of the real disk. Nothing here is simulated or repeatable.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is where the real world comes in"
)]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ingest::env::system::{OsDisk, OsRandom};
use ingest::env::{Clock, Env, Fut, Runtime, Task};
use ingest::words::{Tick, WallTime};
use tokio::runtime::Handle;

/// The outside world over a folder, on the tokio runtime that this is called on.
pub fn world(data: &Path) -> io::Result<Env> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = since.as_nanos() as u64 ^ u64::from(std::process::id()).rotate_left(32);
    let process = Arc::new(Process { handle: Handle::current(), started: Instant::now() });
    Ok(Env {
        rt: process.clone(),
        disk: Arc::new(OsDisk::pooled(data, 4)?),
        disk_dedicated: Arc::new(OsDisk::dedicated(data)),
        clock: process,
        random: Arc::new(OsRandom::new(seed)),
        mutant: None,
    })
}

struct Process {
    handle: Handle,
    started: Instant,
}

impl Runtime for Process {
    fn spawn(&self, _name: &'static str, task: Fut<'static, ()>) -> Task {
        let running = self.handle.spawn(task);
        Task::new(move || running.abort())
    }

    fn spawn_dedicated(&self, name: &'static str, task: Fut<'static, ()>) -> Task {
        self.spawn(name, task)
    }

    fn work(&self, _name: &'static str, job: Box<dyn FnOnce() + Send>) -> Fut<'static, ()> {
        job();
        Box::pin(std::future::ready(()))
    }
}

impl Clock for Process {
    fn now(&self) -> Tick {
        Tick::from_nanos(self.started.elapsed().as_nanos() as u64)
    }

    fn wall(&self) -> WallTime {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        WallTime::from_micros(since.as_micros() as i64)
    }

    fn sleep(&self, duration: Duration) -> Fut<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
