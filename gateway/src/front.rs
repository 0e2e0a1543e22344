//! The S3 front end: HTTP in, S3's answers out.
//!
//! ```text
//!   request ──► path, query ──► who asks ──► which operation ──► handler ──► answer
//!                                (sigv4)        (route)        bucket, object, multipart, listing, sql
//! ```

mod answer;
mod body;
mod bucket;
mod conditions;
mod digests;
mod header_names;
mod listing;
mod multipart;
mod object;
mod route;
mod sql;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use compactor::partition::{Partition, SubmitError};
use compactor::state::{BucketState, Buckets};
use compactor::view::Snapshot;
use http::request::Parts;
use hyper::body::{Body as _, Incoming};
use ingest::ids::UploadId;
use ingest::log::{AppendError, ReadError};
use ingest::name::{BucketName, NameError, ObjectKey};
use s3::error::{ErrorCode, S3Error};
use s3::headers;
use s3::names;
use s3::operation;
use s3::sigv4::{self, SecretKey, VerifiedRequest};

use crate::config::{ServerSettings, User};
use crate::refusal::{self, ClientInfo, RefusedRequest, method_label};
use crate::server::connections::ConnectionHandle;
use crate::server::store::Store;
use crate::sql_service::{OFFSET_HEADER, SqlService, offset_text};
use crate::users::{Users, owns};

pub use answer::ResponseBody;

/// What every request needs.
pub struct S3Service {
    /// The store.
    pub store: Arc<Store>,
    /// Who may ask.
    pub users: Arc<Users>,
    /// Where SQL comes in.
    pub door: SqlService,
    /// The settings.
    pub settings: ServerSettings,
    /// Tells this process's requests from another's.
    start: u32,
    requests: AtomicU64,
}

/// A request that has been authenticated.
pub struct S3Request {
    /// Its id.
    pub id: String,
    /// Who asks.
    pub user: Arc<User>,
    /// What was verified.
    pub verified: VerifiedRequest,
    /// Its head.
    pub parts: Parts,
    /// Its query, decoded.
    pub query: Vec<(String, String)>,
    /// Its bucket, if it names one.
    pub bucket: Option<String>,
    /// Its key, if it names one.
    pub key: Option<String>,
}

impl S3Request {
    /// A query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A header's text, if it is there. One that is not text, or is there twice, is refused.
    pub fn header(&self, name: &str) -> Result<Option<&str>, S3Error> {
        headers::text(&self.parts.headers, name)
    }

    /// The key, validated.
    pub fn object_key(&self) -> Result<ObjectKey, S3Error> {
        let key = self.key.clone().unwrap_or_default();
        let len = key.len();
        ObjectKey::new(key.into_bytes()).map_err(|error| match error {
            NameError::TooLong { limit, .. } => S3Error::from(ErrorCode::KeyTooLong)
                .with("Size", len.to_string())
                .with("MaxSizeAllowed", limit.to_string()),
            NameError::Empty | NameError::Character => ErrorCode::InvalidUri.into(),
        })
    }

    /// The upload that the query names. An id that this store never gave is not there.
    pub fn upload(&self) -> Result<UploadId, S3Error> {
        let text = self.query("uploadId").unwrap_or_default();
        upload_id(text).ok_or_else(|| ErrorCode::NoSuchUpload.into())
    }
}

/// The upload's id that a text is; none for a text that this store never gives.
fn upload_id(text: &str) -> Option<UploadId> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id).ok().map(|()| UploadId(id))
}

/// A bucket as a read sees it.
pub struct BucketView<'a> {
    /// Its partition.
    pub partition: &'a Partition,
    /// The bucket.
    pub bucket: Arc<BucketState>,
    /// Everything in it that was acknowledged before the read began.
    pub snapshot: Snapshot,
}

/// Refuses methods that S3 does not know. Browsers ask with OPTIONS, and are told why they may not.
fn check_method(parts: &Parts) -> Result<(), S3Error> {
    if method_label(&parts.method) != "other" || parts.method == http::Method::OPTIONS {
        return Ok(());
    }
    let (resource, headers) = (refusal::resource(parts.uri.path()), http::HeaderMap::new());
    let method = parts.method.as_str();
    operation::decide(&operation::RequestParts { method, resource, query: &[], headers: &headers })
        .map(|_| ())
}

/// A request's head is at most 16 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Refuses a head that is too long, counted as it came: with colons, blanks and line ends.
fn check_head(parts: &Parts) -> Result<(), S3Error> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let line = parts.method.as_str().len() + target + "  HTTP/1.1\r\n".len();
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() + ": \r\n".len()
    };
    let bytes = line + parts.headers.iter().map(header).sum::<usize>();
    if bytes <= HEAD_BYTES_MAX {
        return Ok(());
    }
    Err(S3Error::from(ErrorCode::RequestHeaderSectionTooLarge)
        .with("MaxSizeAllowed", HEAD_BYTES_MAX.to_string()))
}

