//! Listeners to the events of a bucket as they happen.
//!
//! Each listener has a queue of its own, with the events of its bucket alone. A listener that does not read is cut off
//! without an effect on others, and a large batch of records ends no answer of a client that reads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ingest::name::BucketName;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::state::DueEvent;

/// The number of events that may wait for a listener when a batch brings more; beyond, the listener is cut off. So never
/// more wait than these and those of one batch.
const WAITING_MAX: usize = 4096;

/// All listeners of a partition.
#[derive(Default)]
pub(super) struct EventListeners {
    /// Shared by the fold, which passes events on, and by requests, which come and go.
    by_bucket: Mutex<BTreeMap<BucketName, Vec<Arc<ListenerQueue>>>>,
    /// The number of listeners; while it is 0, no event is made for them.
    count: AtomicUsize,
}

/// The events that wait for one listener.
#[derive(Default)]
struct ListenerQueue {
    content: Mutex<ListenerContent>,
    /// Notified when the content has changed.
    changed: Notify,
}

#[derive(Default)]
struct ListenerContent {
    waiting: VecDeque<Arc<DueEvent>>,
    /// True once no event follows those that wait.
    has_ended: bool,
}

/// The events of one bucket from now on, in the order of the log, without those before. A listener that is too far behind
/// must begin again.
pub struct EventListener {
    bucket: BucketName,
    queue: Arc<ListenerQueue>,
    listeners: Arc<EventListeners>,
}

impl EventListener {
    /// Waits for the next event; `None` once events were missed or the partition has ended, after all events before.
    /// May be cancelled.
    pub async fn next(&mut self) -> Option<Arc<DueEvent>> {
        loop {
            let changed = self.queue.changed.notified();
            {
                let mut content = self.queue.content.lock();
                if let Some(event) = content.waiting.pop_front() {
                    return Some(event);
                }
                if content.has_ended {
                    return None;
                }
            }
            changed.await;
        }
    }
}

