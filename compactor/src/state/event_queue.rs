//! Queues of events: how many wait in each, who delivers them, and how far the delivery has come.
//!
//! The events themselves are state entries; see [`super::ObjectEvent`]. The content of this module follows from the log
//! alone, so all nodes agree. A cut writes the queues that have changed.

use std::collections::BTreeMap;

use bytes::Bytes;
use ingest::codec::{DecodeError, Decoder, Encoder};
use ingest::ids::{Offset, WriterId};
use ingest::record::{EventCursor, EventPosition};

use super::{NewEvent, StateKey};
use crate::memtable::StateChange;
use crate::outcome::Rejection;

/// The state of one queue. Counts are totals since the queue's first event, and never go down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EventQueue {
    /// The number of the lease under which events are delivered; 0 before the first.
    pub lease: u64,
    /// The process that has the lease.
    pub process: WriterId,
    /// The position below which no event is needed any more.
    pub position: EventPosition,
    /// The number of events that were added.
    pub added: u64,
    /// The number of events that were delivered.
    pub delivered: u64,
    /// The number of events that were given up.
    pub dropped: u64,
    /// The bytes of the events that were added.
    pub added_bytes: u64,
    /// The bytes of the events that were delivered or given up.
    pub done_bytes: u64,
}

impl EventQueue {
    /// The number of events that wait: added, and neither delivered nor given up before.
    pub fn waiting(&self) -> u64 {
        self.added.saturating_sub(self.delivered.saturating_add(self.dropped))
    }

    /// The bytes of the events that wait.
    pub fn waiting_bytes(&self) -> u64 {
        self.added_bytes.saturating_sub(self.done_bytes)
    }

    /// The queue after a cursor's record. Fails with [`Rejection::StaleLease`] for a record of a lease that has been
    /// replaced, and for one of another process.
    pub fn moved(&self, cursor: &EventCursor) -> Result<Self, Rejection> {
        let takes_over = self.lease.checked_add(1) == Some(cursor.lease);
        let is_own = cursor.lease == self.lease && cursor.process == self.process;
        if !takes_over && !is_own {
            return Err(Rejection::StaleLease);
        }
        let delivered = self.delivered.max(cursor.delivered);
        let dropped = self.dropped.max(cursor.dropped);
        let done_bytes = self.done_bytes.max(cursor.bytes);
        Ok(Self {
            lease: cursor.lease,
            process: cursor.process,
            position: self.position.max(cursor.position),
            // Records of events may be lost whose delivery a cursor has counted. Otherwise as many new ones would not count as
            // waiting.
            added: self.added.max(delivered.saturating_add(dropped)),
            added_bytes: self.added_bytes.max(done_bytes),
            delivered,
            dropped,
            done_bytes,
        })
    }

    /// Encodes the value of a queue's key. Never fails: all fields have a fixed length.
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::new();
        out.u64(self.lease).raw(&self.process.0);
        out.u64(self.position.offset.get()).u16(self.position.rule);
        out.u64(self.added).u64(self.delivered).u64(self.dropped);
        out.u64(self.added_bytes).u64(self.done_bytes);
        out.finish()
    }

    /// Decodes the value of a queue's key. Fails for bytes of another length.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let queue = Self {
            lease: from.u64("lease")?,
            process: WriterId(from.array("process")?),
            position: EventPosition {
                offset: Offset::new(from.u64("offset of an event")?),
                rule: from.u16("rule of an event")?,
            },
            added: from.u64("added events")?,
            delivered: from.u64("delivered events")?,
            dropped: from.u64("dropped events")?,
            added_bytes: from.u64("bytes of added events")?,
            done_bytes: from.u64("bytes of delivered events")?,
        };
        from.end("end of a queue")?;
        Ok(queue)
    }
}

/// The position of each queue below which no event is needed.
#[derive(Clone, Default, Debug)]
pub struct EventFloors(BTreeMap<String, EventPosition>);

impl EventFloors {
    /// True for the key of an event that is not needed any more, and must not be read again. False for every other key.
    pub fn has_passed(&self, key: &StateKey) -> bool {
        key.parse_event().is_some_and(|(queue, position)| {
            self.0.get(queue).is_some_and(|floor| position < *floor)
        })
    }
}

/// All queues. Their number is that of the destinations that rules have ever named.
#[derive(Clone, Default, Debug)]
pub struct EventQueues {
    by_name: BTreeMap<String, TrackedQueue>,
}

#[derive(Clone, Copy, Debug, Default)]
struct TrackedQueue {
    queue: EventQueue,
    /// True if no cut has written this state yet.
    is_new: bool,
}

impl EventQueues {
    /// Restores a queue from the value in a state table. Called at a start, before any record is folded. Fails unless
    /// the value is one queue.
    pub fn restore(&mut self, name: &str, value: Bytes) -> Result<(), DecodeError> {
        let queue = EventQueue::decode(value)?;
        self.by_name.insert(name.to_owned(), TrackedQueue { queue, is_new: false });
        Ok(())
    }

    /// The queue with a name; `None` before its first event or cursor.
    pub fn get(&self, name: &str) -> Option<EventQueue> {
        self.by_name.get(name).map(|tracked| tracked.queue)
    }