/// The user whose access key a request names. Nothing is copied before a line of the log needs it.
#[derive(Default)]
struct Caller<'a> {
    named: Option<&'a User>,
    /// The signature is that user's.
    is_verified: bool,
    /// The access key that the request names, if no user has it.
    unknown_key: Option<String>,
}

impl Caller<'_> {
    fn who(self, address: Option<SocketAddr>) -> ClientInfo {
        let user = self.named.filter(|_| self.is_verified).map(|user| user.name.clone());
        let access_key = self.unknown_key.or(self.named.map(|user| user.access_key.clone()));
        ClientInfo { access_key, user, address }
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

impl S3Service {
    /// Puts the parts together.
    pub fn new(
        store: Arc<Store>,
        users: Arc<Users>,
        door: SqlService,
        settings: ServerSettings,
    ) -> Self {
        let start = now() as u32;
        Self { store, users, door, settings, start, requests: AtomicU64::new(0) }
    }

    /// Answers a request.
    pub async fn handle(
        self: Arc<Self>,
        request: http::Request<Incoming>,
    ) -> http::Response<ResponseBody> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:08X}{number:012X}", self.start);
        let (parts, body) = request.into_parts();
        let address =
            parts.extensions.get::<Arc<ConnectionHandle>>().map(|connection| connection.peer());
        let mut caller = Caller::default();
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        let expects = parts.headers.contains_key("expect");
        let is_copy = parts.headers.contains_key("x-amz-copy-source");
        let is_empty = body.is_end_stream();
        let answered = self.answer(&id, &mut caller, parts, body).await;
        let code = answered.as_ref().err().map_or("", |error| error.code.text());
        let mut response = answered.unwrap_or_else(|error| {
            answer::error(&error, uri.path(), &id, method == http::Method::HEAD)
        });
        // A final answer without `100 Continue` before it is legal, and botocore takes it for an answer to
        // its next request on the connection, which then waits in vain. So the connection ends here.
        if expects && (is_empty || !response.status().is_success()) {
            answer::set(&mut response, "connection", "close");
        }
        answer::add_ids(&mut response, &id);
        header_names::spell(&mut response);
        let status = response.status().as_u16();
        metrics::counter!("siltstone_requests_total", "method" => method_label(&method), "status" => status.to_string()).increment(1);
        let path = uri.path();
        tracing::debug!(request = id, %method, path, status, "request");
        if refusal::is_told(status) {
            let query = uri.query().unwrap_or_default();
            let operation = refusal::operation(&method, path, query, is_copy);
            let who = &caller.who(address);
            RefusedRequest { request: &id, operation, path, status, code, who }.tell();
        }
        response
    }

    async fn answer<'a>(
        &'a self,
        id: &str,
        caller: &mut Caller<'a>,
        mut parts: Parts,
        body: Incoming,
    ) -> Result<http::Response<ResponseBody>, S3Error> {
        check_method(&parts)?;
        check_head(&parts)?;
        headers::check_text(&parts.headers)?;
        let path = names::decode(parts.uri.path())?;
        let query = names::query(parts.uri.query().unwrap_or_default())?;
        let presented = sigv4::parse(&parts, &query)?;
        let Some(presented) = presented else { return Err(ErrorCode::AccessDenied.into()) };
        let Some(user) = self.users.with_key(&presented.access_key) else {
            caller.unknown_key = Some(presented.access_key.clone());
            return Err(S3Error::from(ErrorCode::InvalidAccessKeyId)
                .with("AWSAccessKeyId", presented.access_key.clone()));
        };
        caller.named = Some(user);
        let region = &self.settings.region;
        let secret = SecretKey { secret: user.secret_key.expose(), derived: &user.derived_key };
        let verified = presented.verify(&parts, &path, &query, secret, now(), region)?;
        caller.is_verified = true;
        if let Some(connection) = parts.extensions.get::<Arc<ConnectionHandle>>() {
            connection.prove();
        }
        headers::add_from_query(&mut parts.headers, &query)?;
        headers::check_token(&parts.headers)?;
        let (bucket, key) = split_path(&path);
        let is_write = !matches!(parts.method, http::Method::GET | http::Method::HEAD)
            && bucket.as_deref() != Some(sql::OWN);
        let home = is_write.then(|| self.store.home(bucket.as_deref().unwrap_or_default()));
        let asked = S3Request {
            id: id.to_owned(),
            user: user.clone(),
            verified,
            parts,
            query,
            bucket,
            key,
        };
        let mut response = route::route(self, asked, body).await?;
        if let Some(home) = home {
            // A write is applied before it is answered, so what is applied now contains it.
            let at = vec![(home.id(), home.snapshot().at)];
            answer::set(&mut response, OFFSET_HEADER, &offset_text(&at));
        }
        Ok(response)
    }

    /// The partition that the request's bucket lives in, whether it exists or not.
    pub fn partition_of(&self, asked: &S3Request) -> &Partition {
        self.store.home(asked.bucket.as_deref().unwrap_or_default())
    }

    /// The request's bucket for a write. What this node knows of it may be old: where the write is applied
    /// it is judged again. Only a bucket that seems to be missing is looked for twice.
    pub async fn bucket(&self, asked: &S3Request) -> Result<Arc<BucketState>, S3Error> {
        let name = asked.bucket.as_deref().unwrap_or_default();
        let partition = self.store.home(name);
        match bucket_in(&partition.buckets(), asked, name, EXPECTED_OWNER) {
            Err(error) if error.code == ErrorCode::NoSuchBucket => {
                Ok(self.sight(asked).await?.bucket)
            }
            found => found,
        }
    }

    /// The request's bucket for a read, with everything that was acknowledged before.
    pub async fn sight(&self, asked: &S3Request) -> Result<BucketView<'_>, S3Error> {
        let name = asked.bucket.as_deref().unwrap_or_default();
        self.sight_named(asked, name, EXPECTED_OWNER).await
    }

    /// The bucket of a copy's source, with everything that was acknowledged before.
    pub async fn source_sight(
        &self,
        asked: &S3Request,
        name: &str,
    ) -> Result<BucketView<'_>, S3Error> {
        self.sight_named(asked, name, "x-amz-source-expected-bucket-owner").await
    }

    async fn sight_named(
        &self,
        asked: &S3Request,
        name: &str,
        owner_header: &str,
    ) -> Result<BucketView<'_>, S3Error> {
        let partition = self.store.home(name);
        let snapshot = partition.fresh().await.map_err(read_error)?;
        let bucket = bucket_in(&snapshot.buckets, asked, name, owner_header)?;
        Ok(BucketView { partition, bucket, snapshot })
    }
}

