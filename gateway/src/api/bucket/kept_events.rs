//! The events that a queue keeps, for a client that reads them from a position on.

use std::collections::VecDeque;
use std::sync::Arc;

use compactor::delivery::{DueEvent, EventPage};
use futures::future::BoxFuture;
use ingest::ids::Offset;
use ingest::log::ReadError;
use ingest::name::BucketName;
use ingest::record::EventPosition;
use tokio::sync::watch;

use crate::server::store::Store;

/// The most events that are read from the store at a time.
const PAGE_EVENTS: usize = 100;
/// The bytes of events, as they are stored, after which a page ends.
const PAGE_BYTES: u64 = 256 << 10;

/// The place from which kept events come.
pub trait EventPages {
    /// The position below which no event is kept.
    fn begin(&self) -> EventPosition;

    /// Reads the next events at or above a position, in order, as they are at the call; none if there is none. Fails when the
    /// state cannot be read. Dropping the future abandons the read.
    fn page(&self, from: EventPosition) -> BoxFuture<'static, Result<EventPage, ReadError>>;
}

/// The pages of a queue in the partition of a bucket.
pub struct StoredPages {
    /// The store.
    pub store: Arc<Store>,
    /// The bucket, by which the partition is found.
    pub bucket: BucketName,
    /// The queue.
    pub queue: String,
}

impl EventPages for StoredPages {
    fn begin(&self) -> EventPosition {
        self.store.partition_of(self.bucket.as_str()).events_begin(&self.queue)
    }

    fn page(&self, from: EventPosition) -> BoxFuture<'static, Result<EventPage, ReadError>> {
        let partition = self.store.partition_of(self.bucket.as_str());
        Box::pin(partition.events(&self.queue, from, PAGE_EVENTS, PAGE_BYTES))
    }
}

/// Events that a queue keeps, from a position on.
pub struct KeptEvents<P> {
    pages: P,
    next: EventPosition,
    changes: watch::Receiver<Offset>,
    read: VecDeque<DueEvent>,
    /// The read under way. Kept when a wait for the next event is cancelled: a read that takes longer than the waits of its
    /// client would otherwise begin anew for ever.
    reading: Option<BoxFuture<'static, Result<EventPage, ReadError>>>,
    /// True when all events that were there have been read, so that only a change brings more.
    awaits_change: bool,
}

impl<P: EventPages> KeptEvents<P> {
    /// The events at or above `next`. `changes` is woken after new ones.
    pub fn new(pages: P, next: EventPosition, changes: watch::Receiver<Offset>) -> Self {
        let (read, reading) = (VecDeque::new(), None);
        Self { pages, next, changes, read, reading, awaits_change: false }
    }

