//! Sending: one librdkafka producer for each lane.
//!
//! It is idempotent: what it is given stands in the log in that order, once, through retries and changes
//! of leader. That ends with the producer, so a message's outcome is *unknown* whenever librdkafka says
//! anything but "delivered" of it; only what never entered its queue is known not to have been sent.

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

/// How often a producer's thread looks whether it is still wanted. Acknowledgements do not wait for it.
const POLL: Duration = Duration::from_millis(100);

/// What a lane's producer is made with.
///
/// The layer above bounds what is under way to less than the queue here, and gives a producer up long
/// before a message's own time is over: a message that is given up on a living producer may turn up
/// behind its successors.
pub fn producer_config(settings: &KafkaSettings, lane: ProducerKind, attempt: u32) -> ClientConfig {
    // Payload comes in bulk and gains from fuller batches; nobody waits for one record of it.
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

type Outcome = Result<(), SendError>;

/// Turns delivery reports into outcomes.
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
        // Whoever sent it may have gone.
        let _ = waiting.send(outcome);
    }
}

/// A lane's producer. Its thread ends, and with it the connections, soon after it is dropped.
pub(crate) struct KafkaProducer {
    /// Shared with its thread, which lets go last: letting go may block.
    producer: Arc<BaseProducer<DeliveryReports>>,
    topic: String,
    /// What is sent after an error that ends the producer waits here unanswered, until the producer is
    /// given up like any other that does not get on.
    stranded: Mutex<Vec<oneshot::Sender<Outcome>>>,
}

impl KafkaProducer {
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
            self.stranded.lock().push(*record.delivery_opaque);
        }
        let dropped = || SendError::Unknown("the producer was dropped".into());
        Box::pin(async move { outcome.await.unwrap_or_else(|_| Err(dropped())) })
    }
}

impl Drop for KafkaProducer {
    fn drop(&mut self) {
        // At once, so that nothing more leaves; the thread waits for it to be done.
        self.producer.purge(PurgeConfig::default().queue().inflight().non_blocking());
    }
}
