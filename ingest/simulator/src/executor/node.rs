//! The runtime and clock of a process in the world.

use std::sync::Arc;
use std::time::Duration;

use ingest::env::{Clock, Fut, Runtime, Task};
use ingest::time::{Tick, WallTime};

use super::timer::{ProcessLife, TimerOwner};
use super::world::World;

/// The runtime and clock of one environment.
pub struct SimProcess {
    pub world: Arc<World>,
    /// None in a world of one node, where all tasks live and end together.
    pub life: Option<ProcessLife>,
}

impl Runtime for SimProcess {
    fn spawn(&self, _name: &'static str, task: Fut<'static, ()>) -> Task {
        let world = self.world.clone();
        match self.world.spawn(self.life, task) {
            Some(id) => Task::new(move || world.cancel(id)),
            None => Task::new(|| ()),
        }
    }

    fn spawn_dedicated(&self, name: &'static str, task: Fut<'static, ()>) -> Task {
        self.spawn(name, task)
    }

    fn work(&self, _name: &'static str, job: Box<dyn FnOnce() + Send>) -> Fut<'static, ()> {
        job();
        Box::pin(std::future::ready(()))
    }
}

impl Clock for SimProcess {
    fn now(&self) -> Tick {
        self.world.now()
    }

    fn wall(&self) -> WallTime {
        self.world.wall()
    }

    fn sleep(&self, duration: Duration) -> Fut<'static, ()> {
        self.world.sleep(TimerOwner::Nodes, duration)
    }
}
