//! The body of a request as a source of payload: awaited as long as the client keeps up, and decoded from chunks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame};
use s3::chunked::ChunkedDecoder;
use s3::error::{ErrorCode, S3Error};

use super::source::PayloadSource;
use crate::api::request::{RequestBody, S3Request};
use crate::server::connections::ConnectionHandle;
use crate::server::pace::ClientPace;

/// The pieces of a request's body, in order, decoded where the body is in aws-chunked encoding.
pub struct ReceivedPieces {
    body: RequestBody,
    connection: Option<Arc<ConnectionHandle>>,
    /// The client's progress against the stall limit.
    pace: ClientPace,
    /// The time that the client may still be waited for in all.
    left: Duration,
    decoder: Option<ChunkedDecoder>,
    ready: VecDeque<Bytes>,
    trailers: Vec<(String, String)>,
    ended: bool,
}

impl ReceivedPieces {
    /// The body of a request that declares `len` bytes. The client is waited for no longer than `stall` while fewer than
    /// 64 KiB come, and no longer than `left` in all.
    pub fn new(
        request: &S3Request,
        body: RequestBody,
        len: u64,
        stall: Duration,
        left: Duration,
    ) -> Self {
        let is_chunked = request.verified.payload.is_chunked();
        let decoder = is_chunked.then(|| ChunkedDecoder::new(request.verified.clone(), len));
        Self { decoder, ..Self::undecoded(&request.parts, body, stall, left) }
    }

    /// A body that needs no decoding, of a request that need not be verified yet. The client is waited for as with
    /// [`Self::new`].
    pub fn undecoded(parts: &Parts, body: RequestBody, stall: Duration, left: Duration) -> Self {
        Self {
            body,
            connection: parts.extensions.get::<Arc<ConnectionHandle>>().cloned(),
            pace: ClientPace::new(stall),
            left,
            decoder: None,
            ready: VecDeque::new(),
            trailers: Vec::new(),
            ended: false,
        }
    }

    /// The next frame; `None` at the end of the body.
    async fn frame(&mut self) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, S3Error> {
        // A frame that has come already costs no look at the clock.
        let frame = match self.body.frame().now_or_never() {
            Some(frame) => frame,
            None => self.wait_for_frame().await?,
        };
        if frame.is_none() || self.body.is_end_stream() {
            self.connection.iter().for_each(|connection| connection.body_ended());
        }
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        self.pace.moved(data.map_or(0, Bytes::len));
        Ok(frame)
    }

    /// Waits for the next frame. Fails with `RequestTimeout` when the client has been waited for too long.
    async fn wait_for_frame(
        &mut self,
    ) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, S3Error> {
        let began = Instant::now();
        let left = self.pace.left().min(self.left);
        self.connection.iter().for_each(|connection| connection.waits());
        let frame = tokio::time::timeout(left, self.body.frame()).await;
        let waited = began.elapsed();
        self.pace.waited(waited);
        self.left = self.left.saturating_sub(waited);
        let frame = frame.map_err(|_| S3Error::from(ErrorCode::RequestTimeout))?;
        self.connection.iter().for_each(|connection| connection.came());
        Ok(frame)
    }

    /// Sets the time that the client may be waited for in all, from now on. The stall limit holds as before.
    pub fn wait_in_all(&mut self, left: Duration) {
        self.left = left;
    }

    /// The trailers of an aws-chunked body; none before the end.
    pub fn trailers(&self) -> &[(String, String)] {
        &self.trailers
    }
}

impl PayloadSource for ReceivedPieces {
    async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Ok(Some(bytes));
            }
            if self.ended {
                return Ok(None);
            }
            match self.frame().await? {
                None => {
                    self.ended = true;
                    if let Some(decoder) = self.decoder.take() {
                        self.trailers = decoder.finish()?;
                    }
                }
                Some(Err(_)) => return Err(ErrorCode::IncompleteBody.into()),
                Some(Ok(frame)) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    match &mut self.decoder {
                        Some(decoder) => {
                            let mut out = Vec::new();
                            decoder.feed(bytes, &mut out)?;
                            self.ready.extend(out);
                        }
                        None => self.ready.push_back(bytes),
                    }
                }
            }
        }
    }
}
