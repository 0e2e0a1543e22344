//! The queues of events of a partition: their delivery, and listeners to what happens.

use std::sync::Arc;

use ingest::ids::Offset;
use ingest::name::BucketName;
use tokio::sync::watch;

use super::Partition;
use super::event_listeners::EventListener;
use crate::delivery::{
    Delivery, DeliveryCounters, DeliveryOptions, DeliveryParts, EventReceiver, RunningDelivery,
};
use crate::state::EventQueue;

impl Partition {
    /// Starts the delivery of a queue of events to a receiver, or, without a receiver, the end of events that are too
    /// old or too many. Must be called once for a queue; the next start continues a delivery that has ended.
    pub fn deliver(
        &self,
        queue: &str,
        receiver: Option<Arc<dyn EventReceiver>>,
        options: DeliveryOptions,
    ) -> RunningDelivery {
        let counters = Arc::new(DeliveryCounters::default());
        let parts = DeliveryParts {
            context: self.context.clone(),
            store: self.store.clone(),
            events: self.events.clone(),
            health: self.health.clone(),
            intake: self.intake.clone(),
            reads: self.reads.clone(),
            clock: self.clock.clone(),
            process: self.process,
        };
        Delivery { parts, queue: queue.to_owned(), receiver, options, counters }.start()
    }

    /// Returns the queues of events, in the order of their names.
    pub fn event_queues(&self) -> Vec<(String, EventQueue)> {
        self.events.all()
    }

    /// Begins to listen to the events of a bucket, in the order of the log, from the next folded record on. Nothing is
    /// kept for a listener that is not there.
    pub fn listen(&self, bucket: &BucketName) -> EventListener {
        self.events.listen(bucket)
    }

    /// Returns a receiver that is woken after records have changed a queue of events.
    pub fn follow_events(&self) -> watch::Receiver<Offset> {
        self.events.follow()
    }
}
