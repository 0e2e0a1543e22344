//! The numbers of a delivery since the start of the process.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Counts of one delivery since the start of the process, for metrics. Totals of the queue itself are in
/// [`crate::state::EventQueue`].
#[derive(Default, Debug)]
pub struct DeliveryCounters {
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    error: Mutex<Option<String>>,
}

impl DeliveryCounters {
    /// Counts events that were acknowledged, which ends an error.
    pub(super) fn note_delivered(&self, events: u64) {
        self.delivered.fetch_add(events, Ordering::Relaxed);
        *self.error.lock() = None;
    }

    /// Counts a failed try.
    pub(super) fn note_failed(&self, error: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        *self.error.lock() = Some(error);
    }

    /// Counts events that were given up.
    pub(super) fn note_dropped(&self, events: u64) {
        self.dropped.fetch_add(events, Ordering::Relaxed);
    }

    /// Events that this process has delivered, those delivered twice counted twice.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Tries of this process that failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Events that this process has given up, which no receiver will ever get after that.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The error of the last try; `None` after a success.
    pub fn error(&self) -> Option<String> {
        self.error.lock().clone()
    }
}
