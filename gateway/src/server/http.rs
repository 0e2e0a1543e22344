//! Serves HTTP/1.1 on a listener: takes connections within their bounds, hands requests over, drains at a stop.

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

/// A client gets so long to send its headers, and may be silent for so long between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The bytes that a connection reads ahead, and so the longest head that is answered in S3's words; beyond, hyper
/// answers 431.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Requests that are under way get so long at a stop.
const DRAIN: Duration = Duration::from_secs(30);
/// How long to wait after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);
/// The answer to a connection without a place.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
    content-type: application/xml\r\ncontent-length: 127\r\n\r\n\
    <?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SlowDown</Code>\
    <Message>Too many connections; try again.</Message></Error>\n";

static UNACCEPTED: LogLimit = LogLimit::new();
static REFUSED: LogLimit = LogLimit::new();

/// A listener and what holds for its connections.
pub struct HttpListener {
    /// The socket that connections come in by.
    pub tcp: TcpListener,
    /// Those that are open.
    pub connections: Arc<ConnectionTable>,
    /// A client must send, and take, 64 KiB before it has been waited for this long.
    pub stall: Duration,
}

impl HttpListener {
    /// Serves connections until `stop`, then lets requests under way end. A request's extensions hold its
    /// `Arc<Connection>`.
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
            tracing::warn!("some requests did not end in time");
        }
    }

    /// The next connection that has a place.
    async fn next(&self) -> (TcpStream, ConnectionSlot) {
        loop {
            let (stream, peer) = match self.tcp.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file handles, say: what is open goes on, new connections wait.
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
        // Whoever cannot take even this much is not waited for.
        let _ = stream.try_write(BUSY);
        if let Some(unsaid) = REFUSED.take() {
            let why = match full {
                NoPlaceReason::All => "all places are taken",
                NoPlaceReason::Address => "all places of its address are taken",
            };
            let listener = self.connections.name;
            tracing::warn!(listener, %peer, unsaid, "a connection is refused: {why}");
        }
    }
}

/// Serves a connection to its end, or until it makes room for another.
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
                // The rest of the body is dropped; the client is told not to go on behind it.
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
            tracing::debug!(peer = %connection.peer(), "a connection made room for another");
        }
    }
}

/// An answer's body: its request is under way until it has been handed over, or given up.
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