    /// All queues in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, EventQueue)> {
        self.by_name.iter().map(|(name, tracked)| (name.as_str(), tracked.queue))
    }

    /// Replaces the state of a queue. Called by the fold only, in the order of the log, for a cursor's record.
    pub fn set(&mut self, name: &str, queue: EventQueue) {
        self.by_name.insert(name.to_owned(), TrackedQueue { queue, is_new: true });
    }

    /// Counts an event that a record adds. Called by the fold in the order of the log.
    pub fn add(&mut self, event: &NewEvent) {
        let mut queue = self.get(&event.queue).unwrap_or_default();
        queue.added += 1;
        queue.added_bytes += event.bytes();
        self.set(&event.queue, queue);
    }

    /// The floors as of now. Later floors are never lower.
    pub fn floors(&self) -> EventFloors {
        EventFloors(self.iter().map(|(name, queue)| (name.to_owned(), queue.position)).collect())
    }

    /// Returns the changes since the last cut in key order, and counts them as written. The caller must pass them to
    /// the flush of this cut, since no later call returns them again.
    pub fn freeze(&mut self) -> Vec<StateChange> {
        let new = self.by_name.iter_mut().filter(|(_, tracked)| tracked.is_new);
        new.map(|(name, tracked)| {
            tracked.is_new = false;
            (StateKey::event_queue(name), Some(tracked.queue.encode()))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: WriterId = WriterId([1; 16]);
    const SECOND: WriterId = WriterId([2; 16]);

    fn at(offset: u64) -> EventPosition {
        EventPosition { offset: Offset::new(offset), rule: 0 }
    }

    fn cursor(lease: u64, process: WriterId, offset: u64) -> EventCursor {
        let (queue, position) = ("hook".into(), at(offset));
        EventCursor { queue, lease, process, position, delivered: 2, dropped: 1, bytes: 100 }
    }

    fn event(offset: u64) -> NewEvent {
        let value = Bytes::from_static(b"an event");
        NewEvent { queue: "hook".into(), position: at(offset), value }
    }

    #[test]
    fn only_the_process_with_the_lease_moves_the_cursor() {
        let none = EventQueue::default();
        assert_eq!(none.moved(&cursor(0, FIRST, 1)), Err(Rejection::StaleLease));
        let first = none.moved(&cursor(1, FIRST, 5)).unwrap();
        assert_eq!((first.delivered, first.dropped, first.done_bytes), (2, 1, 100));
        assert_eq!((first.lease, first.process, first.position), (1, FIRST, at(5)));
        assert_eq!(first.moved(&cursor(1, SECOND, 9)), Err(Rejection::StaleLease));
        assert_eq!(first.moved(&cursor(3, SECOND, 9)), Err(Rejection::StaleLease));
        assert_eq!(first.moved(&cursor(1, FIRST, 3)).unwrap().position, at(5), "never back");
        let second = first.moved(&cursor(2, SECOND, 7)).unwrap();
        assert_eq!((second.process, second.position, second.delivered), (SECOND, at(7), 2));
        assert_eq!(second.moved(&cursor(1, FIRST, 9)), Err(Rejection::StaleLease));
    }

    /// The records of two events are lost, and the cursor behind them is not.
    #[test]
    fn lost_events_do_not_hide_new_ones() {
        let moved = EventQueue { added: 1, ..EventQueue::default() }.moved(&cursor(1, FIRST, 5));
        let mut queues = EventQueues::default();
        queues.set("hook", moved.unwrap());
        queues.add(&event(9));
        let queue = queues.get("hook").unwrap();
        assert_eq!((queue.waiting(), queue.waiting_bytes()), (1, event(9).bytes()));
    }

    #[test]
    fn a_cut_writes_what_has_changed_since_the_last_one() {
        let mut queues = EventQueues::default();
        queues.add(&event(4));
        queues.add(&event(5));
        let waits = queues.get("hook").unwrap();
        assert_eq!((waits.waiting(), waits.waiting_bytes()), (2, 2 * event(4).bytes()));
        let written = queues.freeze();
        let mut restored = EventQueues::default();
        for (key, value) in written {
            let name = std::str::from_utf8(&key.0[1..]).unwrap().to_owned();
            restored.restore(&name, value.unwrap()).unwrap();
        }
        assert_eq!(restored.get("hook"), Some(waits));
        assert_eq!((queues.freeze(), restored.freeze()), (Vec::new(), Vec::new()));
        assert!(restored.restore("hook", Bytes::from_static(b"short")).is_err());
    }

    #[test]
    fn events_below_the_cursor_are_not_needed() {
        let mut queues = EventQueues::default();
        queues.add(&event(4));
        queues.set("hook", queues.get("hook").unwrap().moved(&cursor(1, FIRST, 5)).unwrap());
        let floors = queues.floors();
        for (key, is_passed) in [
            (event(4).key(), true),
            (event(5).key(), false),
            (StateKey::event("other", at(4)), false),
            (StateKey::event_queue("hook"), false),
        ] {
            assert_eq!(floors.has_passed(&key), is_passed, "{key:?}");
        }
    }
}
