//! One signed connection: HTTP/1.1, kept alive, one request at a time.
//!
//! There is no pool, no retry and no redirect: an answer that did not come is a result, and should not be
//! hidden.

use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::payload::Payload;
use crate::sign::{Credentials, Signable, Signer, UNSIGNED};

/// An answer takes at most so long, and a second more for each MiB that is sent.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// The server under load, and who loads it.
pub struct LoadTarget {
    authority: String,
    host: HeaderValue,
    credentials: Credentials,
}

impl LoadTarget {
    /// Takes an endpoint as `http://host:port`.
    pub fn new(endpoint: &str, credentials: Credentials) -> anyhow::Result<Self> {
        let authority = authority(endpoint)?.to_owned();
        let host = HeaderValue::from_str(&authority).context("the endpoint is not a host name")?;
        let access_key = HeaderValue::from_str(&credentials.access_key);
        access_key.context("the access key cannot stand in a header")?;
        Ok(Self { authority, host, credentials })
    }

    /// Makes a bucket unless it is there.
    pub async fn make_bucket(&self, bucket: &str) -> anyhow::Result<()> {
        let mut answer = Vec::new();
        let path = format!("/{bucket}");
        let call =
            SignedCall { method: Method::PUT, path: &path, query: "", payload: Payload::empty() };
        let (status, _) = ClientConnection::open(self).await?.exchange(call, &mut answer).await?;
        let text = String::from_utf8_lossy(&answer);
        let is_there = status == StatusCode::CONFLICT && text.contains("BucketAlreadyOwnedByYou");
        ensure!(status.is_success() || is_there, "cannot make bucket {bucket} ({status}): {text}");
        Ok(())
    }
}

