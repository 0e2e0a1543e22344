//! The byte stream of a connection: a client that does not read its response is given up, and a connection is closed
//! in such a way that the client can read the last response.
//!
//! The system resets a socket that is closed while bytes arrive, and a reset discards bytes that the client has not
//! read yet. Without care, a request that is refused before the end of its body would look like a broken connection.
//! Therefore a connection ends in two steps: the sending side is closed first, then arriving bytes are read and
//! dropped, within bounds.
//!
//! hyper answers a head that it cannot read without a document. Where that head is the first of its connection, its answer is the
//! first that is sent, and is replaced by one with a document. Later ones stand behind answers with clients' data and cannot
//! be told from these with certainty, so they stay as they are.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::connections::ConnectionHandle;
use super::head_check;
use super::head_scan::HeadScan;
use super::pace::ClientPace;

/// The number of bytes that a client must have been sent before the system may take as many for it as it likes. More than
/// the bound on unsent bytes of a new socket, so a client that reads nothing never comes here.
const TAKEN_BYTES: u64 = 512 << 10;
/// The largest number of bytes that are dropped after the last response.
const DRAIN_BYTES_MAX: u64 = 64 << 20;
/// The longest time in which bytes are dropped after the last response.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(20);
/// The time without a byte after which no more are expected.
const DRAIN_IDLE_MAX: Duration = Duration::from_secs(2);
/// The largest number of bytes that one read drops.
const DRAIN_STEP: usize = 16 << 10;

/// A stream with the bounds that the module describes. The read side only counts bytes and looks at heads; readers of
/// bodies must bound their waits themselves.
pub struct PacedStream<S> {
    inner: S,
    connection: Arc<ConnectionHandle>,
    pace: ClientPace,
    sent: u64,
    /// Called once, when the client has been sent 512 KiB.
    on_taken: Option<fn(&S)>,
    /// The begin of the current wait for the client, and the timer that ends the wait.
    blocked: Option<(Instant, Pin<Box<Sleep>>)>,
    drain: Option<Drain>,
    /// The bytes that are still to be sent in place of hyper's answer; empty once they are.
    refusal: Option<Bytes>,
    head: HeadScan,
}

struct Drain {
    bytes: u64,
    until: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<S> PacedStream<S> {
    /// Wraps a socket. A write fails with [`io::ErrorKind::TimedOut`] after the time `stall` of waiting for the
    /// client in which it has received less than 64 KiB. `on_taken` is called once, after 512 KiB have been sent.
    pub fn new(
        inner: S,
        connection: Arc<ConnectionHandle>,
        stall: Duration,
        on_taken: fn(&S),
    ) -> Self {
        let pace = ClientPace::new(stall);
        let (sent, on_taken, refusal) = (0, Some(on_taken), None);
        let head = HeadScan::default();
        Self { inner, connection, pace, sent, on_taken, blocked: None, drain: None, refusal, head }
    }

    fn went(&mut self, bytes: usize) {
        if let Some((since, _)) = self.blocked.take() {
            self.pace.waited(since.elapsed());
            self.connection.came();
        }
        self.pace.moved(bytes);
        self.connection.moved(bytes);
        self.sent += bytes as u64;
        if self.sent >= TAKEN_BYTES
            && let Some(on_taken) = self.on_taken.take()
        {
            on_taken(&self.inner);
        }
    }

    /// Continues the wait for the client. Fails if the client has exceeded the time of waiting.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let left = self.pace.left();
        let connection = &self.connection;
        let (_, timer) = self.blocked.get_or_insert_with(|| {
            connection.waits();
            let now = Instant::now();
            (now, Box::pin(tokio::time::sleep_until(now + left)))
        });
        ready!(timer.as_mut().poll(context));
        let told = "the client does not read the response";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, told)))
    }
}

