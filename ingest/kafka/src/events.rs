//! Sending events to a topic that others read: no part of the log.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig};
use tokio::sync::oneshot;

use ingest::log::brokers::BrokerError;

use crate::admin::spawn;
use crate::context::{ErrorContext, broker_error};

/// Interval at which a client's thread checks if the client is still in use.
const POLL: Duration = Duration::from_millis(100);

type Outcome = Result<(), String>;

/// Turns librdkafka's delivery reports into outcomes.
struct EventReports(ErrorContext);

impl ClientContext for EventReports {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, line: &str) {
        self.0.log(level, fac, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for EventReports {
    type DeliveryOpaque = Box<oneshot::Sender<Outcome>>;

    fn delivery(&self, report: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let outcome = match report {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.to_string()),
        };
        // The sender may have dropped its future.
        let _ = waiting.send(outcome);
    }
}

/// One client of librdkafka with its thread. A drop purges what was not sent.
struct EventClient(Arc<BaseProducer<EventReports>>);

impl EventClient {
    fn new(config: &ClientConfig) -> Result<Self, BrokerError> {
        let context = EventReports(ErrorContext::default());
        let producer: BaseProducer<EventReports> =
            config.create_with_context(context).map_err(broker_error)?;
        let producer = Arc::new(producer);
        let polled = producer.clone();
        spawn("kafka events", move || {
            while Arc::strong_count(&polled) > 1 {
                polled.poll(POLL);
            }
        })?;
        Ok(Self(producer))
    }
}

impl Drop for EventClient {
    fn drop(&mut self) {
        self.0.purge(PurgeConfig::default().queue().inflight().non_blocking());
    }
}

/// A producer of events: idempotent, acknowledged by all brokers in sync. Messages with one key go to one partition of
/// the topic, in the order in which they were sent.
pub struct EventProducer {
    config: ClientConfig,
    topic: String,
    /// The client; none after a failure, until the next send.
    client: Mutex<Option<EventClient>>,
}

impl EventProducer {
    /// Makes a producer for a topic at the given brokers (`host:port`). Does no I/O. Fails when librdkafka refuses the
    /// settings, or when no thread can be started.
    pub fn new(brokers: &[String], topic: &str) -> Result<Self, BrokerError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers.join(","))
            .set("client.id", "siltstone-events")
            .set("enable.idempotence", "true")
            // A message that fails ends the client, so that no later one of its key comes before it.
            .set("enable.gapless.guarantee", "true")
            .set("acks", "all")
            .set("linger.ms", "2")
            .set("compression.type", "zstd")
            .set("socket.timeout.ms", "6000")
            .set("request.timeout.ms", "5000")
            .set("message.timeout.ms", "10000")
            // The murmur hash, which Java's clients use, so that keys meet in one partition whoever writes them.
            .set("partitioner", "murmur2_random")
            .set("log.connection.close", "false");
        let client = Mutex::new(Some(EventClient::new(&config)?));
        Ok(Self { config, topic: topic.to_owned(), client })
    }

    /// Sends messages, each a key and a value, and resolves when all are acknowledged. After an error any of them may be
    /// in the topic, each key's first copies in order; the caller sends all of them again. Resolves within 15 seconds.
    pub async fn send_all(&self, messages: Vec<(String, String)>) -> Result<(), String> {
        let sent = self.enqueue(&messages);
        let outcome = match sent {
            Ok(waiting) => all(waiting).await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            // Dropped before its successor sends.
            drop(self.client.lock().take());
        }
        outcome
    }

    /// Puts all messages into the client's queue, in order.
    fn enqueue(
        &self,
        messages: &[(String, String)],
    ) -> Result<Vec<oneshot::Receiver<Outcome>>, String> {
        let mut client = self.client.lock();
        if client.is_none() {
            *client = Some(EventClient::new(&self.config).map_err(|error| error.to_string())?);
        }
        let Some(EventClient(producer)) = client.as_ref() else { return Err("no client".into()) };
        let send = |(key, value): &(String, String)| {
            let (waiting, outcome) = oneshot::channel();
            let record = BaseRecord::with_opaque_to(&self.topic, Box::new(waiting))
                .key(key.as_bytes())
                .payload(value.as_bytes());
            match producer.send(record) {
                Ok(()) => Ok(outcome),
                Err((error, _)) => Err(error.to_string()),
            }
        };
        messages.iter().map(send).collect()
    }
}

/// Waits for the outcomes of all messages; the first failure counts.
async fn all(waiting: Vec<oneshot::Receiver<Outcome>>) -> Outcome {
    let mut failed = Ok(());
    for outcome in waiting {
        let outcome = outcome.await.unwrap_or_else(|_| Err("the client was dropped".into()));
        if failed.is_ok() {
            failed = outcome;
        }
    }
    failed
}
