//! The interface through which requests use a partition.
//!
//! Handlers of the S3 API and SQL reach a partition through [`PartitionHandle`] alone. Only the store knows where the
//! partition is; every partition has a copy in this process today.

use std::ops::Range;
use std::sync::Arc;

use compactor::delivery::EventPage;
use compactor::outcome::RecordOutcome;
use compactor::partition::{EventListener, Partition, PayloadError, PayloadWriter, SubmitError};
use compactor::state::Buckets;
use compactor::view::Snapshot;
use ingest::ids::{BucketId, Offset, PartitionId};
use ingest::log::{Log, ReadError};
use ingest::name::{BucketName, ObjectKey};
use ingest::place::Place;
use ingest::record::{EventPosition, RecordBody, VersionRef};
use query::object::{self, FoundObject, ObjectBody};
use tokio::sync::watch;

/// One partition as a request uses it.
#[derive(Clone, Copy)]
pub struct PartitionHandle<'a> {
    local: &'a Partition,
}

impl<'a> PartitionHandle<'a> {
    /// Makes a handle for a partition whose copy is in this process. Called by the store only.
    pub fn new(local: &'a Partition) -> Self {
        Self { local }
    }

    /// The partition, and the offset below which every record is applied to this copy. After an acknowledged write the
    /// offset is above the write's record.
    pub fn applied(&self) -> (PartitionId, Offset) {
        (self.local.id(), self.local.snapshot().at)
    }

    /// The buckets as this copy knows them now, which may be older than a write acknowledged elsewhere.
    pub fn known_buckets(&self) -> Arc<Buckets> {
        self.local.buckets()
    }

    /// A snapshot with every write that was acknowledged before the call. Fails when the log cannot be read, or when
    /// the copy is quarantined.
    pub async fn fresh(&self) -> Result<Snapshot, ReadError> {
        self.local.fresh().await
    }

    /// Appends a record for a principal and waits for its outcome. On `Ok` the record is durable and applied. After
    /// `SubmitError::Append` or `Stopped` the outcome may be unknown. Dropping the future does not undo the write.
    pub async fn submit(
        &self,
        principal: &str,
        request: &str,
        body: RecordBody,
    ) -> Result<RecordOutcome, SubmitError> {
        self.local.submit(principal, request, body).await
    }

    /// Removes a bucket if it is empty, with its open uploads. The outcome is `Rejected` when a version is in it,
    /// or when it is written to at every try.
    pub async fn delete_bucket(
        &self,
        principal: &str,
        request: &str,
        bucket: BucketId,
    ) -> Result<RecordOutcome, SubmitError> {
        self.local.delete_bucket(principal, request, bucket).await
    }

    /// Begins payload of `len` bytes in a place that a later record will name. Fails when there is no room for it; dropping
    /// the writer abandons the bytes written so far.
    pub async fn begin_payload(
        &self,
        place: Place,
        len: u64,
    ) -> Result<PayloadWriter, PayloadError> {
        self.local.begin_payload(place, len).await
    }

    /// Begins payload of at most `len_max` bytes in a place, whose length only its end tells. Fails when there is no room for a
    /// beginning; dropping the writer abandons the bytes written so far.
    pub async fn begin_unannounced_payload(
        &self,
        place: Place,
        len_max: u64,
    ) -> Result<PayloadWriter, PayloadError> {
        self.local.begin_unannounced_payload(place, len_max).await
    }

    /// Finds a version of an object and opens bytes of it. `range_of` chooses the bytes or refuses; it is called again
    /// when the log has dropped the payload between look-up and read. `None` when there is no such version.
    pub async fn open_object<E: From<ReadError>>(
        &self,
        snapshot: Snapshot,
        bucket: BucketId,
        key: &ObjectKey,
        version: VersionRef,
        range_of: impl FnMut(&FoundObject) -> Result<Range<u64>, E>,
    ) -> Result<Option<(FoundObject, ObjectBody)>, E> {
        object::get(self.local, snapshot, bucket, key, version, range_of).await
    }

    /// Begins to listen to the events of the buckets of a name from now on, in the order of the log. The caller must leave
    /// out events of buckets that the client may not read: the name may get another owner.
    pub fn listen(&self, bucket: &BucketName) -> EventListener {
        self.local.listen(bucket)
    }

    /// Wakes after a queue of events has changed.
    pub fn follow_events(&self) -> watch::Receiver<Offset> {
        self.local.follow_events()
    }

    /// The position below which a queue has no events any more; the beginning for a queue that never had one.
    pub fn events_begin(&self, queue: &str) -> EventPosition {
        let queues = self.local.event_queues();
        let found = queues.into_iter().find(|(name, _)| name == queue);
        found.map_or_else(EventPosition::default, |(_, queue)| queue.position)
    }

    /// Reads events that a queue keeps, from a position on, at most `events_max`, as they are at the call: a caller that looks
    /// at [`Self::events_begin`] afterwards knows that none was left out behind it. Fails when the state cannot be read.
    pub fn events(
        &self,
        queue: &str,
        from: EventPosition,
        events_max: usize,
        bytes_max: u64,
    ) -> impl Future<Output = Result<EventPage, ReadError>> + Send + use<> {
        let (snapshot, queue) = (self.local.snapshot(), queue.to_owned());
        async move { EventPage::read(&snapshot, &queue, from, events_max, bytes_max).await }
    }

    /// The partition's log, for readers that follow changes.
    pub fn log(&self) -> &'a Arc<dyn Log> {
        self.local.log()
    }

    /// The offset behind the last record of the log that this process knows of.
    pub fn log_end(&self) -> Offset {
        self.local.log().status(self.local.id()).end
    }

    /// Waits until every record below `offset` is applied to this copy. Fails when that takes too long, or when the
    /// copy has stopped.
    pub async fn reach(&self, offset: Offset) -> Result<(), ReadError> {
        self.local.reach(offset).await
    }
}
