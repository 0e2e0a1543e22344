//! A store in a temporary folder, an S3 service on it, and signed requests.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use gateway::api::authentication::AuthenticationOptions;
use gateway::api::context::{S3Context, S3Options};
use gateway::api::request::RequestBody;
use gateway::api::service::S3Service;
use gateway::cli::{self, Command};
use gateway::config::ServerSettings;
use gateway::server::store::Store;
use gateway::sql_service::SqlService;
use gateway::users::{self, Users};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use ingest::env::production;
use s3::sigv4::EMPTY_SHA256;
use sha2::{Digest, Sha256};

pub const REGION: &str = "us-east-1";
/// Longer payload goes to bulk files.
pub const INLINE_BYTES_MAX: u64 = 64 << 10;

/// A service on a store of its own.
pub struct Harness {
    service: Arc<S3Service>,
    store: Arc<Store>,
    pub access_key: String,
    pub secret_key: String,
    _folder: tempfile::TempDir,
}

impl Harness {
    /// Opens a new store with one user and the bucket `photos`.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["siltstone", "server", "--reserve-bytes", "0", "--data"];
        let arguments = arguments.into_iter().map(OsString::from).chain([folder.path().into()]);
        let Ok((Command::Server(args), sources)) = cli::parse_from(arguments) else {
            panic!("the arguments of a server are not taken");
        };
        let settings = ServerSettings::new(*args, &sources).unwrap();
        let env = production::of(folder.path()).unwrap();
        let store = Arc::new(Store::open(env, &settings).await.unwrap());
        let (all, _) = Users::load(&settings).unwrap();
        let (access_key, secret_key) = users::kept_keys(folder.path()).unwrap().unwrap();
        let all = Arc::new(all);
        let engine = Arc::new(sql::SqlEngine::new(&sql::SqlOptions::default()).unwrap());
        let sql = SqlService::new(store.clone(), all.clone(), engine);
        let options = S3Options {
            region: REGION.into(),
            authentication: AuthenticationOptions::new(&settings.service),
            website_domains: "s3-website.localhost".parse().unwrap(),
            stall: Duration::from_secs(60),
            inline_bytes_max: INLINE_BYTES_MAX,
            destinations: Arc::default(),
            stopping: tokio::sync::watch::channel(false).1,
        };
        let context = S3Context::new(store.clone(), all, options);
        let harness = Self {
            service: Arc::new(S3Service::new(context, sql)),
            store,
            access_key,
            secret_key: secret_key.expose().to_owned(),
            _folder: folder,
        };
        harness.put("/photos", "").await.expect(StatusCode::OK);
        harness
    }

    /// Closes the store; its threads use the runtime, which a test drops when it returns.
    pub async fn stop(self) {
        self.store.close().await;
    }

    pub async fn put(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(Call::new(Method::PUT, path).body(body)).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(Call::new(Method::POST, path).body(body)).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Call::new(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Call::new(Method::DELETE, path)).await
    }

    /// Signs a call with the user's keys and sends it.
    pub async fn send(&self, call: Call) -> Answer {
        let (access_key, secret_key) = (self.access_key.clone(), self.secret_key.clone());
        self.send_as(call, &access_key, &secret_key).await
    }

    /// Signs a call with any keys and sends it.
    pub async fn send_as(&self, call: Call, access_key: &str, secret_key: &str) -> Answer {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        let (path, query) = call.target.split_once('?').unwrap_or((&call.target, ""));
        let hash = match &call.sha256 {
            Some(told) => told.clone(),
            None if call.body.is_empty() => EMPTY_SHA256.to_owned(),
            None => hex::encode(Sha256::digest(&call.body)),
        };
        let mut request = http::Request::builder()
            .method(call.method.clone())
            .uri(&call.target)
            .header("host", "s3.test")
            .header("x-amz-date", s3::time::amz(now))
            .header("x-amz-content-sha256", hash)
            .header("content-length", call.length.unwrap_or(call.body.len() as u64));
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let (decoded, pairs) = (s3::names::decode(path).unwrap(), s3::names::query(query).unwrap());
        let signed = s3::sigv4::sign(&parts, &decoded, &pairs, access_key, secret_key, REGION);
        parts.headers.insert("authorization", signed.unwrap().parse().unwrap());
        self.send_parts(parts, call.body).await
    }

    /// Sends a request as it stands.
    pub async fn send_parts(&self, parts: http::request::Parts, body: Bytes) -> Answer {
        let body = RequestBody::Memory(Some(body).filter(|body| !body.is_empty()));
        let request = http::Request::from_parts(parts, body);
        let (parts, body) = self.service.clone().handle(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

/// A request before it is signed.
pub struct Call {
    method: Method,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    length: Option<u64>,
    sha256: Option<String>,
}

impl Call {
    /// A request for a path, which may have a query, both encoded.
    pub fn new(method: Method, target: &str) -> Self {
        Self {
            method,
            target: target.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            length: None,
            sha256: None,
        }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Declares another length than the body has.
    pub fn length(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    /// Declares another SHA-256 than the body has, or another kind of payload.
    pub fn sha256(mut self, text: impl Into<String>) -> Self {
        self.sha256 = Some(text.into());
        self
    }
}

/// A response.
pub struct Answer {
    pub status: StatusCode,
    headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The value of a header; empty without it.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The text of the first element with a name in the body; empty without one.
    pub fn element(&self, name: &str) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let found = text.split_once(&format!("<{name}>")).map(|(_, rest)| rest.to_owned());
        found
            .and_then(|rest| rest.split_once('<').map(|(value, _)| value.to_owned()))
            .unwrap_or_default()
    }

    /// Asserts the status.
    #[track_caller]
    pub fn expect(self, status: StatusCode) -> Self {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(1000)]);
        assert_eq!(self.status, status, "{body}");
        self
    }

    /// Asserts an error's code.
    #[track_caller]
    pub fn expect_error(self, code: &str) {
        assert_eq!(self.element("Code"), code, "{}", String::from_utf8_lossy(&self.body));
    }
}

/// Bytes that differ at every position a reader could confuse.
pub fn bytes(len: usize) -> Bytes {
    (0..len as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Lengths on both sides of the bound between records and bulk files.
pub const LENGTHS: [usize; 4] = [0, 1000, INLINE_BYTES_MAX as usize, INLINE_BYTES_MAX as usize + 1];
