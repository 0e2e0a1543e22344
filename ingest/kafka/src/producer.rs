//! Sending: one librdkafka producer for each kind of records.
//!
//! The producer is idempotent: its messages are in the log in the order of their sends, once, through
//! retries and changes of leader. The guarantee ends with the producer, so a message's outcome is
//! *unknown* whenever librdkafka reports anything but "delivered". Only a message that never entered
//! its queue is known not to have been sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig};
use tokio::sync::oneshot;

use ingest::env::Fut;
use ingest::ids::PartitionId;
use ingest::log::brokers::{self, BrokerError, ProducerKind, SendError};

use crate::admin::spawn;
use crate::context::{ErrorContext, broker_error};
use crate::settings::KafkaSettings;

/// Interval at which a producer's thread checks if its producer is still in use. Does not delay
/// acknowledgements.
const POLL: Duration = Duration::from_millis(100);

/// The settings of a producer: idempotent, acknowledged by all brokers in sync, without compression.
///
/// The replicated log must admit fewer bytes than the queue here takes, and must replace a producer
/// long before a message times out: a message that a living producer abandons could appear behind its
/// successors.
pub fn producer_config(settings: &KafkaSettings, lane: ProducerKind, attempt: u32) -> ClientConfig {
    // Payload comes in bulk and gains from fuller batches, and no caller waits for a single record of
    // it.
    let (role, linger_ms) = match lane {
        ProducerKind::Data => ("data", "2"),
        ProducerKind::Commits => ("commits", "0"),
        ProducerKind::Barriers => ("barriers", "0"),
    };
    let mut config = settings.client(role, attempt);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("max.in.flight.requests.per.connection", "5")
        .set("linger.ms", linger_ms)
        .set("compression.type", "none")
        // Longer than socket.timeout.ms; see Settings::client.
        .set("request.timeout.ms", "30000")
        .set("message.timeout.ms", "60000")
        // Messages are bounded by their bytes alone.
        .set("queue.buffering.max.kbytes", "65536")
        .set("queue.buffering.max.messages", "0")
        // A record of a million bytes and its frame, which is less than brokers take by default.
        .set("message.max.bytes", "1000100")
        .set("batch.size", "1000000");
    config
}

/// The outcome of one message.
type Outcome = Result<(), SendError>;

/// Turns librdkafka's delivery reports into outcomes.
struct DeliveryReports(ErrorContext);

impl ClientContext for DeliveryReports {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, line: &str) {
        self.0.log(level, fac, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for DeliveryReports {
    type DeliveryOpaque = Box<oneshot::Sender<Outcome>>;

    fn delivery(&self, report: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let outcome = match report {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(SendError::Unknown(error.to_string())),
        };
        // The sender may have dropped its future.
        let _ = waiting.send(outcome);
    }
}

/// The producer of one kind. Soon after a drop its thread ends, and the connections with the thread.
pub(crate) struct KafkaProducer {
    /// Shared with its thread, which drops it last, since the drop may block.
    producer: Arc<BaseProducer<DeliveryReports>>,
    topic: String,
    /// Messages sent after an error that ended the producer. Their futures stay pending, so that the
    /// producer is replaced like any other without acknowledgements.
    stranded: Mutex<Vec<oneshot::Sender<Outcome>>>,
}

impl KafkaProducer {
    /// Makes a producer and starts its thread. Does no I/O itself, so errors of connections appear as
    /// missing acknowledgements. Fails when librdkafka refuses the settings or no thread can be
    /// started.
    pub(crate) fn new(
        settings: &KafkaSettings,
        lane: ProducerKind,
        attempt: u32,
    ) -> Result<Self, BrokerError> {
        let config = producer_config(settings, lane, attempt);
        let producer: BaseProducer<DeliveryReports> = config
            .create_with_context(DeliveryReports(ErrorContext::default()))
            .map_err(broker_error)?;
        let producer = Arc::new(producer);
        let polled = producer.clone();
        let poll = move || {
            while Arc::strong_count(&polled) > 1 {
                polled.poll(POLL);
            }
        };
        spawn(&format!("kafka {lane:?}").to_lowercase(), poll)?;
        Ok(Self { producer, topic: settings.topic(), stranded: Mutex::default() })
    }
}

impl brokers::Producer for KafkaProducer {
    fn send(&self, partition: PartitionId, value: Bytes) -> Fut<'static, Outcome> {
        let (waiting, outcome) = oneshot::channel();
        let record = BaseRecord::<(), [u8], _>::with_opaque_to(&self.topic, Box::new(waiting))
            .partition(partition.get().cast_signed())
            .payload(value.as_ref());
        if let Err((error, record)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::Fatal) {
                return Box::pin(std::future::ready(Err(SendError::NotSent(error.to_string()))));
            }
            // After a fatal error nothing is sent any longer. The message stays unanswered, so that the
            // producer is replaced like any other without acknowledgements.
            self.stranded.lock().push(*record.delivery_opaque);
        }
        let dropped = || SendError::Unknown("the producer was dropped".into());
        Box::pin(async move { outcome.await.unwrap_or_else(|_| Err(dropped())) })
    }
}

impl Drop for KafkaProducer {
    fn drop(&mut self) {
        // Purged at once, so that no further message is sent; the thread waits for the end of the
        // purge.
        self.producer.purge(PurgeConfig::default().queue().inflight().non_blocking());
    }
}
