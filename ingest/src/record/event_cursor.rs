//! The delivery of events: the record by which a process takes a queue over, and says how far it has come.

use super::notification::QUEUE_BYTES_MAX;
use super::part::RecordPart;
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::ids::{Offset, WriterId};

/// The place of an event in its queue. Events are delivered in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EventPosition {
    /// The offset of the record that made the event.
    pub offset: Offset,
    /// The place of the event among those of its record. Of the first change the place is that of the rule among those
    /// of the bucket: two rules may report one record to one queue. Of a second change it is behind those of all rules.
    pub rule: u16,
}

impl EventPosition {
    /// The position after this one, which need not have an event.
    #[must_use]
    pub fn next(self) -> Self {
        match self.rule.checked_add(1) {
            Some(rule) => Self { rule, ..self },
            None => Self { offset: self.offset.next(), rule: 0 },
        }
    }
}

/// Events of a queue have been delivered or dropped, or a process takes over their delivery.
///
/// A process delivers under a lease. The record of a lease one above the queue's takes the queue over; the record of any
/// other lease has no effect, so the cursor of a process that has been replaced does not move any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventCursor {
    /// The queue.
    pub queue: String,
    /// The lease of the process, or one above that of the process that is to be replaced.
    pub lease: u64,
    /// The process; random.
    pub process: WriterId,
    /// The position below which no event is needed any more. A lower one than before has no effect.
    pub position: EventPosition,
    /// The number of events that were delivered, since the queue's first event. Totals make a repeated record harmless.
    pub delivered: u64,
    /// The number of events that were given up, since the queue's first event.
    pub dropped: u64,
    /// The bytes of all these events.
    pub bytes: u64,
}

impl RecordPart for EventCursor {
    fn encode(&self, out: &mut Encoder) {
        out.bounded(self.queue.as_bytes(), QUEUE_BYTES_MAX, "queue of events");
        out.u64(self.lease).raw(&self.process.0);
        out.u64(self.position.offset.get()).u16(self.position.rule);
        out.u64(self.delivered).u64(self.dropped).u64(self.bytes);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            queue: from.text(QUEUE_BYTES_MAX, "queue of events")?,
            lease: from.u64("lease")?,
            process: WriterId(from.array("process")?),
            position: EventPosition {
                offset: Offset::new(from.u64("offset of an event")?),
                rule: from.u16("rule of an event")?,
            },
            delivered: from.u64("delivered events")?,
            dropped: from.u64("dropped events")?,
            bytes: from.u64("bytes of events")?,
        })
    }

    fn bytes_estimate(&self) -> usize {
        self.queue.len() + 128
    }
}
