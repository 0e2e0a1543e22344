//! The context of handlers: buckets, records, payload, and the options that hold for every request.
//!
//! The context alone finds the partition of a bucket, so that handlers never depend on where a partition is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compactor::outcome::{RecordOutcome, Rejection};
use compactor::partition::PayloadWriter;
use compactor::state::{BucketState, Buckets};
use compactor::view::Snapshot;
use iam::BucketResource;
use ingest::ids::{BucketId, ConfigVersion, Offset, PartitionId};
use ingest::name::BucketName;
use ingest::place::Place;
use ingest::record::{ConfigKind, REGION_BYTES_MAX, RecordBody, SetBucketConfig};
use s3::document::{CorsConfiguration, WebsiteConfiguration};
use s3::error::{ErrorCode, S3Error};
use s3::website::host::WebsiteDomains;
use tokio::sync::watch;

use super::access::{self, CheckedObject, RequestSide};
use super::authentication::AuthenticationOptions;
use super::errors::{payload_error, read_error, submit_error, unexpected};
use super::parsed_documents::ParsedDocuments;
use super::request::S3Request;
use crate::config::EventDestination;
use crate::config::ServerSettings;
use crate::server::partition_handle::PartitionHandle;
use crate::server::store::Store;
use crate::users::{self, Users};

/// The number of times that a write is submitted again after the bucket's configuration changed under it.
const CONFIGURATION_TRIES: usize = 8;

/// Options that hold for every request.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// The region that clients are told.
    pub region: String,
    /// The domains below which hosts serve buckets as websites.
    pub website_domains: WebsiteDomains,
    /// The signatures that are taken, and the hosts that name buckets.
    pub authentication: AuthenticationOptions,
    /// The longest time that a client is waited for while fewer than 64 KiB come.
    pub stall: Duration,
    /// Payload up to this number of bytes is stored inside its log record.
    pub inline_bytes_max: u64,
    /// The destinations that rules about events may name.
    pub destinations: Arc<Vec<EventDestination>>,
    /// True once the server stops: answers without an end then end.
    pub stopping: watch::Receiver<bool>,
}

impl S3Options {
    /// The options that the settings give, which must have been checked. `stopping` is true once the server stops.
    pub fn new(settings: &ServerSettings, stopping: watch::Receiver<bool>) -> Self {
        Self {
            region: settings.service.told_region().to_owned(),
            authentication: AuthenticationOptions::new(&settings.service),
            website_domains: settings.service.website_domains.clone(),
            stall: settings.connections.stall.get(),
            inline_bytes_max: settings.storage.inline_bytes_max.get(),
            destinations: Arc::new(settings.destinations.clone()),
            stopping,
        }
    }

    /// The region of a bucket, as clients are told: the server's if the settings name one or if the bucket was created
    /// without a location constraint, otherwise that constraint. Never empty.
    pub fn region_of<'a>(&'a self, bucket: &'a BucketState) -> &'a str {
        if self.authentication.region.is_some() || bucket.region.is_empty() {
            return &self.region;
        }
        &bucket.region
    }

    /// Returns true if a bucket can be created with a location constraint, which must not be empty: the server's own
    /// region, `us-east-1`, or any name of a region if the settings name none.
    pub fn has_location(&self, region: &str) -> bool {
        let is_name = region.len() <= REGION_BYTES_MAX
            && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let is_any = self.authentication.region.is_none() && is_name;
        is_any || region == self.region || region == "us-east-1"
    }
}

/// Everything that a handler calls. Shared by all requests.
pub struct S3Context {
    store: Arc<Store>,
    users: Arc<Users>,
    /// The rules of buckets for pages of other origins.
    pub cors: ParsedDocuments<CorsConfiguration>,
    /// The website configurations of buckets.
    pub websites: ParsedDocuments<WebsiteConfiguration>,
    /// Options that hold for every request.
    pub options: S3Options,
}

/// A bucket as a read sees it.
pub struct BucketView<'a> {
    /// The bucket's partition.
    pub partition: PartitionHandle<'a>,
    /// The bucket.
    pub bucket: Arc<BucketState>,
    /// Everything in the bucket that was acknowledged before the read began.
    pub snapshot: Snapshot,
}

