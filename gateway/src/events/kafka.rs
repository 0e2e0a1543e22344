//! Delivery to a topic of Kafka: a message for each event, with bucket and key as its key.

use anyhow::Context as _;
use compactor::delivery::{DueEvent, EventReceiver};
use ingest::env::Fut;
use kafka::EventProducer;

use super::message::EventMessages;

/// A topic that takes events.
pub struct KafkaTopic {
    producer: EventProducer,
    messages: EventMessages,
}

impl KafkaTopic {
    /// Makes the client. Does no I/O: brokers that cannot be reached are errors of a delivery. Fails for settings that
    /// the client refuses.
    pub fn new(brokers: &[String], topic: &str, messages: EventMessages) -> anyhow::Result<Self> {
        let producer = EventProducer::new(brokers, topic).context("the client of Kafka")?;
        Ok(Self { producer, messages })
    }
}

impl EventReceiver for KafkaTopic {
    fn deliver<'a>(&'a self, events: &'a [DueEvent]) -> Fut<'a, Result<(), String>> {
        Box::pin(async move {
            let messages = events.iter().map(|due| {
                let key = format!("{}/{}", due.event.bucket.as_str(), due.event.key.as_str());
                (key, self.messages.body(std::slice::from_ref(due)).to_string())
            });
            self.producer.send_all(messages.collect()).await
        })
    }
}
