//! Reading: one librdkafka consumer for each reader of a partition.
//!
//! A thread of its own takes fetched messages, a batch at a time, and passes them on through a channel
//! of one batch. A slow reader stops the thread, and then librdkafka's fetching, at a bounded number of
//! bytes. The thread never continues behind an error that may have skipped a message.
//!
//! Many errors pass by themselves. Such an error becomes a [`TransientError`], which the next message
//! clears. When no message comes for a while, the brokers are asked if the partition exists at all.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::sync::mpsc;

use ingest::env::Fut;
use ingest::ids::{Offset, PartitionId};
use ingest::log::brokers::{self, BrokerError, CommittedMessage, ConsumeError};
use ingest::time::WallTime;

use crate::admin::{self, PartitionPresence, spawn};
use crate::context::{ErrorContext, broker_error};
use crate::settings::KafkaSettings;

/// Interval at which a consumer's thread checks if its reader still exists. Does not delay messages.
const POLL: Duration = Duration::from_millis(100);
/// A batch is full with this number of messages,
const BATCH_MESSAGES_MAX: usize = 4096;
/// or with this number of bytes.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Time for which an error that may pass is tolerated.
const DOUBT: Duration = Duration::from_secs(3);
/// Longest time that brokers may take to confirm that a partition exists.
const ANSWER: Duration = Duration::from_secs(2);

/// The settings of a partition's consumer. These settings make librdkafka fail on a missing offset instead of
/// skipping messages, verify checksums, and bound the memory of fetched messages. Never joins a
/// consumer group and never commits an offset.
pub fn consumer_config(
    settings: &KafkaSettings,
    partition: PartitionId,
    attempt: u32,
) -> ClientConfig {
    let mut config = settings.client(&format!("reader-{partition}"), attempt);
    config
        // librdkafka requires a group before partitions can be assigned; this one is never joined.
        .set("group.id", format!("siltstone-{}", settings.cluster()))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Any other value skips records without an error.
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("isolation.level", "read_uncommitted")
        .set("enable.partition.eof", "false")
        // The broker holds a fetch until there is a message, at most for this time.
        .set("fetch.wait.max.ms", "500")
        .set("fetch.min.bytes", "1")
        .set("socket.timeout.ms", "1500")
        .set("fetch.error.backoff.ms", "50")
        // The size of one fetch, the most that is fetched ahead, and the wait before fetching resumes
        // below that.
        .set("fetch.message.max.bytes", "4194304")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "5")
        // Time for which a new topic may be unknown while its metadata spreads.
        .set("topic.metadata.propagation.max.ms", "2000");
    config
}

/// The messages of one delivery, or the error that ends the consumer.
type DeliveredBatch = Result<Vec<CommittedMessage>, ConsumeError>;

/// A partition's consumer. Soon after a drop its thread ends, and the connections with the thread.
pub(crate) struct KafkaConsumer {
    batches: mpsc::Receiver<DeliveredBatch>,
}

impl KafkaConsumer {
    /// Makes a consumer that begins at an offset, and starts its thread. Does no I/O itself, so errors
    /// of connections appear in the first delivery. Fails when librdkafka refuses the settings or no
    /// thread can be started.
    pub(crate) fn new(
        settings: &KafkaSettings,
        partition: PartitionId,
        from: Offset,
        attempt: u32,
    ) -> Result<Self, BrokerError> {
        let context = ErrorContext::default();
        let topic = settings.topic();
        let config = consumer_config(settings, partition, attempt);
        let consumer: BaseConsumer<ErrorContext> =
            config.create_with_context(context.clone()).map_err(broker_error)?;
        let place = rdkafka::Offset::Offset(from.get().cast_signed());
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(&topic, partition.get().cast_signed(), place)
            .and_then(|()| consumer.assign(&assignment))
            .map_err(broker_error)?;
        let (sender, batches) = mpsc::channel(1);
        let delivery =
            ConsumerThread { consumer, context, topic, partition, batches: sender, doubt: None };
        spawn(&format!("kafka reader {partition}"), move || delivery.run())?;
        Ok(Self { batches })
    }
}