impl S3Context {
    /// A context for requests to a store.
    pub fn new(store: Arc<Store>, users: Arc<Users>, options: S3Options) -> Self {
        let cors = ParsedDocuments::new(ConfigKind::CORS);
        let websites = ParsedDocuments::new(ConfigKind::WEBSITE);
        Self { store, users, cors, websites, options }
    }

    /// The store, for an answer that goes on after its handler has returned.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The users who may sign requests.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// The display name of a canonical id; the id itself for a user who is not known any more.
    pub fn display_name<'a>(&'a self, id: &'a str) -> &'a str {
        self.users.display_name(id)
    }

    /// The partition of a bucket's name, and the offset below which its records are applied here. A write is applied
    /// before it is answered, so after a write the offset is above its record.
    pub fn applied(&self, bucket: &str) -> (PartitionId, Offset) {
        self.store.partition_of(bucket).applied()
    }

    /// The request's bucket for a write. This node's copy may be old; where the write is applied, the bucket is checked
    /// again. Only a bucket that seems to be missing is looked up in a fresh snapshot.
    ///
    /// Fails unless the bucket exists, belongs to the requester, and has the owner that the request expects.
    pub async fn bucket_for_write(&self, request: &S3Request) -> Result<Arc<BucketState>, S3Error> {
        let name = bucket_name(request);
        let known = self.store.partition_of(name).known_buckets();
        match bucket_in(&known, request, name, CheckedObject::own(request)) {
            Err(error) if error.code == ErrorCode::NoSuchBucket => {
                Ok(self.bucket_for_read(request).await?.bucket)
            }
            found => found,
        }
    }

    /// The request's bucket, which this request has created or found created by its user. Fails with `NoSuchBucket` when
    /// another request has removed the bucket meanwhile.
    pub fn created_bucket(&self, request: &S3Request) -> Result<Arc<BucketState>, S3Error> {
        let missing = || S3Error::from(ErrorCode::NoSuchBucket);
        let bucket = self.known_bucket(bucket_name(request)).ok_or_else(missing)?;
        if bucket.owner == request.user.id { Ok(bucket) } else { Err(missing()) }
    }

    /// The bucket of a name as this node knows it, which may be older than a write acknowledged by another node. Nothing
    /// is checked: the caller must not tell a client more of it than everybody may know.
    pub fn known_bucket(&self, name: &str) -> Option<Arc<BucketState>> {
        let name = BucketName::new(name.as_bytes().to_vec()).ok()?;
        self.store.partition_of(name.as_str()).known_buckets().named(&name).cloned()
    }

