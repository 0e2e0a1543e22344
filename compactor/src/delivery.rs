//! The delivery of one queue of events: in order, at least once, by one process at a time.
//!
//! ```text
//!   state entries of the queue ──page──► receiver ──acknowledged──► cursor's record in the log ──fold──► floor
//!         ▲ from the cursor on              │ failed                                         flush and merges leave
//!         └─────────── back-off ◄───────────┘                                                out what lies below it
//! ```
//!
//! A page follows only when the page before was acknowledged. The cursor is written at most every 300 ms, so after a
//! crash the events of the last moment are delivered again. The process delivers under a lease that only the log gives,
//! see [`ingest::record::EventCursor`]. Beyond its bounds of bytes and age a queue drops its oldest events: counted,
//! and told.
//!
//! The log decides who delivers: a record of the lease above the present one takes the queue over, and from then on the
//! cursor of the former process does not move. A store of one process takes a queue over at once. In a cluster a node
//! takes over when no cursor came for [`LEASE`] although events wait; the process that has the lease writes a cursor at
//! least every [`RENEW`], and does not begin a delivery before that. So two processes deliver at a time only when one of
//! them is stopped for the time of a delivery.
//!
//! A lease ends early by a record of no process: at a clean stop, and in a cluster when a node's deliveries have failed
//! for [`YIELD`], since another node may reach the receiver. A node whose settings lack the destination takes over
//! only after [`ORPHANED`], and never renews.

mod counters;
mod held;
mod page;

use std::sync::Arc;
use std::time::Duration;

use ingest::env::{Fut, Task, timeout};
use ingest::ids::{Offset, WriterId};
use ingest::log::ReadError;
use ingest::mutant::Mutant;
use ingest::record::{EventPosition, RecordBody};
use ingest::time::Tick;
use tokio::sync::watch;

use crate::catalog::store::CatalogStore;
use crate::outcome::RecordOutcome;
use crate::partition::context::PartitionContext;
use crate::partition::event_board::{EventBoard, QueueView};
use crate::partition::health::Health;
use crate::partition::intake::Intake;
use crate::partition::reads::Reads;
use crate::partition::record_clock::RecordClock;
pub use crate::state::DueEvent;
use crate::state::EventQueue;

pub use counters::DeliveryCounters;
pub use page::{DamagedEvent, EventPage};

use held::HeldQueue;

/// The longest time that a delivered event waits for the record of the cursor.
const CURSOR_PAUSE: Duration = Duration::from_millis(300);
/// The number of delivered events after which the cursor is written at once.
const CURSOR_EVENTS: u64 = 1000;
/// The pause after the first failed delivery; pauses double.
const BACK_OFF: Duration = Duration::from_millis(200);
/// The longest pause between two tries. Below the age at which a lease must be renewed.
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// The pause before state or log are asked again after an error.
const RETRY: Duration = Duration::from_secs(1);
/// The silence after which another node takes a queue over.
const LEASE: Duration = Duration::from_secs(45);
/// The age of the last cursor from which on another one must come before a delivery.
const RENEW: Duration = Duration::from_secs(15);
/// The time of failures after which a node of a cluster leaves a queue to the others.
const YIELD: Duration = Duration::from_secs(60);
/// The silence after which a node takes over a queue that it cannot deliver, to keep it within its bounds.
const ORPHANED: Duration = Duration::from_secs(600);
/// The longest time for one delivery, whatever the receiver does. Together with [`RENEW`] below [`LEASE`].
const DELIVERY_MAX: Duration = Duration::from_secs(25);
/// The longest time for the record that ends a lease, at a stop.
const RELEASE_MAX: Duration = Duration::from_secs(2);
/// The longest wait without a look at the queue.
const LOOK: Duration = Duration::from_secs(60);
/// The least time between two messages about dropped events of one queue.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The other end of a queue.
pub trait EventReceiver: Send + Sync {
    /// Delivers events, which are in the order of the queue and never none. `Ok` means that every one is acknowledged.
    /// After an error, with its text, some may have been delivered; all of them are delivered again. Must resolve
    /// within 20 seconds; a delivery that takes longer than 25 is dropped and counts as failed. Dropping the future may
    /// leave events delivered.
    fn deliver<'a>(&'a self, events: &'a [DueEvent]) -> Fut<'a, Result<(), String>>;
}

