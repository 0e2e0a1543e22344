//! A body whose length only its end tells.

use bytes::{Bytes, BytesMut};
use s3::error::S3Error;
use s3::operation::body::UPLOAD_BYTES_MAX;

use super::expectation::too_large;
use super::receive::ReceivedPieces;
use super::source::PayloadSource;

/// The pieces of a body of unknown length. The beginning may be read before it is asked for.
pub struct UnannouncedPieces {
    pieces: ReceivedPieces,
    /// The beginning, in one stretch: a client may send a byte at a time, each in a buffer of its own.
    ahead: BytesMut,
    came: u64,
}

impl UnannouncedPieces {
    /// The pieces of a body that is not decoded.
    pub fn new(pieces: ReceivedPieces) -> Self {
        Self { pieces, ahead: BytesMut::new(), came: 0 }
    }

    /// Reads the body ahead. Returns its length once all of it has come; `None` as soon as more than `bytes` bytes have.
    pub async fn look_ahead(&mut self, bytes: u64) -> Result<Option<u64>, S3Error> {
        while self.came <= bytes {
            match self.receive().await? {
                Some(piece) => self.ahead.extend_from_slice(&piece),
                None => return Ok(Some(self.came)),
            }
        }
        Ok(None)
    }

    /// The next bytes from the client. Fails with `EntityTooLarge` as soon as there are more than one request may have.
    async fn receive(&mut self) -> Result<Option<Bytes>, S3Error> {
        let piece = self.pieces.next().await?;
        self.came += piece.as_ref().map_or(0, Bytes::len) as u64;
        if self.came > UPLOAD_BYTES_MAX {
            return Err(too_large(self.came));
        }
        Ok(piece)
    }
}

impl PayloadSource for UnannouncedPieces {
    async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        if self.ahead.is_empty() {
            return self.receive().await;
        }
        Ok(Some(self.ahead.split().freeze()))
    }
}