    /// The request's bucket for a read, with every write that was acknowledged before. Fails as
    /// [`bucket_for_write`](Self::bucket_for_write) does, and when the log cannot be read.
    pub async fn bucket_for_read(&self, request: &S3Request) -> Result<BucketView<'_>, S3Error> {
        self.view(request, bucket_name(request), CheckedObject::own(request)).await
    }

    /// The bucket of a copy's source, under the same conditions as the request's own bucket. `key` is the source's.
    pub async fn copy_source_bucket(
        &self,
        request: &S3Request,
        name: &str,
        key: &str,
    ) -> Result<BucketView<'_>, S3Error> {
        self.view(request, name, CheckedObject { side: RequestSide::Source, key }).await
    }

    async fn view(
        &self,
        request: &S3Request,
        name: &str,
        object: CheckedObject<'_>,
    ) -> Result<BucketView<'_>, S3Error> {
        let partition = self.store.partition_of(name);
        if users::is_anonymous(&request.user) {
            // In a cluster a fresh snapshot costs a record in the log: nobody gets one without a right to read, even if the
            // right has just been given on another node.
            bucket_in(&partition.known_buckets(), request, name, object)?;
        }
        let snapshot = partition.fresh().await.map_err(read_error)?;
        let bucket = bucket_in(&snapshot.buckets, request, name, object)?;
        Ok(BucketView { partition, bucket, snapshot })
    }

    /// Snapshots of all partitions with every write that was acknowledged before. Fails when one partition cannot be
    /// read: a list without its buckets would be wrong.
    pub async fn all_partitions(&self) -> Result<Vec<Snapshot>, S3Error> {
        self.store.fresh().await.map_err(read_error)
    }

    /// Submits a record to the partition of the request's bucket and waits for its outcome. On `Ok` the record is
    /// durable and applied. Dropping the future does not undo the write.
    pub async fn submit(
        &self,
        request: &S3Request,
        body: RecordBody,
    ) -> Result<RecordOutcome, S3Error> {
        let partition = self.store.partition_of(bucket_name(request));
        partition.submit(&request.user.id, &request.id, body).await.map_err(submit_error)
    }

    /// Submits a record under the bucket's configuration, and again when the configuration has changed meanwhile. Fails
    /// with `SlowDown` when it changes at every try.
    pub async fn submit_configured(
        &self,
        request: &S3Request,
        bucket: &BucketState,
        body: impl Fn(ConfigVersion) -> RecordBody,
    ) -> Result<RecordOutcome, S3Error> {
        let mut config = bucket.config;
        for _ in 0..CONFIGURATION_TRIES {
            match self.submit(request, body(config)).await? {
                RecordOutcome::Rejected(Rejection::Retry(newer)) => config = newer,
                outcome => return Ok(outcome),
            }
        }
        Err(ErrorCode::SlowDown.into())
    }

    /// Sets one configuration document of a bucket, which the caller has checked, or removes it (`None`). Resolves
    /// when the change is durable and visible. Fails with `EntityTooLarge` for a document above the limit of its kind.
    pub async fn set_config(
        &self,
        request: &S3Request,
        bucket: &BucketState,
        kind: ConfigKind,
        document: Option<Bytes>,
    ) -> Result<(), S3Error> {
        if document.as_ref().is_some_and(|document| document.len() > kind.bytes_max()) {
            return Err(ErrorCode::EntityTooLarge.into());
        }
        let set = |config| {
            let (bucket, document) = (bucket.id, document.clone());
            RecordBody::SetBucketConfig(SetBucketConfig { bucket, config, kind, document })
        };
        match self.submit_configured(request, bucket, set).await? {
            RecordOutcome::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Removes the request's bucket if it is empty, and waits for the outcome. On `Ok` the outcome is durable and applied;
    /// the outcome may be a rejection.
    pub async fn delete_bucket(
        &self,
        request: &S3Request,
        bucket: BucketId,
    ) -> Result<RecordOutcome, S3Error> {
        let partition = self.store.partition_of(bucket_name(request));
        let deleted = partition.delete_bucket(&request.user.id, &request.id, bucket).await;
        deleted.map_err(submit_error)
    }

    /// Begins payload of `len` bytes in a place of the partition of the request's bucket. Fails with `SlowDown` when there
    /// is no room for it.
    pub async fn begin_payload(
        &self,
        request: &S3Request,
        place: Place,
        len: u64,
    ) -> Result<PayloadWriter, S3Error> {
        let partition = self.store.partition_of(bucket_name(request));
        partition.begin_payload(place, len).await.map_err(payload_error)
    }

    /// Begins payload of at most `len_max` bytes, whose length only its end tells, in a place of the partition of the
    /// request's bucket. Fails with `SlowDown` when there is no room for a beginning.
    pub async fn begin_unannounced_payload(
        &self,
        request: &S3Request,
        place: Place,
        len_max: u64,
    ) -> Result<PayloadWriter, S3Error> {
        let partition = self.store.partition_of(bucket_name(request));
        partition.begin_unannounced_payload(place, len_max).await.map_err(payload_error)
    }
}

fn bucket_name(request: &S3Request) -> &str {
    request.bucket.as_deref().unwrap_or_default()
}

/// The bucket with a name, once the request may do there what its operation does. Fails with `AccessDenied`, and for a
/// bucket that does not exist with `NoSuchBucket`.
fn bucket_in(
    buckets: &Buckets,
    request: &S3Request,
    name: &str,
    object: CheckedObject<'_>,
) -> Result<Arc<BucketState>, S3Error> {
    let valid = BucketName::new(name.as_bytes().to_vec())
        .map_err(|_| S3Error::from(ErrorCode::InvalidBucketName).with("BucketName", name))?;
    let bucket = buckets.named(&valid);
    let owner = bucket.map(|bucket| bucket.owner.as_str());
    access::check(request, object, BucketResource { name, owner })?;
    let missing = || S3Error::from(ErrorCode::NoSuchBucket).with("BucketName", name);
    bucket.cloned().ok_or_else(missing)
}
