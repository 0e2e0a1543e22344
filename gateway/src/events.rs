//! Events: their destinations, their delivery, and the messages that receivers get.
//!
//! The engine keeps the queues and delivers ([`compactor::delivery`]). This module has the ways to receivers, and the
//! form of messages.

pub mod arn;
mod kafka;
pub mod message;
pub mod report;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use compactor::delivery::{DeliveryOptions, EventReceiver, RunningDelivery};
use ingest::ids::PartitionId;
use parking_lot::Mutex;

use crate::config::{DestinationKind, EventDestination};
use crate::server::store::Store;
use message::EventMessages;

/// The most events of one request to a webhook, and of those that are under way to Kafka.
const PAGE_EVENTS: usize = 100;
/// The bytes of events, as they are stored, after which a page ends.
const PAGE_BYTES: u64 = 256 << 10;
/// The interval at which queues without a destination are looked for.
const LOOK: Duration = Duration::from_secs(10);

/// The bounds of a queue whose destination the settings no longer have.
const LEFT_BYTES: u64 = 1 << 30;
const LEFT_AGE: Duration = Duration::from_secs(7 * 86_400);

/// The delivery of one queue in one partition.
struct QueueDelivery {
    partition: PartitionId,
    queue: String,
    running: RunningDelivery,
}

/// The deliveries of this process. The next start continues them.
pub struct EventDeliveries {
    store: Arc<Store>,
    destinations: Arc<Vec<EventDestination>>,
    running: Mutex<Vec<QueueDelivery>>,
}

impl EventDeliveries {
    /// Starts the delivery of every queue in every partition. Fails if the client of a destination cannot be made.
    pub fn start(
        store: Arc<Store>,
        destinations: Arc<Vec<EventDestination>>,
        region: &str,
    ) -> anyhow::Result<Arc<Self>> {
        let deliveries = Self { store, destinations, running: Mutex::default() };
        let messages = EventMessages { region: region.to_owned() };
        for destination in deliveries.destinations.iter() {
            for partition in deliveries.store.local() {
                // A client for each partition, so that none waits for another.
                let receiver = receiver(destination, &messages)?;
                let options = DeliveryOptions {
                    page_events: PAGE_EVENTS,
                    page_bytes: PAGE_BYTES,
                    waiting_bytes_max: destination.waiting_bytes_max,
                    age_max: destination.age_max,
                    expects_drops: matches!(destination.kind, DestinationKind::Stream),
                };
                deliveries.run(partition, &destination.name, receiver, options);
            }
        }
        let deliveries = Arc::new(deliveries);
        let watched = Arc::downgrade(&deliveries);
        tokio::spawn(async move {
            while let Some(deliveries) = watched.upgrade() {
                deliveries.end_left();
                drop(deliveries);
                tokio::time::sleep(LOOK).await;
            }
        });
        Ok(deliveries)
    }

    fn run(
        &self,
        partition: &compactor::partition::Partition,
        queue: &str,
        receiver: Option<Arc<dyn EventReceiver>>,
        options: DeliveryOptions,
    ) {
        let running = partition.deliver(queue, receiver, options);
        let (partition, queue) = (partition.id(), queue.to_owned());
        self.running.lock().push(QueueDelivery { partition, queue, running });
    }

    /// Ends all deliveries and their leases, so that other nodes go on at once; at most two seconds.
    pub async fn stop(&self) {
        let stops: Vec<_> = self.running.lock().iter().map(|queue| queue.running.stop()).collect();
        futures::future::join_all(stops).await;
    }

    /// Bounds queues whose destination the settings do not have: their events wait until they are too old or too many.
    fn end_left(&self) {
        for partition in self.store.local() {
            for (queue, state) in partition.event_queues() {
                let is_running =
                    self.running.lock().iter().any(|running| {
                        running.partition == partition.id() && running.queue == queue
                    });
                if is_running {
                    continue;
                }
                if state.waiting() > 0 {
                    let (waiting, partition) = (state.waiting(), partition.id());
                    tracing::warn!(queue, waiting, %partition, "events wait for a destination that the settings do not have");
                }
                let options = DeliveryOptions {
                    page_events: PAGE_EVENTS,
                    page_bytes: PAGE_BYTES,
                    waiting_bytes_max: LEFT_BYTES,
                    age_max: LEFT_AGE,
                    expects_drops: false,
                };
                self.run(partition, &queue, None, options);
            }
        }
    }
}

/// Makes the way to a destination's receiver; `None` for a stream, whose readers come by themselves.
fn receiver(
    destination: &EventDestination,
    messages: &EventMessages,
) -> anyhow::Result<Option<Arc<dyn EventReceiver>>> {
    Ok(match &destination.kind {
        DestinationKind::Webhook { url, token, timeout } => {
            let messages = messages.clone();
            Some(Arc::new(webhook::Webhook::new(url, token.as_ref(), *timeout, messages)?))
        }
        DestinationKind::Kafka { brokers, topic } => {
            Some(Arc::new(kafka::KafkaTopic::new(brokers, topic, messages.clone())?))
        }
        DestinationKind::Stream => None,
    })
}
