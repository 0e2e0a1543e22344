//! A queue under the lease of this process: how far it has come, and what no record says yet.

use ingest::ids::WriterId;
use ingest::record::{EventCursor, EventPosition};
use ingest::time::Tick;

use super::page::DamagedEvent;
use crate::state::{DueEvent, EventQueue};

/// A queue under this process's lease.
pub(super) struct HeldQueue {
    /// The number of the lease.
    pub lease: u64,
    /// The position of the next event to deliver, at or above that of the last cursor's record.
    pub position: EventPosition,
    /// The totals of the queue, with what no record has yet.
    pub totals: EventQueue,
    /// The time at which the oldest event without a record was delivered or dropped.
    pub unsaid_since: Option<Tick>,
    /// The number of events in the last record.
    pub said: u64,
    /// The number of tries that have failed in a row.
    pub failures: u32,
    /// The time of the first of these.
    pub failing_since: Option<Tick>,
    /// The time of the last message about dropped events.
    pub warned: Option<Tick>,
}

impl HeldQueue {
    /// Begins where the last cursor's record has left the queue. The caller must have the lease.
    pub fn new(queue: EventQueue) -> Self {
        let (lease, position) = (queue.lease, queue.position);
        let said = queue.delivered + queue.dropped;
        Self {
            lease,
            position,
            totals: queue,
            unsaid_since: None,
            said,
            failures: 0,
            failing_since: None,
            warned: None,
        }
    }

    /// Counts delivered events and moves behind them. Must be called only after the receiver has acknowledged them.
    pub fn delivered(&mut self, events: &[DueEvent], now: Tick) {
        self.totals.delivered += events.len() as u64;
        self.pass_all(events, now);
    }

    /// Counts events that are given up and moves behind them. The caller must tell the operator.
    pub fn dropped(&mut self, events: &[DueEvent], now: Tick) {
        self.totals.dropped += events.len() as u64;
        self.pass_all(events, now);
    }

    /// Counts an event that cannot be read as dropped and moves behind it. The caller must tell the operator.
    pub fn lost(&mut self, event: &DamagedEvent, now: Tick) {
        self.totals.dropped += 1;
        self.pass(event.position, event.bytes, now);
    }

    fn pass_all(&mut self, events: &[DueEvent], now: Tick) {
        let Some(last) = events.last() else { return };
        self.pass(last.position, events.iter().map(|event| event.bytes).sum(), now);
    }

    /// Moves behind the event at `last`; `bytes` are those of all events that are passed.
    fn pass(&mut self, last: EventPosition, bytes: u64, now: Tick) {
        self.position = last.next();
        self.totals.done_bytes += bytes;
        self.unsaid_since.get_or_insert(now);
    }

    /// True when events were delivered or dropped that no record has yet.
    pub fn has_unsaid(&self) -> bool {
        self.unsaid_since.is_some()
    }

    /// The record of the cursor, with totals, so that a retry of the same record is harmless.
    pub fn cursor(&mut self, queue: &str, process: WriterId) -> EventCursor {
        self.said = self.totals.delivered + self.totals.dropped;
        EventCursor {
            queue: queue.to_owned(),
            lease: self.lease,
            process,
            position: self.position,
            delivered: self.totals.delivered,
            dropped: self.totals.dropped,
            bytes: self.totals.done_bytes,
        }
    }

    /// The record that ends the lease: the next one, of no process. Any process may take the queue over at once.
    pub fn release(&mut self, queue: &str) -> EventCursor {
        let lease = self.lease + 1;
        EventCursor { lease, ..self.cursor(queue, WriterId::default()) }
    }
}