/// The bounds of a queue and of its pages.
#[derive(Clone, Debug)]
pub struct DeliveryOptions {
    /// The most events of a page.
    pub page_events: usize,
    /// The bytes of events after which a page ends.
    pub page_bytes: u64,
    /// The most bytes of events that wait; beyond, the oldest are dropped.
    pub waiting_bytes_max: u64,
    /// The age from which on events are dropped, while deliveries fail or where there is no receiver.
    pub age_max: Duration,
    /// True where events are kept for readers, so that the end of old ones is no loss and is not logged.
    pub expects_drops: bool,
}

/// The parts of a partition that a delivery uses.
#[derive(Clone)]
pub(crate) struct DeliveryParts {
    pub context: Arc<PartitionContext>,
    pub store: Arc<CatalogStore>,
    pub events: Arc<EventBoard>,
    pub health: Arc<Health>,
    pub intake: Arc<Intake>,
    pub reads: Arc<Reads>,
    pub clock: Arc<RecordClock>,
    pub process: WriterId,
}

/// A delivery that runs. Dropping it ends the delivery at once, and its lease after 45 seconds.
pub struct RunningDelivery {
    /// The numbers of this process.
    pub counters: Arc<DeliveryCounters>,
    stop: watch::Sender<bool>,
    /// Changes to true, or loses its sender, when the task has ended.
    ended: watch::Receiver<bool>,
    _task: Task,
}

impl RunningDelivery {
    /// Tells the delivery to end, and its lease with it. The future resolves when that is done, within about two
    /// seconds. Events under way may come again.
    pub fn stop(&self) -> Fut<'static, ()> {
        self.stop.send_replace(true);
        let mut ended = self.ended.clone();
        Box::pin(async move {
            let _ = ended.wait_for(|ended| *ended).await;
        })
    }
}

/// The delivery of one queue.
pub(crate) struct Delivery {
    pub parts: DeliveryParts,
    pub queue: String,
    /// The receiver; `None` where events are only kept until they are too old or too many.
    pub receiver: Option<Arc<dyn EventReceiver>>,
    pub options: DeliveryOptions,
    pub counters: Arc<DeliveryCounters>,
}

