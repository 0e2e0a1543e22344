//! Timers and their owners.

use ingest::time::Tick;

/// The action of a timer.
pub type TimerAction = Box<dyn FnOnce() + Send>;

/// One life of a node's process: from a start to the next stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProcessLife {
    pub node: usize,
    pub number: u64,
}

/// The owner of a timer, which decides when the timer ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimerOwner {
    /// A sleep or a device: ends when everything is stopped.
    Nodes,
    /// A process: the timer waits while the node is held, and ends with that life.
    Process(ProcessLife),
    /// The world itself: ends only with it.
    World,
}

/// An action that is due at some time. Those of one instant run in the order of their numbers.
pub struct Timer {
    pub at: Tick,
    pub number: u64,
    pub owner: TimerOwner,
    pub action: TimerAction,
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