impl<S: AsyncWrite + Unpin> PacedStream<S> {
    /// Sends the refusal of a connection's first head in place of hyper's answer, which begins with `first`; `None` for all
    /// other bytes, which must be sent as they are.
    fn poll_refusal(
        &mut self,
        context: &mut Context<'_>,
        first: &[u8],
    ) -> Option<Poll<io::Result<()>>> {
        // Before the first request is served, nobody but hyper itself has anything to send.
        if self.connection.requests() > 0 {
            return None;
        }
        if self.refusal.is_none() {
            self.refusal = head_check::unreadable_answer(first);
        }
        let mut rest = self.refusal.take()?;
        let mut polled = Poll::Ready(Ok(()));
        while !rest.is_empty() {
            match Pin::new(&mut self.inner).poll_write(context, &rest) {
                Poll::Ready(Ok(0)) => {
                    polled = Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    break;
                }
                Poll::Ready(Ok(count)) => {
                    self.went(count);
                    rest.advance(count);
                }
                Poll::Ready(Err(error)) => {
                    polled = Poll::Ready(Err(error));
                    break;
                }
                Poll::Pending => {
                    polled = self.wait(context).map_ok(|_| ());
                    break;
                }
            }
        }
        self.refusal = Some(rest);
        Some(polled)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let stream = &mut *self;
        let came = &buffer.filled()[before..];
        stream.connection.received(came.len());
        if stream.connection.is_between() && stream.head.feed(came, stream.connection.requests()) {
            stream.connection.saw_length();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(refused) = self.poll_refusal(context, bytes) {
            return refused.map_ok(|()| bytes.len());
        }
        match Pin::new(&mut self.inner).poll_write(context, bytes) {
            Poll::Ready(result) => {
                self.went(*result.as_ref().unwrap_or(&0));
                Poll::Ready(result)
            }
            Poll::Pending => self.wait(context),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&b""[..], |slice| slice);
        if let Some(refused) = self.poll_refusal(context, first) {
            return refused.map_ok(|()| slices.iter().map(|slice| slice.len()).sum());
        }
        match Pin::new(&mut self.inner).poll_write_vectored(context, slices) {
            Poll::Ready(result) => {
                self.went(*result.as_ref().unwrap_or(&0));
                Poll::Ready(result)
            }
            Poll::Pending => self.wait(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &mut *self;
        let drain = match &mut stream.drain {
            Some(drain) => drain,
            None => {
                ready!(Pin::new(&mut stream.inner).poll_shutdown(context))?;
                if !stream.connection.owes() {
                    return Poll::Ready(Ok(()));
                }
                let now = Instant::now();
                stream.drain.insert(Drain {
                    bytes: 0,
                    until: now + DRAIN_TIME_MAX,
                    timer: Box::pin(tokio::time::sleep_until(now + DRAIN_IDLE_MAX)),
                })
            }
        };
        let mut dropped = [std::mem::MaybeUninit::uninit(); DRAIN_STEP];
        loop {
            let mut buffer = ReadBuf::uninit(&mut dropped);
            match Pin::new(&mut stream.inner).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    drain.bytes += buffer.filled().len() as u64;
                    if drain.bytes > DRAIN_BYTES_MAX {
                        return Poll::Ready(Ok(()));
                    }
                    let idle = Instant::now() + DRAIN_IDLE_MAX;
                    drain.timer.as_mut().reset(idle.min(drain.until));
                }
                // The client has closed the connection, or the connection is broken.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(drain.timer.as_mut().poll(context));
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::super::connections::{ConnectionArrival, ConnectionLimits, ConnectionTable};
    use super::*;

    fn place() -> super::super::connections::ConnectionSlot {
        let all = ConnectionTable::new(
            "test",
            ConnectionLimits { all: 1, per_address: 1, spares_loopback: true },
        );
        let ConnectionArrival::Placed(slot) = all.arrive(([127, 0, 0, 1], 1).into()) else {
            panic!("an empty table has a place")
        };
        slot
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (place, (near, mut far)) = (place(), duplex(1024));
        let stall = Duration::from_millis(50);
        let mut stream = PacedStream::new(near, place.connection().clone(), stall, |_| {});
        let error = stream.write_all(&[7; 4096]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // One that reads is not, however much there is.
        let all = async {
            let mut total = 0;
            let mut buffer = [0; 700];
            while total < 100_000 {
                total += far.read(&mut buffer).await.unwrap();
            }
        };
        let stall = Duration::from_secs(60);
        let mut stream = PacedStream::new(stream.inner, place.connection().clone(), stall, |_| {});
        let (written, ()) = tokio::join!(stream.write_all(&[7; 100_000]), all);
        written.unwrap();
    }

    #[tokio::test]
    async fn what_still_comes_is_dropped_until_the_client_has_read_its_answer() {
        let (place, (near, mut far)) = (place(), duplex(1024));
        let _request = place.begin(true);
        let stall = Duration::from_secs(60);
        let mut stream = PacedStream::new(near, place.connection().clone(), stall, |_| {});
        let client = async {
            far.write_all(&[1; 50_000]).await.unwrap();
            let mut answer = Vec::new();
            far.read_to_end(&mut answer).await.unwrap();
            drop(far);
            answer
        };
        let server = async {
            stream.write_all(b"refused").await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let ((), answer) = tokio::join!(server, client);
        assert_eq!(answer, b"refused");
    }

    #[tokio::test]
    async fn who_owes_nothing_is_not_waited_for() {
        let (place, (near, _far)) = (place(), duplex(1024));
        let stall = Duration::from_secs(60);
        let mut stream = PacedStream::new(near, place.connection().clone(), stall, |_| {});
        stream.shutdown().await.unwrap();
        assert!(stream.drain.is_none());
    }

    /// What comes out at the other end of a stream into which a text is written in pieces.
    async fn written(pieces: &[&[u8]], has_request: bool) -> Vec<u8> {
        let (place, (near, mut far)) = (place(), duplex(100));
        let _request = has_request.then(|| place.begin(false));
        let stall = Duration::from_secs(60);
        let mut stream = PacedStream::new(near, place.connection().clone(), stall, |_| {});
        let server = async {
            for piece in pieces {
                stream.write_all(piece).await.unwrap();
            }
            stream.shutdown().await.unwrap();
            drop(stream);
        };
        let mut came = Vec::new();
        let ((), read) = tokio::join!(server, far.read_to_end(&mut came));
        read.unwrap();
        came
    }

    #[tokio::test]
    async fn only_the_answer_to_an_unreadable_first_head_is_replaced() {
        let own = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let document = head_check::unreadable_answer(own).unwrap();
        assert!(document.len() > 100, "longer than the pipe");
        let (start, end) = own.split_at(20);
        for pieces in [&[&own[..]][..], &[start, end]] {
            assert_eq!(written(pieces, false).await, document);
            // The same bytes of an object.
            assert_eq!(written(pieces, true).await, own);
        }
        let other = b"HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(written(&[other], false).await, other);
    }
}