impl Delivery {
    /// Starts the task, which ends only at a stop or when the fold has stopped. Errors are retried, and counted.
    pub fn start(self) -> RunningDelivery {
        let env = self.parts.context.env.clone();
        let ((stop, stopping), (end, ended)) = (watch::channel(false), watch::channel(false));
        let counters = self.counters.clone();
        let task: Fut<'static, ()> = Box::pin(async move {
            self.run(stopping).await;
            end.send_replace(true);
        });
        let _task = env.rt.spawn("delivery of events", task);
        RunningDelivery { counters, stop, ended, _task }
    }

    async fn run(&self, mut stopping: watch::Receiver<bool>) {
        let mut held = None;
        {
            let stopped = std::pin::pin!(stopping.wait_for(|stops| *stops));
            let delivered = std::pin::pin!(self.deliver_all(&mut held));
            futures::future::select(stopped, delivered).await;
        }
        if let Some(mut held) = held
            && self.has_lease(&held)
        {
            let clock = self.parts.context.env.clock.as_ref();
            let _ = timeout(clock, RELEASE_MAX, self.release(&mut held)).await;
        }
    }

    /// Takes leases and delivers under them until the fold has stopped. `held` is the queue under the present lease. May be
    /// cancelled.
    async fn deliver_all(&self, held: &mut Option<HeldQueue>) {
        let mut changes = self.parts.events.follow();
        while !self.parts.health.is_stopped() {
            *held = self.take_lease(&mut changes).await;
            while let Some(present) = held {
                if !self.step(present, &mut changes).await {
                    *held = None;
                }
            }
        }
    }

    /// Does one step under a lease; returns false once the lease is lost or the fold has stopped.
    async fn step(&self, held: &mut HeldQueue, changes: &mut watch::Receiver<Offset>) -> bool {
        changes.borrow_and_update();
        if !self.has_lease(held) || self.parts.health.is_stopped() {
            return false;
        }
        if self.must_say(held) {
            self.say(held).await;
            return true;
        }
        let excess = self.waiting_bytes(held).saturating_sub(self.options.waiting_bytes_max);
        let page = match self.page(held.position).await {
            Ok(page) => page,
            Err(error) => {
                self.counters.note_failed(format!("the events cannot be read: {error}"));
                tracing::warn!(%error, queue = self.queue, "events cannot be read; trying again");
                self.pause(RETRY).await;
                return true;
            }
        };
        if let Some(damaged) = &page.damaged {
            held.lost(damaged, self.now());
            self.counters.note_dropped(1);
            let (queue, sequencer) = (self.queue.as_str(), damaged.position.offset.get());
            tracing::error!(queue, sequencer, "an event cannot be decoded and is lost");
        } else if page.events.is_empty() {
            self.wait_for_events(held, changes).await;
        } else if excess > 0 {
            self.drop_events(held, page.first_of(excess), "the queue is full");
        } else {
            self.deliver(held, &page).await;
        }
        true
    }

    /// Delivers a page, or drops its events that are too old.
    async fn deliver(&self, held: &mut HeldQueue, page: &EventPage) {
        let old = match &self.receiver {
            Some(_) if held.failures == 0 => &page.events[..0],
            _ => page.older_than(self.parts.clock.trusted(), self.options.age_max),
        };
        if !old.is_empty() {
            return self.drop_events(held, old, "the events are too old");
        }
        let Some(receiver) = &self.receiver else {
            // Nothing is due before the oldest event is too old.
            return self.pause(RETRY).await;
        };
        if self.parts.context.env.mutated(Mutant::PassEventsBeforeDelivery) {
            held.delivered(&page.events, self.now());
            self.say(held).await;
        }
        let clock = self.parts.context.env.clock.as_ref();
        let delivered = timeout(clock, DELIVERY_MAX, receiver.deliver(&page.events)).await;
        match delivered.unwrap_or_else(|| Err("the receiver did not answer in time".into())) {
            Ok(()) => {
                if held.failures > 0 {
                    tracing::info!(
                        queue = self.queue,
                        tries = held.failures + 1,
                        "events are delivered again"
                    );
                }
                (held.failures, held.failing_since) = (0, None);
                held.delivered(&page.events, self.now());
                self.counters.note_delivered(page.events.len() as u64);
            }
            Err(error) => self.note_failure(held, error).await,
        }
    }

    /// Counts a delivery that failed, and waits before the next try, or leaves the queue to other nodes.
    async fn note_failure(&self, held: &mut HeldQueue, error: String) {
        held.failures += 1;
        let failing_since = *held.failing_since.get_or_insert(self.now());
        // Of a receiver that is down for days, one line for each doubling of the tries.
        if held.failures.is_power_of_two() {
            let (queue, tries) = (self.queue.as_str(), held.failures);
            tracing::warn!(error, queue, tries, "events could not be delivered; trying again");
        }
        self.counters.note_failed(error);
        if held.has_unsaid() {
            self.say(held).await;
        }
        if self.is_in_cluster() && self.now().since(failing_since) >= YIELD {
            self.release(held).await;
            // The other nodes are first, and then this one tries again.
            return self.pause(LEASE).await;
        }
        let env = &self.parts.context.env;
        let doubled = BACK_OFF * 2u32.saturating_pow(held.failures.min(16) - 1);
        let longest = doubled.min(BACK_OFF_MAX);
        // Between half of the pause and all of it, so that many queues do not try in step.
        let jitter = 500 + (env.random.next() % 501) as u32;
        self.pause(longest * jitter / 1000).await;
    }

    /// Gives up events at the beginning of the queue.
    fn drop_events(&self, held: &mut HeldQueue, events: &[DueEvent], reason: &str) {
        let now = self.now();
        held.dropped(events, now);
        self.counters.note_dropped(events.len() as u64);
        let is_due = held.warned.is_none_or(|warned| now.since(warned) >= WARN_EVERY);
        if is_due && !self.options.expects_drops {
            held.warned = Some(now);
            let (queue, dropped) = (self.queue.as_str(), held.totals.dropped);
            tracing::error!(queue, dropped, "events are lost without delivery: {reason}");
        }
    }

    /// Waits for more events, or until the cursor is due.
    async fn wait_for_events(&self, held: &HeldQueue, changes: &mut watch::Receiver<Offset>) {
        match held.unsaid_since {
            Some(since) => {
                let left = CURSOR_PAUSE.saturating_sub(self.now().since(since));
                self.wait_at_most(left, changes).await;
            }
            // In a cluster another node may take over, so the wait ends sometimes.
            None => self.wait_at_most(LOOK, changes).await,
        }
    }

    async fn wait_at_most(&self, limit: Duration, changes: &mut watch::Receiver<Offset>) {
        let clock = self.parts.context.env.clock.as_ref();
        let _ = timeout(clock, limit, changes.changed()).await;
    }

    async fn pause(&self, pause: Duration) {
        self.parts.context.env.clock.sleep(pause).await;
    }

    fn now(&self) -> Tick {
        self.parts.context.env.clock.now()
    }

    /// Writes the cursor. After an error the same record is written again, which does no harm.
    async fn say(&self, held: &mut HeldQueue) {
        let body = RecordBody::EventCursor(held.cursor(&self.queue, self.parts.process));
        match self.parts.intake.submit("", "", body).await {
            Ok(RecordOutcome::Done) => held.unsaid_since = None,
            // The lease is lost, and the next step sees that.
            Ok(_) => self.pause(BACK_OFF).await,
            Err(error) => {
                tracing::debug!(%error, queue = self.queue, "the cursor of a queue could not be written");
                self.pause(RETRY).await;
            }
        }
    }

    /// Gives the lease back. After an error another process has to wait for the lease to end.
    async fn release(&self, held: &mut HeldQueue) {
        let body = RecordBody::EventCursor(held.release(&self.queue));
        if let Err(error) = self.parts.intake.submit("", "", body).await {
            tracing::debug!(%error, queue = self.queue, "the lease of a queue could not be given back");
        }
    }

    /// True for a process of a cluster, in which other nodes can deliver.
    fn is_in_cluster(&self) -> bool {
        self.parts.context.options.node.is_some()
    }

    /// True where the settings have the queue's destination.
    fn has_destination(&self) -> bool {
        self.receiver.is_some() || self.options.expects_drops
    }

    /// The silence after which this process may take a queue over.
    fn patience(&self, queue: &EventQueue) -> Duration {
        match (self.is_in_cluster(), self.has_destination()) {
            (false, _) => Duration::ZERO,
            (true, false) => ORPHANED,
            // A queue that nobody delivers.
            (true, true) if queue.process == WriterId::default() => Duration::ZERO,
            (true, true) => LEASE,
        }
    }

    /// Waits for events, then takes the queue over; `None` when that must be tried again.
    async fn take_lease(&self, changes: &mut watch::Receiver<Offset>) -> Option<HeldQueue> {
        changes.borrow_and_update();
        let view = self.parts.events.view(&self.queue);
        if view.queue.waiting() == 0 {
            self.wait_at_most(LOOK, changes).await;
            return None;
        }
        if view.queue.process == self.parts.process {
            return Some(HeldQueue::new(view.queue));
        }
        let quiet = |view: &QueueView| self.now().since(view.heard);
        let patience = self.patience(&view.queue);
        if quiet(&view) < patience {
            self.pause((patience - quiet(&view)).min(RETRY)).await;
            return None;
        }
        // A node whose fold is behind the log has not heard of the newest cursors, so the decision is made at the log's end.
        if self.is_in_cluster() && self.parts.reads.fresh().await.is_err() {
            self.pause(RETRY).await;
            return None;
        }
        let view = self.parts.events.view(&self.queue);
        if view.queue.process == self.parts.process || quiet(&view) < self.patience(&view.queue) {
            return None;
        }
        let mut wanted = HeldQueue::new(view.queue);
        wanted.lease += 1;
        let body = RecordBody::EventCursor(wanted.cursor(&self.queue, self.parts.process));
        match self.parts.intake.submit("", "", body).await {
            Ok(RecordOutcome::Done) => {
                let queue = self.parts.events.view(&self.queue).queue;
                (queue.process == self.parts.process).then(|| HeldQueue::new(queue))
            }
            // Another process was first.
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%error, queue = self.queue, "a queue could not be taken over");
                self.pause(RETRY).await;
                None
            }
        }
    }

    /// True while the log says that this process delivers.
    fn has_lease(&self, held: &HeldQueue) -> bool {
        let queue = self.parts.events.view(&self.queue).queue;
        queue.lease == held.lease && queue.process == self.parts.process
    }

    /// True when the cursor must be written before anything else.
    fn must_say(&self, held: &HeldQueue) -> bool {
        let now = self.now();
        let unsaid = held.totals.delivered + held.totals.dropped - held.said;
        let is_due = held
            .unsaid_since
            .is_some_and(|since| unsaid >= CURSOR_EVENTS || now.since(since) >= CURSOR_PAUSE);
        let view = self.parts.events.view(&self.queue);
        let must_renew = self.is_in_cluster()
            && self.has_destination()
            && view.queue.waiting() > 0
            && now.since(view.heard) >= RENEW;
        is_due || must_renew
    }

    /// The bytes of events that wait, as far as this process knows.
    fn waiting_bytes(&self, held: &HeldQueue) -> u64 {
        let added = self.parts.events.view(&self.queue).queue.added_bytes;
        added.saturating_sub(held.totals.done_bytes)
    }

    /// Reads the next page. Fails if the state cannot be read.
    async fn page(&self, from: EventPosition) -> Result<EventPage, ReadError> {
        let (events, bytes) = (self.options.page_events, self.options.page_bytes);
        EventPage::read(&self.parts.store.snapshot(), &self.queue, from, events, bytes).await
    }
}
