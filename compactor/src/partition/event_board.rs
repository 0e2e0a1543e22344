//! The queues of events as the fold leaves them, and the wake-up of those who deliver.

use std::collections::BTreeMap;
use std::sync::Arc;

use ingest::ids::Offset;
use ingest::name::BucketName;
use ingest::time::Tick;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::event_listeners::{EventListener, EventListeners};
use crate::memtable::StateChange;
use crate::state::{DueEvent, EventFloors, EventQueue, EventQueues, NewEvent};

/// A queue as this process sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueView {
    /// The state that follows from the log.
    pub queue: EventQueue,
    /// The time at which this process last folded a cursor's record of the queue, or an event that came when none waited.
    pub heard: Tick,
}

/// The queues of events. Only the fold changes them; all others read.
pub(crate) struct EventBoard {
    content: Mutex<BoardContent>,
    /// The offset below which everything is applied, as of the last batch with a change of a queue.
    changed: watch::Sender<Offset>,
    listeners: Arc<EventListeners>,
}

#[derive(Default)]
struct BoardContent {
    queues: EventQueues,
    heard: BTreeMap<String, Tick>,
    has_changed: bool,
    /// Events for listeners, until they are visible to readers.
    heard_now: Vec<Arc<DueEvent>>,
}

impl Drop for EventBoard {
    fn drop(&mut self) {
        self.listeners.end();
    }
}

impl EventBoard {
    /// Makes a board without queues.
    pub fn new() -> Self {
        Self {
            content: Mutex::default(),
            changed: watch::Sender::new(Offset::ZERO),
            listeners: Arc::default(),
        }
    }

    /// Replaces all queues, at a start, before any record is folded. They count as heard of at `now`.
    pub fn restore(&self, queues: EventQueues, now: Tick) {
        let mut content = self.content.lock();
        content.heard = queues.iter().map(|(name, _)| (name.to_owned(), now)).collect();
        content.queues = queues;
    }

    /// Returns the state of a queue; `None` before its first event or cursor.
    pub fn get(&self, name: &str) -> Option<EventQueue> {
        self.content.lock().queues.get(name)
    }

    /// Returns a queue with the time of its last news. A queue that never had any was heard of at time zero.
    pub fn view(&self, name: &str) -> QueueView {
        let content = self.content.lock();
        let heard = content.heard.get(name).copied().unwrap_or_default();
        QueueView { queue: content.queues.get(name).unwrap_or_default(), heard }
    }

    /// Returns all queues in the order of their names.
    pub fn all(&self) -> Vec<(String, EventQueue)> {
        let content = self.content.lock();
        content.queues.iter().map(|(name, queue)| (name.to_owned(), queue)).collect()
    }

    /// Counts an event. Called by the fold in the order of the log.
    pub fn add(&self, event: &NewEvent, now: Tick) {
        let mut content = self.content.lock();
        let waiting = content.queues.get(&event.queue).map_or(0, |queue| queue.waiting());
        if waiting == 0 {
            content.heard.insert(event.queue.clone(), now);
        }
        content.queues.add(event);
        content.has_changed = true;
    }

    /// Replaces a queue after a cursor's record. Called by the fold.
    pub fn set(&self, name: &str, queue: EventQueue, now: Tick) {
        let mut content = self.content.lock();
        content.queues.set(name, queue);
        content.heard.insert(name.to_owned(), now);
        content.has_changed = true;
    }

    /// Returns what a cut must write: the queues that changed, and the positions that events have passed.
    pub fn freeze(&self) -> (Vec<StateChange>, EventFloors) {
        let mut content = self.content.lock();
        let floors = content.queues.floors();
        (content.queues.freeze(), floors)
    }

    /// Returns the positions below which events are not needed. They never go down.
    pub fn floors(&self) -> EventFloors {
        self.content.lock().queues.floors()
    }

    /// Wakes those who wait for a change, if there was one. Called by the fold after each batch.
    pub fn announce(&self, applied: Offset) {
        let mut content = self.content.lock();
        let has_changed = std::mem::take(&mut content.has_changed);
        let heard = std::mem::take(&mut content.heard_now);
        drop(content);
        if !heard.is_empty() {
            self.listeners.pass(heard);
        }
        if has_changed {
            self.changed.send_replace(applied);
        }
    }

    /// Returns true while somebody listens to a bucket. Takes no lock.
    pub fn is_listened_to(&self) -> bool {
        self.listeners.has_any()
    }

    /// Keeps an event for listeners until [`EventBoard::announce`]. Called by the fold only, in the order of the log.
    pub fn tell(&self, event: DueEvent) {
        self.content.lock().heard_now.push(Arc::new(event));
    }

    /// Begins to listen to the events of a bucket. Records that are folded after the call are heard.
    pub fn listen(&self, bucket: &BucketName) -> EventListener {
        self.listeners.listen(bucket)
    }

    /// Returns a receiver of changes. Several changes may be seen as one, but never none.
    pub fn follow(&self) -> watch::Receiver<Offset> {
        self.changed.subscribe()
    }
}
