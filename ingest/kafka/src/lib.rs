//! The brokers of a replicated log, on Apache Kafka.
//!
//! ```text
//!                  ┌─ producer(kind) ────► one librdkafka producer ─┐
//!   ReplicatedLog ─┼─ consumer(from) ────► one librdkafka consumer ─┼─► topic `siltstone-<cluster>`,
//!                  └─ bounds, trimming ──► a request on a thread ───┘   a partition for each of the log
//! ```
//!
//! A thin adapter: it maps calls, settings and errors, and decides nothing about records. The promises of
//! [`Brokers`] rest on a topic without [`problems`] and on the settings of the clients ([`producer_config`],
//! [`consumer_config`]).
//!
//! librdkafka blocks in some calls, so none that may block runs on a caller's thread. Producers and
//! consumers have a thread each, which also shuts them down; requests run on threads of their own.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admin;
mod connection;
mod consumer;
mod context;
mod events;
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
pub use events::EventProducer;
pub use preflight::{TopicProblem, TopicSafety, problems};
pub use producer::producer_config;
pub use settings::{
    ClientCertificate, ConnectionSecurity, KafkaSettings, SaslMechanism, SaslSettings,
    SettingsError, TlsSettings,
};
pub use topic::{PartitionDescription, TopicCreation, TopicDescription, create, describe};

/// The brokers of one cluster's log, reached through librdkafka.
pub struct KafkaBrokers {
    settings: KafkaSettings,
    /// Shared with the threads that perform requests.
    inquiry: Arc<PartitionInquiry>,
}

impl KafkaBrokers {
    /// Prepares the use of brokers. Does no I/O and never fails: errors of connections appear when a
    /// client is used, or before that in [`check_connection`].
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
