//! Questions to brokers, each with a deadline. librdkafka blocks until it has an answer, so each is asked
//! on a thread of its own.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use parking_lot::Mutex;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::sync::oneshot;

use ingest::env::Fut;
use ingest::ids::{Offset, PartitionId};
use ingest::log::brokers::{BrokerError, PartitionBounds};

use crate::context::{ErrorContext, broker_error};
use crate::settings::KafkaSettings;

/// How long brokers may take to answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);
/// For how long a client's view of the cluster is trusted. Whoever asks again and again hears other
/// brokers in time, and not for ever one that was deposed without knowing it.
const KEPT: Duration = Duration::from_secs(10);

/// How often a kept client's thread looks whether it is still kept.
const POLL: Duration = Duration::from_millis(100);

/// A client that asks and reads nothing. Being a consumer, it never makes a topic by asking for it.
pub(crate) type MetadataClient = BaseConsumer<ErrorContext>;
/// A client that administers.
pub(crate) type TopicAdmin = AdminClient<ErrorContext>;

/// Runs a job that blocks.
pub(crate) fn on_thread<T, E>(
    name: &str,
    job: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Fut<'static, Result<T, E>>
where
    T: Send + 'static,
    E: From<BrokerError> + Send + 'static,
{
    let (sender, answer) = oneshot::channel();
    let run = move || {
        // Whoever asked may have gone.
        let _ = sender.send(job());
    };
    let started = spawn(name, run);
    Box::pin(async move {
        started?;
        let lost = || BrokerError("the question to the brokers was given up".into());
        answer.await.unwrap_or_else(|_| Err(lost().into()))
    })
}

/// Starts a thread, which ends by itself.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), BrokerError> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(|error| BrokerError(format!("no thread for {name}: {error}")))
}

pub(crate) fn metadata_client(
    settings: &KafkaSettings,
    attempt: u32,
) -> Result<(MetadataClient, ErrorContext), BrokerError> {
    let context = ErrorContext::default();
    let config = settings.client("inquiry", attempt);
    Ok((config.create_with_context(context.clone()).map_err(broker_error)?, context))
}

pub(crate) fn topic_admin(settings: &KafkaSettings) -> Result<TopicAdmin, BrokerError> {
    let config = settings.client("admin", 0);
    config.create_with_context(ErrorContext::default()).map_err(broker_error)
}

/// Whether a partition is there to be read.
pub(crate) enum PartitionPresence {
    /// It is.
    There,
    /// It is not, or not for us.
    Missing(String),
}

/// Asks whether a partition is there. Blocks.
pub(crate) fn presence(
    client: &MetadataClient,
    topic: &str,
    partition: PartitionId,
    limit: Duration,
) -> KafkaResult<PartitionPresence> {
    let metadata = client.fetch_metadata(Some(topic), limit)?;
    let Some(found) = metadata.topics().first() else {
        return Ok(PartitionPresence::Missing(format!("the brokers do not know topic {topic}")));
    };
    match found.error().map(RDKafkaErrorCode::from) {
        None if found.partitions().len() > partition.get() as usize => Ok(PartitionPresence::There),
        None => {
            Ok(PartitionPresence::Missing(format!("topic {topic} has no partition {partition}")))
        }
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
            Ok(PartitionPresence::Missing(format!("there is no topic {topic}")))
        }
        Some(error @ RDKafkaErrorCode::TopicAuthorizationFailed) => {
            Ok(PartitionPresence::Missing(format!("topic {topic} may not be read: {error}")))
        }
        Some(error) => Err(KafkaError::MetadataFetch(error)),
    }
}

/// Asks about partitions, again and again, with a client that is kept for a while.
pub(crate) struct PartitionInquiry {
    settings: KafkaSettings,
    kept: Mutex<CachedClient>,
}

#[derive(Default)]
struct CachedClient {
    client: Option<(Arc<MetadataClient>, Instant)>,
    /// How many clients there have been.
    attempt: u32,
}

impl PartitionInquiry {
    pub(crate) fn new(settings: KafkaSettings) -> Self {
        Self { settings, kept: Mutex::default() }
    }

    /// Asks where a partition begins and ends. Blocks.
    pub(crate) fn bounds(&self, partition: PartitionId) -> Result<PartitionBounds, BrokerError> {
        let client = self.client()?;
        let topic = self.settings.topic();
        let answer = client.fetch_watermarks(&topic, partition.get().cast_signed(), ANSWER);
        let (first, end) = answer.map_err(|error| {
            self.forget(&client);
            let is_unknown = error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownPartition);
            // It says so, too, of what may not be read, and not of what.
            match is_unknown.then(|| presence(&client, &topic, partition, ANSWER)) {
                Some(Ok(PartitionPresence::Missing(reason))) => BrokerError(reason),
                _ => broker_error(error),
            }
        })?;
        let offset = |value: i64| {
            let odd = |_| BrokerError(format!("the brokers name {value} as an offset"));
            u64::try_from(value).map(Offset::new).map_err(odd)
        };
        Ok(PartitionBounds { first: offset(first)?, end: offset(end)? })
    }

    fn client(&self) -> Result<Arc<MetadataClient>, BrokerError> {
        let mut kept = self.kept.lock();
        if let Some((client, born)) = &kept.client
            && born.elapsed() < KEPT
        {
            return Ok(client.clone());
        }
        let (client, _) = metadata_client(&self.settings, kept.attempt)?;
        let client = Arc::new(client);
        let polled = client.clone();
        // It hears what the client says by the way, which would pile up, and lets go of it last.
        let poll = move || {
            while Arc::strong_count(&polled) > 1 {
                let _ = polled.poll(POLL);
            }
        };
        spawn("kafka inquiry", poll)?;
        kept.attempt = kept.attempt.wrapping_add(1);
        kept.client = Some((client.clone(), Instant::now()));
        Ok(client)
    }

    /// Lets go of a client that got no answer, unless somebody has done so before.
    fn forget(&self, client: &Arc<MetadataClient>) {
        let mut kept = self.kept.lock();
        if kept.client.as_ref().is_some_and(|(kept, _)| Arc::ptr_eq(kept, client)) {
            kept.client = None;
        }
    }
}

/// Deletes every message below an offset. Blocks.
pub(crate) fn delete_below(
    settings: &KafkaSettings,
    partition: PartitionId,
    below: Offset,
) -> Result<(), BrokerError> {
    let below = rdkafka::Offset::Offset(below.get().cast_signed());
    let mut wanted = TopicPartitionList::new();
    wanted
        .add_partition_offset(&settings.topic(), partition.get().cast_signed(), below)
        .map_err(broker_error)?;
    let options = AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
    let admin = topic_admin(settings)?;
    let deleted = block_on(admin.delete_records(&wanted, &options)).map_err(broker_error)?;
    deleted.elements().iter().try_for_each(|element| element.error()).map_err(broker_error)
}
