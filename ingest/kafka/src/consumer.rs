//! Reading: one librdkafka consumer for each reader of a partition.
//!
//! A thread of its own takes what has been fetched, a batch at a time, and hands it over through a channel
//! of one: a reader that is slow stops the thread, and then librdkafka's fetching, at a bounded number of
//! bytes. It never goes on behind an error that may have skipped something.
//!
//! Many errors pass by themselves. Such a one raises a [`TransientError`], which the next message settles; when none
//! comes for a while, the brokers are asked whether the partition is there at all.

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

/// How often a consumer's thread looks whether it is still wanted. Messages do not wait for it.
const POLL: Duration = Duration::from_millis(100);
/// A batch is full with so many messages,
const BATCH_MESSAGES_MAX: usize = 4096;
/// or with so many bytes.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// For how long an error that may pass is waited out.
const DOUBT: Duration = Duration::from_secs(3);
/// How long brokers may take to settle a doubt.
const ANSWER: Duration = Duration::from_secs(2);

/// What a partition's consumer is made with.
pub fn consumer_config(
    settings: &KafkaSettings,
    partition: PartitionId,
    attempt: u32,
) -> ClientConfig {
    let mut config = settings.client(&format!("reader-{partition}"), attempt);
    config
        // librdkafka wants a group before it lets anybody choose partitions. It is never joined.
        .set("group.id", format!("siltstone-{}", settings.cluster()))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Anything else jumps over records in silence.
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("isolation.level", "read_uncommitted")
        .set("enable.partition.eof", "false")
        // The broker holds a fetch until there is something, at most for so long.
        .set("fetch.wait.max.ms", "500")
        .set("fetch.min.bytes", "1")
        .set("socket.timeout.ms", "1500")
        .set("fetch.error.backoff.ms", "50")
        // One fetch, what is kept fetched, and how soon fetching goes on when that has shrunk.
        .set("fetch.message.max.bytes", "4194304")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "5")
        // How long a topic may be unknown while news of it spreads.
        .set("topic.metadata.propagation.max.ms", "2000");
    config
}

type DeliveredBatch = Result<Vec<CommittedMessage>, ConsumeError>;

/// A partition's consumer. Its thread ends, and with it the connections, soon after it is dropped.
pub(crate) struct KafkaConsumer {
    batches: mpsc::Receiver<DeliveredBatch>,
}

impl KafkaConsumer {
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

/// What a consumer's thread does.
struct ConsumerThread {
    consumer: BaseConsumer<ErrorContext>,
    context: ErrorContext,
    topic: String,
    partition: PartitionId,
    batches: mpsc::Sender<DeliveredBatch>,
    doubt: Option<TransientError>,
}

/// Something went wrong that may pass.
struct TransientError {
    since: Instant,
    error: KafkaError,
}

impl ConsumerThread {
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
            let end = error.and_then(|error| self.judge(error));
            if let Some(end) = end.or_else(|| self.settle()) {
                // Whoever read may have gone.
                let _ = self.batches.blocking_send(Err(end));
                return;
            }
        }
    }

    /// Waits for a message, then takes what is there besides, up to an error.
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
            wait = Duration::ZERO;
        }
        (messages, None)
    }

    /// Decides what an error means: the end, or a doubt.
    fn judge(&mut self, error: KafkaError) -> Option<ConsumeError> {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset) => Some(ConsumeError::OutOfRange),
            Some(Code::TopicAuthorizationFailed) => Some(ConsumeError::Refused(error.to_string())),
            // Connections and the news of topics come and go. The group's errors are none of ours.
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
            // Among these are messages that librdkafka would skip: damaged on the way, or not understood.
            _ => Some(ConsumeError::Unavailable(error.to_string())),
        }
    }

    /// Finds out whether a doubt that has lasted was founded.
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