impl brokers::Consumer for KafkaConsumer {
    fn next(&mut self) -> Fut<'_, DeliveredBatch> {
        let ended = || ConsumeError::Unavailable("the consumer has ended".into());
        Box::pin(async move { self.batches.recv().await.unwrap_or_else(|| Err(ended())) })
    }
}

/// The state of a consumer's thread.
struct ConsumerThread {
    consumer: BaseConsumer<ErrorContext>,
    context: ErrorContext,
    topic: String,
    partition: PartitionId,
    batches: mpsc::Sender<DeliveredBatch>,
    doubt: Option<TransientError>,
}

/// An error that may pass, with the time at which it began.
struct TransientError {
    since: Instant,
    error: KafkaError,
}

impl ConsumerThread {
    /// Delivers batches until the reader is gone or an error is final. Blocks while the reader is slow.
    fn run(mut self) {
        while !self.batches.is_closed() {
            let (messages, error) = self.pull();
            if !messages.is_empty() {
                if self.doubt.take().is_some() {
                    self.context.forget();
                }
                if self.batches.blocking_send(Ok(messages)).is_err() {
                    return;
                }
            }
            // Only after the messages before the error have been delivered.
            let end = error.and_then(|error| self.judge(error));
            if let Some(end) = end.or_else(|| self.settle()) {
                // The reader may have been dropped.
                let _ = self.batches.blocking_send(Err(end));
                return;
            }
        }
    }

    /// Waits for a message, then takes those that are fetched already, up to an error or a full batch.
    fn pull(&self) -> (Vec<CommittedMessage>, Option<KafkaError>) {
        let mut messages = Vec::new();
        let mut bytes = 0;
        let mut wait = POLL;
        while messages.len() < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES_MAX {
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    bytes += message.payload_len();
                    messages.push(copy(&message));
                }
                Some(Err(error)) => return (messages, Some(error)),
                None => break,
            }
            // Only the first message is waited for.
            wait = Duration::ZERO;
        }
        (messages, None)
    }

    /// Decides if an error ends the consumer, or may pass.
    fn judge(&mut self, error: KafkaError) -> Option<ConsumeError> {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset) => Some(ConsumeError::OutOfRange),
            Some(Code::TopicAuthorizationFailed) => Some(ConsumeError::Refused(error.to_string())),
            // Connections and metadata may recover. Errors of the group do not matter, since it is
            // never joined.
            Some(
                Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::SSL
                | Code::OperationTimedOut
                | Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::UnknownTopic
                | Code::UnknownPartition
                | Code::UnknownTopicOrPartition
                | Code::GroupAuthorizationFailed
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::NotCoordinator,
            ) => {
                self.doubt.get_or_insert_with(|| TransientError { since: Instant::now(), error });
                None
            }
            // These include messages that librdkafka would skip: damaged in transit, or not understood.
            _ => Some(ConsumeError::Unavailable(error.to_string())),
        }
    }

    /// Asks the brokers for the partition when a transient error has lasted. Returns the final error,
    /// or none when the partition exists.
    fn settle(&mut self) -> Option<ConsumeError> {
        let doubt = self.doubt.take_if(|doubt| doubt.since.elapsed() >= DOUBT)?;
        match admin::presence(&self.consumer, &self.topic, self.partition, ANSWER) {
            Ok(PartitionPresence::There) => {
                self.context.forget();
                None
            }
            Ok(PartitionPresence::Missing(reason)) => Some(ConsumeError::Refused(reason)),
            Err(_) => {
                let heard = self.context.heard();
                let refused = heard.authentication.map(ConsumeError::Refused);
                let reason = heard.tls.or(heard.last).unwrap_or_else(|| doubt.error.to_string());
                Some(refused.unwrap_or(ConsumeError::Unavailable(reason)))
            }
        }
    }
}

/// Copies a message out of librdkafka's memory.
fn copy(message: &BorrowedMessage<'_>) -> CommittedMessage {
    let millis = message.timestamp().to_millis().unwrap_or(0);
    CommittedMessage {
        offset: Offset::new(message.offset().cast_unsigned()),
        time: WallTime::from_micros(millis.saturating_mul(1000)),
        value: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
    }
}
