//! The brokers of a replicated log, on Apache Kafka.
//!
//! ```text
//!                  ┌─ producer(lane) ────► one librdkafka producer ─┐
//!   ReplicatedLog ─┼─ consumer(from) ────► one librdkafka consumer ─┼─► topic `siltstone-<cluster>`,
//!                  └─ bounds, trimming ──► a question on a thread ──┘   a partition for each of the log
//! ```
//!
//! A thin adapter: it maps calls, settings and errors, and decides nothing about records. What an
//! implementation of [`Brokers`] promises rests on the topic being as [`problems`] wants it and on how the
//! clients are made ([`producer_config`], [`consumer_config`]).
//!
//! librdkafka blocks here and there, so nothing that may block runs on a caller's thread: producers and
//! consumers have a thread each that also takes them down, questions are asked on threads of their own.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admin;
mod connection;
mod consumer;
mod context;
mod preflight;
mod producer;
mod settings;
mod topic;

use std::sync::Arc;

use ingest::env::Fut;
use ingest::ids::{Offset, PartitionId};
use ingest::log::brokers::{
    BrokerError, Brokers, Consumer, PartitionBounds, Producer, ProducerKind,
};

use admin::{PartitionInquiry, on_thread};

pub use connection::{ConnectionError, check_connection};
pub use consumer::consumer_config;
pub use preflight::{TopicProblem, TopicSafety, problems};
pub use producer::producer_config;
pub use settings::{
    ClientCertificate, ConnectionSecurity, KafkaSettings, SaslMechanism, SaslSettings,
    SettingsError, TlsSettings,
};
pub use topic::{PartitionDescription, TopicCreation, TopicDescription, create, describe};

/// A log's brokers, reached by librdkafka.
pub struct KafkaBrokers {
    settings: KafkaSettings,
    /// Shared with the threads that ask.
    inquiry: Arc<PartitionInquiry>,
}

impl KafkaBrokers {
    /// Prepares to use brokers. Nothing is asked of them yet.
    pub fn new(settings: KafkaSettings) -> Self {
        Self { inquiry: Arc::new(PartitionInquiry::new(settings.clone())), settings }
    }
}

impl Brokers for KafkaBrokers {
    fn producer(&self, lane: ProducerKind, attempt: u32) -> Result<Box<dyn Producer>, BrokerError> {
        Ok(Box::new(producer::KafkaProducer::new(&self.settings, lane, attempt)?))
    }

    fn consumer(
        &self,
        partition: PartitionId,
        from: Offset,
        attempt: u32,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        Ok(Box::new(consumer::KafkaConsumer::new(&self.settings, partition, from, attempt)?))
    }

    fn bounds(&self, partition: PartitionId) -> Fut<'_, Result<PartitionBounds, BrokerError>> {
        let inquiry = self.inquiry.clone();
        on_thread("kafka bounds", move || inquiry.bounds(partition))
    }

    fn delete_below(
        &self,
        partition: PartitionId,
        below: Offset,
    ) -> Fut<'_, Result<(), BrokerError>> {
        let settings = self.settings.clone();
        on_thread("kafka trim", move || admin::delete_below(&settings, partition, below))
    }
}
