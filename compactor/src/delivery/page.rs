//! Events of a queue, read from the state.

use std::time::Duration;

use ingest::log::ReadError;
use ingest::record::EventPosition;
use ingest::time::WallTime;

use crate::state::{DueEvent, ObjectEvent, StateKey, event_bytes};
use crate::state_cursor::StateCursor;
use crate::state_value::state_corruption;
use crate::view::Snapshot;

/// Neighbouring events of a queue, in order.
#[derive(Clone, Debug, Default)]
pub struct EventPage {
    /// The events.
    pub events: Vec<DueEvent>,
    /// The first event of the page if that event cannot be decoded. The page then has no other, and readers go on behind
    /// the damaged one.
    pub damaged: Option<DamagedEvent>,
}

/// An event that is there and cannot be decoded.
#[derive(Clone, Copy, Debug)]
pub struct DamagedEvent {
    /// The place in the queue.
    pub position: EventPosition,
    /// The bytes in the state, key included.
    pub bytes: u64,
}

impl EventPage {
    /// Reads events at or above a position, up to a number of them, and until their bytes reach a limit. At least one
    /// if there is one. A page ends before an event that cannot be decoded, unless that event is the first. Fails if the
    /// state cannot be read.
    pub async fn read(
        snapshot: &Snapshot,
        queue: &str,
        from: EventPosition,
        events_max: usize,
        bytes_max: u64,
    ) -> Result<Self, ReadError> {
        let (start, end) = (StateKey::event(queue, from).0, StateKey::events_end(queue));
        let mut cursor = StateCursor::new(snapshot, &start, &end).await?;
        let (mut page, mut bytes) = (Self::default(), 0);
        while page.events.len() < events_max
            && bytes < bytes_max
            && let Some((key, value)) = cursor.next().await?
        {
            let Some((_, position)) = key.parse_event() else {
                return Err(state_corruption(0, "the key of an event"));
            };
            let event_bytes = event_bytes(queue, &value);
            let Ok(event) = ObjectEvent::decode(value) else {
                if page.events.is_empty() {
                    page.damaged = Some(DamagedEvent { position, bytes: event_bytes });
                }
                break;
            };
            bytes += event_bytes;
            page.events.push(DueEvent { position, event, bytes: event_bytes });
        }
        Ok(page)
    }

    /// The first events that have at least so many bytes; all if they have fewer.
    pub(super) fn first_of(&self, bytes: u64) -> &[DueEvent] {
        let mut sum = 0;
        let enough = self.events.iter().position(|event| {
            sum += event.bytes;
            sum >= bytes
        });
        &self.events[..enough.map_or(self.events.len(), |last| last + 1)]
    }

    /// The first events that are older than an age.
    pub(super) fn older_than(&self, now: WallTime, age: Duration) -> &[DueEvent] {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let oldest = now.micros().saturating_sub(age);
        let count = self.events.iter().take_while(|due| due.event.time.micros() < oldest).count();
        &self.events[..count]
    }
}
