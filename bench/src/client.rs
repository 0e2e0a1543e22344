//! One signed connection: HTTP/1.1, kept alive, one request at a time.
//!
//! There is no pool, no retry and no redirect: a lost answer is a result of the measurement and must not be
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

/// The time limit of an answer; each MiB of the request's body adds one second.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// The server under load, and the credentials for it.
pub struct LoadTarget {
    authority: String,
    host: HeaderValue,
    credentials: Credentials,
}

impl LoadTarget {
    /// Parses an endpoint of the form `http://host:port`; the scheme may be left out. Does not connect.
    ///
    /// Fails for `https:`, which is not supported, and if the host or the access key cannot be the value of a
    /// header.
    pub fn new(endpoint: &str, credentials: Credentials) -> anyhow::Result<Self> {
        let authority = authority(endpoint)?.to_owned();
        let host = HeaderValue::from_str(&authority).context("the endpoint is not a host name")?;
        let access_key = HeaderValue::from_str(&credentials.access_key);
        access_key.context("the access key cannot stand in a header")?;
        Ok(Self { authority, host, credentials })
    }

    /// Makes a bucket over a new connection. Succeeds without a change if the same owner already has the
    /// bucket.
    ///
    /// Fails if no connection or no answer comes about, or if the server refuses the bucket for any other
    /// reason.
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
    // The task ends when the sender is dropped. An error of the connection is returned to the request that
    // waits for an answer.
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

/// The reason why a request has no answer, which shows if the request may have been carried out.
#[derive(Debug)]
pub enum LostRequest {
    /// Nothing was sent: the request has not been carried out, and never will be.
    Unsent(anyhow::Error),
    /// The request was sent, at least in part: it may have been carried out, or may still be.
    Broken(anyhow::Error),
    /// No answer came before the time limit; the request may have been carried out, as with `Broken`.
    Late,
}

/// A request that a connection signs and sends.
pub struct SignedCall<'a> {
    /// The method.
    pub method: Method,
    /// The path, percent-encoded.
    pub path: &'a str,
    /// The query: encoded, sorted by name, every name with its `=`. Empty if there is none.
    pub query: &'a str,
    /// The body.
    pub payload: Payload,
}

/// One connection to a target, with its signer. Requests are sent one after the other.
pub struct ClientConnection {
    sender: SendRequest<Payload>,
    authority: String,
    /// True after an answer that said that the server closes the connection. The next request opens another one.
    is_closing: bool,
    host: HeaderValue,
    signer: Signer,
}

impl ClientConnection {
    /// Opens a TCP connection with `TCP_NODELAY`. There is no time limit but that of the operating system.
    ///
    /// Fails if the server cannot be reached.
    pub async fn open(target: &LoadTarget) -> anyhow::Result<Self> {
        let signer = Signer::new(target.credentials.clone(), target.authority.clone());
        let sender = dial(&target.authority).await?;
        let (authority, host) = (target.authority.clone(), target.host.clone());
        Ok(Self { sender, authority, is_closing: false, host, signer })
    }

    /// Opens another connection if the server closes this one, as servers do after a number of requests. Fails if the
    /// server cannot be reached.
    async fn reopen(&mut self) -> anyhow::Result<()> {
        if self.is_closing {
            self.sender = dial(&self.authority).await?;
            self.is_closing = false;
        }
        Ok(())
    }

    /// Sends a request whose body is not signed, and reads the answer's body into `answer`, which is cleared
    /// before.
    ///
    /// Returns the answer for every HTTP status. Fails if the connection breaks or no answer comes in time
    /// (60 s, and 1 s more for each MiB of the body). After an error the connection must not be used again,
    /// and the request may have been carried out.
    pub async fn exchange(
        &mut self,
        call: SignedCall<'_>,
        answer: &mut Vec<u8>,
    ) -> anyhow::Result<(StatusCode, HeaderMap)> {
        self.exchange_hashed(call, UNSIGNED, answer).await
    }

    /// Sends a request like [`Self::exchange`], with a signed body.
    ///
    /// `payload_hash` must be the SHA-256 of the body in hexadecimal digits, as [`crate::sign::payload_hash`]
    /// returns it. Errors are those of `exchange`.
    pub async fn exchange_hashed(
        &mut self,
        call: SignedCall<'_>,
        payload_hash: &str,
        answer: &mut Vec<u8>,
    ) -> anyhow::Result<(StatusCode, HeaderMap)> {
        let request = self.request(call, payload_hash)?;
        self.reopen().await?;
        let answered = read(&mut self.sender, request, answer).await?;
        self.is_closing = says_close(&answered.1);
        Ok(answered)
    }

    /// Sends a request like [`Self::exchange`], with more headers, which are not signed, and with a time
    /// limit of the caller.
    ///
    /// The error shows if the request may have been carried out: only [`LostRequest::Unsent`] excludes it.
    /// After an error the connection must not be used again.
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
        self.reopen().await.map_err(LostRequest::Unsent)?;
        let sender = &mut self.sender;
        let exchange = async {
            sender.ready().await.map_err(|error| LostRequest::Unsent(error.into()))?;
            let response = sender.try_send_request(request).await.map_err(|mut error| {
                // hyper returns the request with the error if it has not begun to write the request.
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
        let answered = tokio::time::timeout(within, exchange).await;
        let answered = answered.unwrap_or(Err(LostRequest::Late))?;
        self.is_closing = says_close(&answered.1);
        Ok(answered)
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

    /// Sends a request like [`Self::exchange`], and fails unless the answer is a success (2xx).
    ///
    /// The error contains method, path, status and the answer's text; other errors are those of `exchange`.
    /// Returns the answer's headers.
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

/// Returns true for the headers of the last answer on a connection.
fn says_close(headers: &HeaderMap) -> bool {
    headers.get("connection").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

/// Posts to the server's admin address, unsigned and without a body, over a new connection.
///
/// Waits at most 60 s for the answer. Fails if the server cannot be reached or the answer is not a success
/// (2xx).
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
