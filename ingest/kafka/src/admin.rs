//! Requests to brokers, each with a deadline. librdkafka blocks until it has a reply, so each request
//! runs on a thread of its own.

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

/// Longest time that brokers may take to reply.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);
/// Time for which a client's view of the cluster is trusted. A caller that repeats its requests reaches
/// other brokers after that, and does not stay with one that was deposed without knowing it.
const KEPT: Duration = Duration::from_secs(10);

/// Interval at which a cached client's thread checks if the client is still in use.
const POLL: Duration = Duration::from_millis(100);

/// A client for metadata, which reads no messages. As a consumer it never creates a topic by asking for
/// it.
pub(crate) type MetadataClient = BaseConsumer<ErrorContext>;
/// A client that administers topics.
pub(crate) type TopicAdmin = AdminClient<ErrorContext>;

/// Runs a job that blocks on a thread of its own, which starts before this returns. Dropping the future
/// does not stop the job. Fails with the job's error, or when no thread can be started.
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
        // The caller may have dropped its future.
        let _ = sender.send(job());
    };
    let started = spawn(name, run);
    Box::pin(async move {
        started?;
        let lost = || BrokerError("the request to the brokers ended without a reply".into());
        answer.await.unwrap_or_else(|_| Err(lost().into()))
    })
}

/// Starts a detached thread, which must end by itself. Fails only when the system provides no thread.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), BrokerError> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(|error| BrokerError(format!("no thread for {name}: {error}")))
}

/// Makes a client for metadata, with the context that collects its errors. Does no I/O; fails when
/// librdkafka refuses the settings.
pub(crate) fn metadata_client(
    settings: &KafkaSettings,
    attempt: u32,
) -> Result<(MetadataClient, ErrorContext), BrokerError> {
    let context = ErrorContext::default();
    let config = settings.client("inquiry", attempt);
    Ok((config.create_with_context(context.clone()).map_err(broker_error)?, context))
}

/// Makes a client that administers topics. Does no I/O; fails when librdkafka refuses the settings.
pub(crate) fn topic_admin(settings: &KafkaSettings) -> Result<TopicAdmin, BrokerError> {
    let config = settings.client("admin", 0);
    config.create_with_context(ErrorContext::default()).map_err(broker_error)
}

/// The result of asking brokers for a partition.
pub(crate) enum PartitionPresence {
    /// The partition exists and may be read.
    There,
    /// The partition does not exist, or this user may not read it, for this reason.
    Missing(String),
}

/// Asks brokers if a partition exists. Blocks for at most `limit`, so it must run on a thread that may.
/// Fails when no broker replies in time, which is no evidence of absence.
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

/// Requests for the bounds of partitions, with a client that is cached for some seconds.
pub(crate) struct PartitionInquiry {
    settings: KafkaSettings,
    kept: Mutex<CachedClient>,
}

#[derive(Default)]
struct CachedClient {
    client: Option<(Arc<MetadataClient>, Instant)>,
    /// Number of clients that have been made.
    attempt: u32,
}

impl PartitionInquiry {
    /// Prepares requests. The first client is made by the first request, never before.
    pub(crate) fn new(settings: KafkaSettings) -> Self {
        Self { settings, kept: Mutex::default() }
    }

    /// Asks one broker for the bounds of a partition, which may be stale. Blocks for some seconds at
    /// most, so it must run on a thread that may. After an error the client is replaced, so that a
    /// retry begins at another broker.
    pub(crate) fn bounds(&self, partition: PartitionId) -> Result<PartitionBounds, BrokerError> {
        let client = self.client()?;
        let topic = self.settings.topic();
        let answer = client.fetch_watermarks(&topic, partition.get().cast_signed(), ANSWER);
        let (first, end) = answer.map_err(|error| {
            self.forget(&client);
            let is_unknown = error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownPartition);
            // The same error also means a topic that may not be read. The metadata has the reason.
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

    /// The cached client, or a new one when it is too old. A thread polls each client until its last
    /// user has dropped it.
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
        // The thread takes the client's events, which would pile up otherwise, and drops the client
        // last, since that may block.
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

    /// Removes a client without a reply from the cache, unless another request has replaced it already.
    fn forget(&self, client: &Arc<MetadataClient>) {
        let mut kept = self.kept.lock();
        if kept.client.as_ref().is_some_and(|(kept, _)| Arc::ptr_eq(kept, client)) {
            kept.client = None;
        }
    }
}

/// Deletes every message of a partition below an offset, for all consumers. Blocks for some seconds at
/// most, so it must run on a thread that may. After an error the deletion may have happened; repeating
/// it is safe.
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
