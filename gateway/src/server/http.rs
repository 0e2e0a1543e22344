//! Serves HTTP/1.1 on a listener: accepts connections within their bounds, passes requests to a handler, and waits for
//! requests under way at a stop.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::connections::{
    ConnectionArrival, ConnectionHandle, ConnectionSlot, ConnectionTable, NoPlaceReason,
    RequestGuard, WaitingConnection,
};
use super::head_check;
use super::stream::PacedStream;
use crate::log_limit::LogLimit;

/// The longest time for the head of a request, and the longest silence between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The size of a connection's read buffer in bytes, and so the longest head that the handler receives. For a longer
/// head hyper answers 431 without an S3 error.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// The most headers of a request. The bytes of a head bound its metadata, of which 2 KiB may be many short entries. Each request
/// costs memory for so many, so there are no more.
const HEADERS_MAX: usize = 256;
/// The longest wait for requests under way at a stop.
const DRAIN: Duration = Duration::from_secs(30);
/// The longest time in which the bytes of a refused client are dropped, so that it can read why.
const LINGER: Duration = Duration::from_millis(500);
/// The pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);
/// The response to a connection that is refused at a bound.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
    content-type: application/xml\r\ncontent-length: 127\r\n\r\n\
    <?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SlowDown</Code>\
    <Message>Too many connections; try again.</Message></Error>\n";

static UNACCEPTED: LogLimit = LogLimit::new();
static REFUSED: LogLimit = LogLimit::new();

/// A listening socket with the bounds of its connections.
pub struct HttpListener {
    /// The listening socket.
    pub tcp: TcpListener,
    /// The open connections.
    pub connections: Arc<ConnectionTable>,
    /// The longest time of waiting for a client in which it must receive 64 KiB of a response. Handlers apply the same
    /// limit to the bodies that they read.
    pub stall: Duration,
    /// The largest number of requests on one connection. The response to the last one says that the connection closes.
    pub requests_max: usize,
    /// Called with status and client for each request that no handler gets, because its head is not one of HTTP/1.1.
    pub on_unreadable: fn(StatusCode, SocketAddr),
}

