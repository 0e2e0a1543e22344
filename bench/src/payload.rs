//! The bodies of requests: nothing, one buffer, or a long stream that repeats one buffer.
//!
//! For a stream the client only passes slices of memory that stays in the processor's cache, so the store and
//! not the client is measured.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::object::ObjectSet;

/// The most bytes in one frame of a stream.
const FRAME_BYTES_MAX: u64 = 256 << 10;
/// The length of the repeated buffer. Not a power of two: so the parts of an upload differ, and parts in the
/// wrong order are found.
const PATTERN_BYTES: usize = (1 << 20) + 4096;

/// An endless stream that repeats one buffer.
#[derive(Clone)]
pub struct Pattern(Bytes);

impl Pattern {
    /// The stream of all uploads: always the same bytes, in the same order.
    pub fn new() -> Self {
        Self(ObjectSet::new("", "", PATTERN_BYTES).body(0))
    }

    /// Returns bytes of the stream from `position` on, without a copy.
    ///
    /// Returns at least one and at most `max` bytes; no bytes only if `max` is 0. A piece never exceeds 256
    /// KiB.
    pub fn piece(&self, position: u64, max: u64) -> Bytes {
        let len = self.0.len() as u64;
        let start = position % len;
        let end = len.min(start + max.min(FRAME_BYTES_MAX));
        self.0.slice(start as usize..end as usize)
    }
}

/// The body of a request.
pub enum Payload {
    /// One buffer.
    Whole(Bytes),
    /// A range of a pattern.
    Stream {
        /// The source of the bytes.
        pattern: Pattern,
        /// The position of the next byte in the pattern.
        position: u64,
        /// The number of bytes that are left.
        left: u64,
    },
}

impl Payload {
    /// An empty body, for requests without content. The stream ends before the first frame.
    pub fn empty() -> Self {
        Payload::Whole(Bytes::new())
    }

    /// Returns the number of bytes still to be sent: the full length before the first frame, 0 after the last
    /// one.
    pub fn left(&self) -> u64 {
        match self {
            Payload::Whole(bytes) => bytes.len() as u64,
            Payload::Stream { left, .. } => *left,
        }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            Payload::Whole(bytes) => std::mem::take(bytes),
            Payload::Stream { pattern, position, left } => {
                let piece = pattern.piece(*position, *left);
                *position += piece.len() as u64;
                *left -= piece.len() as u64;
                piece
            }
        };
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_stream_has_its_bytes_and_its_length() {
        let pattern = Pattern::new();
        let (position, left) = (1_000_000, 3_000_001);
        let payload = Payload::Stream { pattern: pattern.clone(), position, left };
        assert_eq!(payload.size_hint().exact(), Some(left));
        let sent = payload.collect().await.unwrap().to_bytes();
        assert_eq!(sent.len() as u64, left);
        let wanted = |n: u64| pattern.0[((position + n) % PATTERN_BYTES as u64) as usize];
        assert!(sent.iter().enumerate().all(|(n, byte)| *byte == wanted(n as u64)));
    }
}
