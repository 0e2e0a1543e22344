//! Delivery to a webhook: POST requests with JSON, over one connection that is kept.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use compactor::delivery::{DueEvent, EventReceiver};
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use ingest::env::Fut;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::message::EventMessages;
use crate::secret::Secret;

/// The most bytes of an answer that are read, so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A receiver that takes POST requests.
pub struct Webhook {
    host: String,
    port: u16,
    /// Path and query.
    target: Uri,
    authority: HeaderValue,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    messages: EventMessages,
    /// The connection of the last request, if it may be used again.
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Webhook {
    /// Makes the receiver of a URL that the settings have checked. Does no I/O. Fails for a URL or token that no request
    /// can have.
    pub fn new(
        url: &Uri,
        token: Option<&Secret>,
        timeout: Duration,
        messages: EventMessages,
    ) -> anyhow::Result<Self> {
        let authority = url.authority().context("the URL names no host")?;
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        let authorization = token.map(|token| {
            let text = token.expose();
            // A token alone is a bearer's; with a scheme before it, the value is sent as it is.
            let value = match text.contains(' ') {
                true => text.to_owned(),
                false => format!("Bearer {text}"),
            };
            let mut value = HeaderValue::from_str(&value).map_err(|_| {
                anyhow::anyhow!("the token has a character that no header may have")
            })?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        });
        Ok(Self {
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(80),
            target: target.parse()?,
            authority: HeaderValue::from_str(authority.as_str())?,
            authorization: authorization.transpose()?,
            timeout,
            messages,
            connection: Mutex::default(),
        })
    }

    /// Sends one request; `Ok` for an answer of success.
    async fn post(&self, body: Bytes) -> Result<(), String> {
        let mut connection = self.connection.lock().await;
        if let Some(mut kept) = connection.take() {
            // The receiver may have closed it meanwhile. A request that was sent all the same is sent again below, which
            // delivery at least once allows.
            if let Ok(status) = self.send(&mut kept, body.clone()).await {
                *connection = Some(kept);
                return accepted(status);
            }
        }
        let mut fresh = self.connect().await?;
        let status = self.send(&mut fresh, body).await?;
        *connection = Some(fresh);
        accepted(status)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let address = (self.host.as_str(), self.port);
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
        let _ = stream.set_nodelay(true);
        let made = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(|error| format!("cannot connect: {error}"))?;
        // Ends when the sender is dropped, or the receiver closes.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    /// Sends a request over a connection and reads the whole answer.
    async fn send(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        body: Bytes,
    ) -> Result<http::StatusCode, String> {
        let failed = |error: hyper::Error| format!("the request failed: {error}");
        sender.ready().await.map_err(failed)?;
        let mut request = Request::post(self.target.clone())
            .header(header::HOST, self.authority.clone())
            .header(header::USER_AGENT, concat!("siltstone/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(failed)?;
        let status = answer.status();
        let read = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        read.map_err(|error| format!("the answer cannot be read: {error}"))?;
        Ok(status)
    }
}

fn accepted(status: http::StatusCode) -> Result<(), String> {
    if status.is_success() { Ok(()) } else { Err(format!("the receiver answered {status}")) }
}

impl EventReceiver for Webhook {
    fn deliver<'a>(&'a self, events: &'a [DueEvent]) -> Fut<'a, Result<(), String>> {
        Box::pin(async move {
            let body = self.messages.body(events).to_string();
            match tokio::time::timeout(self.timeout, self.post(body.into())).await {
                Ok(posted) => posted,
                Err(_) => Err(format!("no answer within {:?}", self.timeout)),
            }
        })
    }
}