impl HttpListener {
    /// Serves connections until `stop` resolves, then waits at most 30 s for requests under way. The extensions of a
    /// request contain its `Arc<ConnectionHandle>`. A connection that cannot be accepted or served never ends the
    /// listener.
    pub async fn serve<H, A, B>(self, handle: H, stop: impl Future<Output = ()>)
    where
        H: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
        A: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let graceful = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let (stream, peer) = tokio::select! {
                next = self.accept() => next,
                () = &mut stop => break,
            };
            let rules = ConnectionRules {
                stall: self.stall,
                requests_max: self.requests_max,
                on_unreadable: self.on_unreadable,
            };
            let (handle, watcher) = (handle.clone(), graceful.watcher());
            let serve =
                move |stream, place| serve_connection(stream, place, rules, handle, watcher);
            match self.connections.arrive(peer) {
                ConnectionArrival::Placed(place) => {
                    tokio::spawn(serve(stream, place));
                }
                ConnectionArrival::Waits(waiting) => {
                    let listener = self.connections.name;
                    tokio::spawn(async move {
                        if let Some((stream, place)) =
                            await_place(stream, peer, listener, waiting).await
                        {
                            serve(stream, place).await;
                        }
                    });
                }
                // Best effort: the refusal never waits for the client.
                ConnectionArrival::Refused(full) => {
                    refuse(&stream, peer, self.connections.name, full);
                }
            }
        }
        drop(self);
        tracing::info!("stopping: no new connections, waiting for requests under way");
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests under way did not end within the time of a stop");
        }
    }

    /// Returns the next connection. While none can be accepted, for example without a free file handle, open connections
    /// continue and new ones wait.
    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.tcp.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    if let Some(unsaid) = UNACCEPTED.take() {
                        let listener = self.connections.name;
                        tracing::warn!(%error, listener, unsaid, "a connection could not be accepted");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Waits for a place. Without one the client is told to try again, and `None` is returned once it has read that, or
/// after 500 ms.
async fn await_place(
    stream: TcpStream,
    peer: SocketAddr,
    listener: &'static str,
    waiting: WaitingConnection,
) -> Option<(TcpStream, ConnectionSlot)> {
    match waiting.wait().await {
        Ok(place) => Some((stream, place)),
        Err(full) => {
            refuse(&stream, peer, listener, full);
            let _ = tokio::time::timeout(LINGER, drop_arriving(stream)).await;
            None
        }
    }
}

/// Closes the sending side and drops bytes that arrive, until the client closes the connection. The system would
/// otherwise reset the connection, and the client might not see the response.
async fn drop_arriving(mut stream: TcpStream) {
    let mut dropped = vec![0; 4 << 10];
    if stream.shutdown().await.is_ok() {
        while stream.read(&mut dropped).await.is_ok_and(|len| len > 0) {}
    }
}

/// Writes the response for a connection without a place. Never waits for the client.
fn refuse(stream: &TcpStream, peer: SocketAddr, listener: &str, full: NoPlaceReason) {
    // A request that has come already is read, because the system resets a socket with unread bytes.
    let _ = stream.try_read(&mut [0; 4 << 10]);
    let _ = stream.try_write(BUSY);
    if let Some(unsaid) = REFUSED.take() {
        let why = match full {
            NoPlaceReason::All => "the listener is at its bound",
            NoPlaceReason::Address => "its address is at its bound",
        };
        tracing::warn!(listener, %peer, unsaid, "a connection is refused: {why}");
    }
}

/// The fields of a listener that hold for each of its connections.
#[derive(Clone, Copy)]
struct ConnectionRules {
    stall: Duration,
    requests_max: usize,
    on_unreadable: fn(StatusCode, SocketAddr),
}

/// The status with which hyper has refused a request that could not be read; `None` for another end of a connection.
fn refused_status(error: &hyper::Error) -> Option<StatusCode> {
    if error.is_parse_too_large() {
        // Also of a target that is too long, which has 414.
        return Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    (error.is_parse() && !error.is_parse_version_h2()).then_some(StatusCode::BAD_REQUEST)
}

/// Notes the end of a connection by an error, and the request that hyper has refused with it.
fn note_end(
    error: &hyper::Error,
    connection: &ConnectionHandle,
    on_unreadable: fn(StatusCode, SocketAddr),
) {
    if let Some(status) = refused_status(error) {
        on_unreadable(status, connection.peer());
    }
    tracing::debug!(%error, "a connection ended early");
}

/// Serves a connection to its end, or until it must close for another.
async fn serve_connection<H, A, B>(
    stream: TcpStream,
    place: ConnectionSlot,
    rules: ConnectionRules,
    handle: H,
    watcher: Watcher,
) where
    H: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let _ = stream.set_nodelay(true);
    let ConnectionRules { stall, requests_max, on_unreadable } = rules;
    let connection = place.connection().clone();
    let (own, begins) = (connection.clone(), &place);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let under_way = begins.begin(!request.body().is_end_stream());
        request.extensions_mut().insert(own.clone());
        let (handle, connection) = (handle.clone(), own.clone());
        async move {
            let checked = head_check::check(&request, connection.has_length());
            let mut response = match checked {
                Ok(()) => handle(request).await.map(SentBody::Handled),
                Err(refusal) => {
                    let response = refusal.response();
                    on_unreadable(response.status(), connection.peer());
                    response
                }
            };
            let status = response.status();
            let is_refused = status.is_client_error() || status.is_server_error();
            // The rest of the body of a refused request is never read, so no further request can follow.
            if connection.owes_body() && is_refused || connection.requests() >= requests_max {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(response.map(|body| TrackedBody { body, _under_way: under_way }))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(false);
    let stream =
        TokioIo::new(PacedStream::new(stream, connection.clone(), stall, lift_unsent_bound));
    let served = watcher.watch(http.serve_connection(stream, service));
    tokio::select! {
        served = served => {
            if let Err(error) = served {
                note_end(&error, &connection, on_unreadable);
            }
        }
        () = connection.displaced() => {
            tracing::debug!(peer = %connection.peer(), "a connection was closed for another");
        }
    }
}

/// Ends the bound on unsent bytes of a socket, which makes large responses faster where the client reads. Best effort: with
/// the bound the connection works, too.
fn lift_unsent_bound(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(u32::MAX);
}

/// The body of a response of the handler, or the text of a refusal before the handler.
enum SentBody<B> {
    Handled(B),
    Refusal(Option<Bytes>),
}

impl<B> From<Bytes> for SentBody<B> {
    fn from(text: Bytes) -> Self {
        SentBody::Refusal(Some(text))
    }
}

/// The body of a response. The request is under way until the body has been sent or dropped.
struct TrackedBody<B> {
    body: SentBody<B>,
    _under_way: RequestGuard,
}

impl<B: Body<Data = Bytes> + Unpin> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.body {
            SentBody::Handled(body) => Pin::new(body).poll_frame(context),
            SentBody::Refusal(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            SentBody::Handled(body) => body.is_end_stream(),
            SentBody::Refusal(text) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            SentBody::Handled(body) => body.size_hint(),
            SentBody::Refusal(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_refused_are_told_is_whole() {
        let text = std::str::from_utf8(BUSY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        assert_eq!(len.parse::<usize>().unwrap(), body.len());
    }
}