fn authority(endpoint: &str) -> anyhow::Result<&str> {
    if endpoint.starts_with("https:") {
        bail!("{endpoint}: TLS is not spoken here; load the server itself");
    }
    Ok(endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/'))
}

async fn dial(authority: &str) -> anyhow::Result<SendRequest<Payload>> {
    let stream = TcpStream::connect(authority).await;
    let stream = stream.with_context(|| format!("no server answers on {authority}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends when the sender is dropped; an error of it reaches whoever waits for an answer.
    tokio::spawn(connection);
    Ok(sender)
}

async fn read(
    sender: &mut SendRequest<Payload>,
    request: Request<Payload>,
    answer: &mut Vec<u8>,
) -> anyhow::Result<(StatusCode, HeaderMap)> {
    answer.clear();
    let within = ANSWER_WITHIN + Duration::from_secs(request.body().left() >> 20);
    let exchange = async {
        sender.ready().await?;
        let (parts, mut body) = sender.send_request(request).await?.into_parts();
        while let Some(frame) = body.frame().await {
            if let Ok(piece) = frame?.into_data() {
                answer.extend_from_slice(&piece);
            }
        }
        Ok((parts.status, parts.headers))
    };
    tokio::time::timeout(within, exchange).await.context("no answer came in time")?
}

/// Why a request has no answer, for a caller who must know what may have become of it.
#[derive(Debug)]
pub enum LostRequest {
    /// Nothing of it was sent: it has not been carried out, and never will be.
    Unsent(anyhow::Error),
    /// It was sent, at least in part: it may have been carried out, or may still be.
    Broken(anyhow::Error),
    /// As `Broken`: no answer came in time.
    Late,
}

/// A request that a connection signs and sends.
pub struct SignedCall<'a> {
    /// The method.
    pub method: Method,
    /// The path, percent-encoded.
    pub path: &'a str,
    /// The query: encoded, sorted, every name with its `=`. Empty if there is none.
    pub query: &'a str,
    /// The body.
    pub payload: Payload,
}

/// One connection to a target.
pub struct ClientConnection {
    sender: SendRequest<Payload>,
    host: HeaderValue,
    signer: Signer,
}

impl ClientConnection {
    /// Connects.
    pub async fn open(target: &LoadTarget) -> anyhow::Result<Self> {
        let signer = Signer::new(target.credentials.clone(), target.authority.clone());
        let sender = dial(&target.authority).await?;
        Ok(Self { sender, host: target.host.clone(), signer })
    }

    /// Sends a request whose body is not signed, and reads the answer's body into `answer`.
    pub async fn exchange(
        &mut self,
        call: SignedCall<'_>,
        answer: &mut Vec<u8>,
    ) -> anyhow::Result<(StatusCode, HeaderMap)> {
        self.exchange_hashed(call, UNSIGNED, answer).await
    }

    /// As `exchange`, with the hash of the body, which is signed then.
    pub async fn exchange_hashed(
        &mut self,
        call: SignedCall<'_>,
        payload_hash: &str,
        answer: &mut Vec<u8>,
    ) -> anyhow::Result<(StatusCode, HeaderMap)> {
        let request = self.request(call, payload_hash)?;
        read(&mut self.sender, request, answer).await
    }

    /// As `exchange`, with more headers, which are not signed, and with a time limit; tells what may have
    /// become of a request that got no answer. The connection is of no use after that.
    pub async fn attempt(
        &mut self,
        call: SignedCall<'_>,
        headers: &[(HeaderName, HeaderValue)],
        within: Duration,
        answer: &mut Vec<u8>,
    ) -> Result<(StatusCode, HeaderMap), LostRequest> {
        answer.clear();
        let mut request = self.request(call, UNSIGNED).map_err(LostRequest::Unsent)?;
        for (name, value) in headers {
            request.headers_mut().insert(name, value.clone());
        }
        let sender = &mut self.sender;
        let exchange = async {
            sender.ready().await.map_err(|error| LostRequest::Unsent(error.into()))?;
            let response = sender.try_send_request(request).await.map_err(|mut error| {
                // hyper hands the request back if it has not begun to write it.
                let is_unsent = error.take_message().is_some();
                let error = error.into_error().into();
                if is_unsent { LostRequest::Unsent(error) } else { LostRequest::Broken(error) }
            })?;
            let (parts, mut body) = response.into_parts();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| LostRequest::Broken(error.into()))?;
                if let Ok(piece) = frame.into_data() {
                    answer.extend_from_slice(&piece);
                }
            }
            Ok((parts.status, parts.headers))
        };
        tokio::time::timeout(within, exchange).await.unwrap_or(Err(LostRequest::Late))
    }

    fn request(
        &mut self,
        call: SignedCall<'_>,
        payload_hash: &str,
    ) -> anyhow::Result<Request<Payload>> {
        let SignedCall { method, path, query, payload } = call;
        let now = SystemTime::UNIX_EPOCH.elapsed().context("the clock is before 1970")?;
        let signable = Signable { method: method.as_str(), path, query, payload: payload_hash };
        let signed = self.signer.sign(&signable, now.as_secs() as i64);
        let uri = match query {
            "" => Bytes::copy_from_slice(path.as_bytes()),
            query => Bytes::from(format!("{path}?{query}")),
        };
        let hash = match payload_hash {
            UNSIGNED => HeaderValue::from_static(UNSIGNED),
            hash => HeaderValue::from_str(hash)?,
        };
        let mut request = Request::new(payload);
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_maybe_shared(uri)?;
        let headers = request.headers_mut();
        headers.insert("host", self.host.clone());
        headers.insert("x-amz-content-sha256", hash);
        headers.insert("x-amz-date", signed.time);
        headers.insert("authorization", signed.authorization);
        Ok(request)
    }

    /// As `exchange`; an answer that is not a success is an error with the answer's text.
    pub async fn demand(
        &mut self,
        call: SignedCall<'_>,
        answer: &mut Vec<u8>,
    ) -> anyhow::Result<HeaderMap> {
        let what = format!("{} {}", call.method, call.path);
        let (status, headers) = self.exchange(call, answer).await.with_context(|| what.clone())?;
        ensure!(status.is_success(), "{what}: {status}: {}", String::from_utf8_lossy(answer));
        Ok(headers)
    }
}

/// Posts to the admin address, which asks for no signature, on a connection of its own.
pub async fn post_admin(admin: &str, path: &str) -> anyhow::Result<()> {
    let authority = authority(admin)?;
    let mut request = Request::new(Payload::empty());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse()?;
    request.headers_mut().insert("host", HeaderValue::from_str(authority)?);
    let mut answer = Vec::new();
    let (status, _) = read(&mut dial(authority).await?, request, &mut answer).await?;
    ensure!(status.is_success(), "{admin}{path}: {status}: {}", String::from_utf8_lossy(&answer));
    Ok(())
}
