//! The bodies of requests: nothing, one buffer, or a long stream made of one buffer over and over.
//!
//! A stream costs the client no more than handing out slices of memory that stays in the cache: what is
//! measured is the store.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::object::ObjectSet;

/// What one frame of a stream holds at most.
const FRAME_BYTES_MAX: u64 = 256 << 10;
/// Not a power of two: then the parts of an upload differ, and parts in the wrong order are noticed.
const PATTERN_BYTES: usize = (1 << 20) + 4096;

/// An endless stream that repeats one buffer.
#[derive(Clone)]
pub struct Pattern(Bytes);

impl Pattern {
    /// The stream that all uploads are taken from.
    pub fn new() -> Self {
        Self(ObjectSet::new("", "", PATTERN_BYTES).body(0))
    }

    /// Some of the stream's bytes from `position` on: at least one, at most `max`, if that is not zero.
    pub fn piece(&self, position: u64, max: u64) -> Bytes {
        let len = self.0.len() as u64;
        let start = position % len;
        let end = len.min(start + max.min(FRAME_BYTES_MAX));
        self.0.slice(start as usize..end as usize)
    }
}

/// The body of a request.
pub enum Payload {
    /// All of it.
    Whole(Bytes),
    /// A range of a pattern.
    Stream {
        /// Where the bytes come from.
        pattern: Pattern,
        /// Where in the pattern the next byte is.
        position: u64,
        /// How many bytes are left.
        left: u64,
    },
}

impl Payload {
    /// Nothing.
    pub fn empty() -> Self {
        Payload::Whole(Bytes::new())
    }

    /// How many bytes are still to be sent.
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
