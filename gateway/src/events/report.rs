//! How far the delivery of events has come: for the status, metrics and warnings.

use compactor::delivery::EventPage;
use compactor::partition::Partition;
use ingest::log::ReadError;
use serde::{Deserialize, Serialize};

use super::EventDeliveries;

/// A queue of events in one partition.
#[derive(Serialize, Deserialize, Debug, Default, Clone, PartialEq)]
pub struct QueueReport {
    /// The partition.
    pub partition: u32,
    /// The destination.
    pub destination: String,
    /// Events that wait.
    pub waiting: u64,
    /// Their bytes in the store.
    pub waiting_bytes: u64,
    /// The age of the oldest event that waits, in seconds; none if nothing waits or the event cannot be read.
    pub oldest_seconds: Option<f64>,
    /// Events that were delivered since the first one, those delivered twice counted once.
    pub delivered: u64,
    /// Events that were given up since the first one.
    pub dropped: u64,
    /// Failed tries of this process.
    pub failures: u64,
    /// The error of the last try, if it failed.
    pub error: Option<String>,
}

impl EventDeliveries {
    /// Reports every queue, in the order of partitions and names.
    pub async fn report(&self) -> Vec<QueueReport> {
        let mut reports = Vec::new();
        for partition in self.store.local() {
            for (destination, queue) in partition.event_queues() {
                let mut report = QueueReport {
                    partition: partition.id().get(),
                    waiting: queue.waiting(),
                    waiting_bytes: queue.waiting_bytes(),
                    delivered: queue.delivered,
                    dropped: queue.dropped,
                    ..QueueReport::default()
                };
                if report.waiting > 0 {
                    let oldest = oldest(partition, &destination).await;
                    report.oldest_seconds = oldest.ok().flatten();
                }
                let running = self.running.lock();
                let is_it = |one: &&super::QueueDelivery| {
                    one.partition == partition.id() && one.queue == destination
                };
                if let Some(one) = running.iter().find(is_it) {
                    report.failures = one.running.counters.failed();
                    report.error = one.running.counters.error();
                }
                drop(running);
                report.destination = destination;
                reports.push(report);
            }
        }
        reports
    }

    /// Puts the numbers of all queues into the metrics. Never fails: a number that cannot be read is left out.
    pub async fn take_metrics(&self) {
        for report in self.report().await {
            let labels = [
                ("partition", report.partition.to_string()),
                ("destination", report.destination.clone()),
            ];
            let gauge = |name: &'static str, value: f64| metrics::gauge!(name, &labels).set(value);
            gauge("siltstone_events_waiting", report.waiting as f64);
            gauge("siltstone_events_waiting_bytes", report.waiting_bytes as f64);
            gauge("siltstone_events_oldest_seconds", report.oldest_seconds.unwrap_or_default());
            let counter = |name: &'static str, value: u64| {
                metrics::counter!(name, &labels).absolute(value);
            };
            counter("siltstone_events_delivered_total", report.delivered);
            counter("siltstone_events_dropped_total", report.dropped);
            counter("siltstone_events_failures_total", report.failures);
        }
    }
}

/// The age in seconds of the oldest event that waits.
async fn oldest(partition: &Partition, queue: &str) -> Result<Option<f64>, ReadError> {
    let state = partition.event_queues().into_iter().find(|(name, _)| name == queue);
    let Some((_, state)) = state else { return Ok(None) };
    let page = EventPage::read(&partition.snapshot(), queue, state.position, 1, 1).await?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_micros() as i64);
    let age = |micros: i64| now.saturating_sub(micros).max(0) as f64 / 1e6;
    Ok(page.events.first().map(|due| age(due.event.time.micros())))
}