/// The header that names the owner whom the client expects.
const EXPECTED_OWNER: &str = "x-amz-expected-bucket-owner";

/// A bucket of a name, which must exist and belong to whoever asks, and to whom the header names.
fn bucket_in(
    buckets: &Buckets,
    asked: &S3Request,
    name: &str,
    owner_header: &str,
) -> Result<Arc<BucketState>, S3Error> {
    let missing = || S3Error::from(ErrorCode::NoSuchBucket).with("BucketName", name);
    let valid = BucketName::new(name.as_bytes().to_vec())
        .map_err(|_| S3Error::from(ErrorCode::InvalidBucketName).with("BucketName", name))?;
    let bucket = buckets.named(&valid).ok_or_else(missing)?;
    if !owns(&asked.user, bucket) {
        return Err(ErrorCode::AccessDenied.into());
    }
    check_owner(asked, owner_header, &bucket.owner)?;
    Ok(bucket.clone())
}

/// Refuses a request that expects another owner than there is.
fn check_owner(asked: &S3Request, header: &str, owner: &str) -> Result<(), S3Error> {
    match asked.header(header)? {
        Some(expected) if expected != owner => Err(ErrorCode::AccessDenied.into()),
        _ => Ok(()),
    }
}

/// Splits `/bucket/key`; the key is everything after the second slash, taken literally.
fn split_path(path: &str) -> (Option<String>, Option<String>) {
    let rest = path.strip_prefix('/').unwrap_or(path);
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    (some(bucket), some(key))
}

/// What a read that failed means to a client. The place of a corruption is told: whoever stored the object
/// should know what became of it.
pub fn read_error(error: ReadError) -> S3Error {
    tracing::error!(%error, "a read failed");
    match error {
        ReadError::Corrupt(corruption) => ErrorCode::InternalError.because(corruption.to_string()),
        other => ErrorCode::ServiceUnavailable.because(other.to_string()),
    }
}

/// What a write that was not answered means to a client.
pub fn submit_error(error: SubmitError) -> S3Error {
    match error {
        SubmitError::Unreadable(error) => read_error(error),
        SubmitError::Overloaded
        | SubmitError::NotDone
        | SubmitError::Append(AppendError::Full { .. }) => {
            ErrorCode::SlowDown.because(error.to_string())
        }
        SubmitError::TooLarge(_) => ErrorCode::InvalidRequest.because(error.to_string()),
        SubmitError::NotNow(_)
        | SubmitError::Append(_)
        | SubmitError::Stopped(_)
        | SubmitError::Quarantined(_) => {
            tracing::error!(%error, "a write failed");
            ErrorCode::ServiceUnavailable.because(error.to_string())
        }
    }
}