impl Drop for EventListener {
    fn drop(&mut self) {
        let mut by_bucket = self.listeners.by_bucket.lock();
        if let Some(queues) = by_bucket.get_mut(&self.bucket) {
            queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
            if queues.is_empty() {
                by_bucket.remove(&self.bucket);
            }
        }
        self.listeners.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ListenerQueue {
    /// Appends the events of a batch, or ends the queue if too many wait already.
    fn take(&self, events: &[Arc<DueEvent>]) {
        let mut content = self.content.lock();
        if content.waiting.len() >= WAITING_MAX {
            content.has_ended = true;
        }
        if !content.has_ended {
            content.waiting.extend(events.iter().cloned());
        }
        drop(content);
        self.changed.notify_one();
    }
}

impl EventListeners {
    /// Begins to listen to the events of a bucket. Records that are folded after the call are heard.
    pub fn listen(self: &Arc<Self>, bucket: &BucketName) -> EventListener {
        let (bucket, queue) = (bucket.clone(), Arc::<ListenerQueue>::default());
        self.by_bucket.lock().entry(bucket.clone()).or_default().push(queue.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
        EventListener { bucket, queue, listeners: self.clone() }
    }

    /// Returns true while somebody listens to a bucket. Takes no lock.
    pub fn has_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Passes the events of a batch, which must be visible to readers, to those who listen to their buckets. Never waits
    /// for a listener. Called by the fold only, in the order of the log.
    pub fn pass(&self, events: Vec<Arc<DueEvent>>) {
        let by_bucket = self.by_bucket.lock();
        let mut heard: BTreeMap<&BucketName, Vec<Arc<DueEvent>>> = BTreeMap::new();
        for event in &events {
            if let Some((bucket, _)) = by_bucket.get_key_value(&event.event.bucket) {
                heard.entry(bucket).or_default().push(event.clone());
            }
        }
        for (bucket, events) in heard {
            by_bucket.get(bucket).into_iter().flatten().for_each(|queue| queue.take(&events));
        }
    }

    /// Ends all queues behind the events that wait in them.
    pub fn end(&self) {
        for queue in self.by_bucket.lock().values().flatten() {
            queue.content.lock().has_ended = true;
            queue.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use ingest::ids::Offset;
    use ingest::name::ObjectKey;
    use ingest::record::{EventName, EventPosition};
    use ingest::tail::TaggedTail;
    use ingest::time::WallTime;

    use super::*;
    use crate::state::ObjectEvent;

    fn name(text: &str) -> BucketName {
        BucketName::new(text.as_bytes().to_vec()).unwrap()
    }

    fn event(bucket: &str, offset: u64) -> Arc<DueEvent> {
        let position = EventPosition { offset: Offset::new(offset), rule: 0 };
        let event = ObjectEvent {
            name: EventName::named("s3:ObjectCreated:Put").unwrap(),
            time: WallTime::from_micros(0),
            rule: String::new(),
            bucket: name(bucket),
            region: String::new(),
            owner: String::new(),
            principal: String::new(),
            request: String::new(),
            key: ObjectKey::new(b"key".to_vec()).unwrap(),
            version: None,
            object: None,
            tail: TaggedTail::default(),
        };
        Arc::new(DueEvent { position, event, bytes: 0 })
    }

    fn batch(bucket: &str, offsets: std::ops::Range<u64>) -> Vec<Arc<DueEvent>> {
        offsets.map(|offset| event(bucket, offset)).collect()
    }

    /// The offsets of the events that a listener gets without a wait, and true if its events have ended behind them.
    fn heard(listener: &mut EventListener) -> (Vec<u64>, bool) {
        let mut offsets = Vec::new();
        loop {
            match listener.next().now_or_never() {
                Some(Some(event)) => offsets.push(event.position.offset.get()),
                Some(None) => return (offsets, true),
                None => return (offsets, false),
            }
        }
    }

    #[test]
    fn a_batch_of_any_size_reaches_those_who_listen_to_its_bucket() {
        let listeners = Arc::<EventListeners>::default();
        assert!(!listeners.has_any());
        let (mut photos, mut again) =
            (listeners.listen(&name("photos")), listeners.listen(&name("photos")));
        let mut music = listeners.listen(&name("music"));
        let count = 3 * WAITING_MAX as u64;
        let events = [batch("photos", 0..count), batch("music", count..count + 1)];
        listeners.pass([events.concat(), batch("others", 0..count)].concat());
        listeners.pass(batch("music", count + 1..count + 2));
        for listener in [&mut photos, &mut again] {
            assert_eq!(heard(listener), ((0..count).collect(), false));
        }
        assert_eq!(heard(&mut music), (vec![count, count + 1], false));
        drop((photos, again, music));
        assert!(!listeners.has_any() && listeners.by_bucket.lock().is_empty());
    }

    #[test]
    fn only_a_listener_that_does_not_read_is_cut_off() {
        let listeners = Arc::<EventListeners>::default();
        let (mut lazy, mut eager) =
            (listeners.listen(&name("photos")), listeners.listen(&name("photos")));
        let mut quiet = listeners.listen(&name("music"));
        let (of_batch, batches) = (1000, 20);
        for at in 0..batches {
            let offsets = at * of_batch..(at + 1) * of_batch;
            listeners.pass(batch("photos", offsets.clone()));
            assert_eq!(heard(&mut eager), (offsets.collect(), false));
            let waiting = lazy.queue.content.lock().waiting.len();
            assert!(waiting < WAITING_MAX + of_batch as usize, "{waiting}");
        }
        let (offsets, has_ended) = heard(&mut lazy);
        assert!(has_ended, "events were missed");
        assert_eq!(
            offsets,
            (0..offsets.len() as u64).collect::<Vec<_>>(),
            "none is left out before"
        );
        assert_eq!(heard(&mut quiet), (vec![], false));
        listeners.pass(batch("photos", 0..1));
        assert_eq!(heard(&mut lazy), (vec![], true), "ended once and for all");
    }

    #[test]
    fn the_end_of_a_partition_ends_its_listeners_behind_their_events() {
        let listeners = Arc::<EventListeners>::default();
        let mut listener = listeners.listen(&name("photos"));
        listeners.pass(batch("photos", 0..2));
        listeners.end();
        assert_eq!(heard(&mut listener), (vec![0, 1], true));
    }
}