    /// Waits for the next event; `None` once it is no longer kept. May be cancelled, and loses nothing then. Fails when the
    /// state cannot be read.
    pub async fn next(&mut self) -> Result<Option<DueEvent>, ReadError> {
        loop {
            if let Some(due) = self.read.pop_front() {
                self.next = due.position.next();
                return Ok(Some(due));
            }
            if self.awaits_change {
                if self.changes.changed().await.is_err() {
                    return Ok(None);
                }
                self.awaits_change = false;
            }
            let reading = match &mut self.reading {
                Some(reading) => reading,
                None => {
                    self.changes.borrow_and_update();
                    let page = self.pages.page(self.next);
                    // Only now: events that were dropped before the page was taken are missing in it.
                    if self.pages.begin() > self.next {
                        return Ok(None);
                    }
                    self.reading.insert(page)
                }
            };
            let page = reading.await;
            self.reading = None;
            let page = page?;
            if let Some(damaged) = page.damaged {
                // The delivery counts the event as lost, and logs that.
                self.next = damaged.position.next();
                continue;
            }
            self.read = page.events.into();
            self.awaits_change = self.read.is_empty();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use compactor::state::ObjectEvent;
    use futures::FutureExt as _;
    use ingest::name::ObjectKey;
    use ingest::record::EventName;
    use ingest::tail::TaggedTail;
    use ingest::time::WallTime;
    use parking_lot::Mutex;
    use tokio::sync::oneshot;

    use super::*;

    fn at(offset: u64) -> EventPosition {
        EventPosition { offset: Offset::new(offset), rule: 0 }
    }

    fn due(offset: u64) -> DueEvent {
        let event = ObjectEvent {
            name: EventName::named("s3:ObjectCreated:Put").unwrap(),
            time: WallTime::from_micros(0),
            rule: String::new(),
            bucket: BucketName::new(b"photos".to_vec()).unwrap(),
            region: String::new(),
            owner: String::new(),
            principal: String::new(),
            request: String::new(),
            key: ObjectKey::new(b"key".to_vec()).unwrap(),
            version: None,
            object: None,
            tail: TaggedTail::default(),
        };
        DueEvent { position: at(offset), event, bytes: 1 }
    }

    /// Pages that come only when the test says so.
    #[derive(Default)]
    struct SlowPages {
        begin: AtomicU64,
        reads: AtomicUsize,
        waiting: Mutex<Vec<oneshot::Sender<Vec<DueEvent>>>>,
    }

    impl EventPages for Arc<SlowPages> {
        fn begin(&self) -> EventPosition {
            at(self.begin.load(Ordering::Relaxed))
        }

        fn page(&self, _: EventPosition) -> BoxFuture<'static, Result<EventPage, ReadError>> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let (sender, receiver) = oneshot::channel();
            self.waiting.lock().push(sender);
            Box::pin(
                async move { Ok(EventPage { events: receiver.await.unwrap(), damaged: None }) },
            )
        }
    }

    impl SlowPages {
        /// Ends the oldest read under way.
        fn finish(&self, offsets: &[u64]) {
            let sender = self.waiting.lock().remove(0);
            let _ = sender.send(offsets.iter().map(|offset| due(*offset)).collect());
        }
    }

    /// The offset of the next event, if it comes without a wait. The wait is cancelled otherwise.
    fn next(kept: &mut KeptEvents<Arc<SlowPages>>) -> Option<Option<u64>> {
        let next = kept.next().now_or_never()?;
        Some(next.unwrap().map(|due| due.position.offset.get()))
    }

    #[test]
    fn cancelled_waits_do_not_begin_a_read_anew() {
        let (changed, changes) = watch::channel(Offset::ZERO);
        let pages = Arc::<SlowPages>::default();
        let mut kept = KeptEvents::new(pages.clone(), at(0), changes);
        for _ in 0..5 {
            assert_eq!(next(&mut kept), None);
        }
        assert_eq!(pages.reads.load(Ordering::Relaxed), 1);
        pages.finish(&[1, 2]);
        assert_eq!((next(&mut kept), next(&mut kept)), (Some(Some(1)), Some(Some(2))));
        assert_eq!(next(&mut kept), None);
        // A change while a read is under way is not lost, although the read does not have it.
        changed.send_replace(Offset::new(9));
        pages.finish(&[]);
        assert_eq!(next(&mut kept), None);
        assert_eq!(pages.reads.load(Ordering::Relaxed), 3, "the change has begun another read");
        pages.finish(&[9]);
        assert_eq!(next(&mut kept), Some(Some(9)));
        assert_eq!(next(&mut kept), None);
        pages.finish(&[]);
        for _ in 0..5 {
            assert_eq!(next(&mut kept), None);
        }
        assert_eq!(pages.reads.load(Ordering::Relaxed), 4, "no read without a change");
    }

    #[test]
    fn a_reader_ends_when_its_next_event_is_no_longer_kept() {
        let (_changed, changes) = watch::channel(Offset::ZERO);
        let pages = Arc::<SlowPages>::default();
        let mut kept = KeptEvents::new(pages.clone(), at(0), changes);
        assert_eq!(next(&mut kept), None);
        pages.finish(&[3]);
        assert_eq!(next(&mut kept), Some(Some(3)));
        pages.begin.store(9, Ordering::Relaxed);
        assert_eq!(next(&mut kept), Some(None));
    }
}
