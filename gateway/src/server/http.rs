//! Serves HTTP/1.1 on a listener: accepts connections within their bounds, passes requests to a handler, and waits for
//! requests under way at a stop.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};

use super::connections::{ConnectionSlot, ConnectionTable, NoPlaceReason, RequestGuard};
use super::stream::PacedStream;
use crate::log_limit::LogLimit;

/// The longest time for the head of a request, and the longest silence between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The size of a connection's read buffer in bytes, and so the longest head that the handler receives. For a longer
/// head hyper answers 431 without an S3 error.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// The longest wait for requests under way at a stop.
const DRAIN: Duration = Duration::from_secs(30);
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
            let (stream, place) = tokio::select! {
                next = self.next() => next,
                () = &mut stop => break,
            };
            let served =
                serve_connection(stream, place, self.stall, handle.clone(), graceful.watcher());
            tokio::spawn(served);
        }
        drop(self);
        tracing::info!("stopping: no new connections, waiting for requests under way");
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests under way did not end within the time of a stop");
        }
    }

    /// Returns the next connection that has a place. Connections without one are refused here.
    async fn next(&self) -> (TcpStream, ConnectionSlot) {
        loop {
            let (stream, peer) = match self.tcp.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // For example without a free file handle. Open connections continue and new ones wait.
                    if let Some(unsaid) = UNACCEPTED.take() {
                        let listener = self.connections.name;
                        tracing::warn!(%error, listener, unsaid, "a connection could not be accepted");
                    }
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            match self.connections.admit(peer).await {
                Ok(place) => return (stream, place),
                Err(full) => self.refuse(&stream, peer, full),
            }
        }
    }

    fn refuse(&self, stream: &TcpStream, peer: std::net::SocketAddr, full: NoPlaceReason) {
        // Best effort: the refusal never waits for the client.
        let _ = stream.try_write(BUSY);
        if let Some(unsaid) = REFUSED.take() {
            let why = match full {
                NoPlaceReason::All => "the listener is at its bound",
                NoPlaceReason::Address => "its address is at its bound",
            };
            let listener = self.connections.name;
            tracing::warn!(listener, %peer, unsaid, "a connection is refused: {why}");
        }
    }
}

/// Serves a connection to its end, or until it must close for another.
async fn serve_connection<H, A, B>(
    stream: TcpStream,
    place: ConnectionSlot,
    stall: Duration,
    handle: H,
    watcher: Watcher,
) where
    H: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let _ = stream.set_nodelay(true);
    let connection = place.connection().clone();
    let (own, begins) = (connection.clone(), &place);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let under_way = begins.begin(!request.body().is_end_stream());
        request.extensions_mut().insert(own.clone());
        let (handle, connection) = (handle.clone(), own.clone());
        async move {
            let mut response = handle(request).await;
            let status = response.status();
            if connection.owes_body() && (status.is_client_error() || status.is_server_error()) {
                // The rest of the body is never read, so no further request can follow on this connection.
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
        .half_close(false);
    let stream = TokioIo::new(PacedStream::new(stream, connection.clone(), stall));
    let served = watcher.watch(http.serve_connection(stream, service));
    tokio::select! {
        served = served => {
            if let Err(error) = served {
                tracing::debug!(%error, "a connection ended early");
            }
        }
        () = connection.displaced() => {
            tracing::debug!(peer = %connection.peer(), "a connection was closed for another");
        }
    }
}

/// The body of a response. The request is under way until the body has been sent or dropped.
struct TrackedBody<B> {
    body: B,
    _under_way: RequestGuard,
}

impl<B: Body + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
