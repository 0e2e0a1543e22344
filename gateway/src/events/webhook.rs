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

/// The most bytes of an answer's body that are read, so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The longest time in which that body is waited for. A longer one costs the connection only.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

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
            if let Ok(answer) = self.send(&mut kept, body.clone()).await {
                *connection = Some(kept).filter(|_| answer.leaves_connection);
                return accepted(answer.status);
            }
        }
        let mut fresh = self.connect().await?;
        let answer = self.send(&mut fresh, body).await?;
        *connection = Some(fresh).filter(|_| answer.leaves_connection);
        accepted(answer.status)
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

    /// Sends a request over a connection. The status alone says if the receiver has the events; the body is read only for
    /// the sake of the connection, within bounds of bytes and time, and may be cut off.
    async fn send(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        body: Bytes,
    ) -> Result<WebhookAnswer, String> {
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
        let rest = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
        let read = tokio::time::timeout(ANSWER_TIME_MAX, rest).await;
        Ok(WebhookAnswer { status, leaves_connection: matches!(read, Ok(Ok(_))) })
    }
}

/// The answer of a receiver.
struct WebhookAnswer {
    status: http::StatusCode,
    /// True if the whole answer was read, so that the connection can take another request.
    leaves_connection: bool,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// The end of an answer on the receiver's side.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum AnswerEnd {
        /// The next request is read.
        Next,
        /// The connection is closed.
        Close,
        /// Nothing more comes, and the connection stays open.
        Stall,
    }

    /// A receiver that gives every request the same answer, and counts connections. Requests end with `}`.
    async fn receiver(answer: Vec<u8>, end: AnswerEnd) -> (Webhook, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut bytes = [0; 4096];
                    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                        if bytes[..count].last() == Some(&b'}') {
                            // The sender may have had enough of it.
                            let _ = stream.write_all(&answer).await;
                            match end {
                                AnswerEnd::Next => {}
                                AnswerEnd::Close => return,
                                AnswerEnd::Stall => std::future::pending().await,
                            }
                        }
                    }
                });
            }
        });
        let messages = EventMessages { region: "us-east-1".into() };
        let url = url.parse().unwrap();
        let timeout = Duration::from_secs(10);
        (Webhook::new(&url, None, timeout, messages).unwrap(), connections)
    }

    fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        [format!("HTTP/1.1 {status}\r\n{headers}\r\n").as_bytes(), body].concat()
    }

    #[tokio::test]
    async fn the_status_alone_says_if_events_are_delivered() {
        let long = vec![b'x'; 200 << 10];
        let of_length = format!("content-length: {}\r\n", long.len());
        let chunked =
            [format!("{:x}\r\n", long.len()).as_bytes(), &long, b"\r\n0\r\n\r\n"].concat();
        let coding = "transfer-encoding: chunked\r\n";
        let (short, none) = ("content-length: 2\r\n", "content-length: 0\r\n");
        for (head, headers, body, end, is_taken, reuses) in [
            ("200 OK", short, &b"ok"[..], AnswerEnd::Next, true, true),
            ("204 No Content", "", b"", AnswerEnd::Next, true, true),
            ("200 OK", of_length.as_str(), &long, AnswerEnd::Next, true, false),
            ("200 OK", coding, &chunked, AnswerEnd::Next, true, false),
            ("200 OK", "", &long, AnswerEnd::Close, true, false),
            ("200 OK", of_length.as_str(), b"half", AnswerEnd::Stall, true, false),
            ("200 OK", of_length.as_str(), b"half", AnswerEnd::Close, true, false),
            ("200 OK", coding, b"no chunk", AnswerEnd::Close, true, false),
            ("500 No", none, b"", AnswerEnd::Next, false, true),
            ("500 No", of_length.as_str(), &long, AnswerEnd::Next, false, false),
            ("302 Found", none, b"", AnswerEnd::Next, false, true),
        ] {
            let told = format!("{head} {headers}, {} bytes, {end:?}", body.len());
            let (webhook, connections) = receiver(answer(head, headers, body), end).await;
            for _ in 0..2 {
                let posted = webhook.post(Bytes::from_static(b"{}")).await;
                assert_eq!(posted.is_ok(), is_taken, "{told}: {posted:?}");
            }
            let wanted = if reuses { 1 } else { 2 };
            assert_eq!(connections.load(Ordering::Relaxed), wanted, "{told}");
        }
        // No status, no delivery.
        for bytes in [&b""[..], b"HTTP/1.1 2", b"200 OK\r\n\r\n"] {
            let (webhook, _) = receiver(bytes.to_vec(), AnswerEnd::Close).await;
            assert!(webhook.post(Bytes::from_static(b"{}")).await.is_err(), "{bytes:?}");
        }
    }
}
