//! A rename that was done under a token of its client.

use bytes::Bytes;
use ingest::codec::{DecodeError, Decoder, Encoder};
use ingest::ids::{BucketId, Offset};

use super::StateKey;
use crate::outcome::{RecordOutcome, WrittenVersion};

/// The number of records after a rename for which its token is known: a repetition of the request has the first outcome.
pub const RENAME_TOKEN_RECORDS: u64 = 1_000_000;

/// A rename that was done under a token. A rename that was rejected leaves nothing, so its token may be used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompletedRename {
    /// The offset of the record that renamed the object.
    pub at: Offset,
    /// The fingerprint of the request.
    pub request: [u8; 16],
    /// The outcome.
    pub written: WrittenVersion,
}

impl CompletedRename {
    /// Encodes the value of a token's key.
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::new();
        out.u64(self.at.get()).raw(&self.request);
        RecordOutcome::Written(self.written).encode(&mut out);
        out.finish()
    }

    /// Decodes the value of a token's key. Fails for bytes that [`CompletedRename::encode`] never writes.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let at = Offset::new(from.u64("offset of a rename")?);
        let request = from.array("fingerprint of a rename")?;
        let error = from.error("outcome of a rename");
        let RecordOutcome::Written(written) = RecordOutcome::decode(&mut from)? else {
            return Err(error);
        };
        from.end("end of rename")?;
        Ok(Self { at, request, written })
    }

    /// Returns true if the token is not known any more to the record at offset `next`, and can be dropped at a cut that ends
    /// before that record: more than [`RENAME_TOKEN_RECORDS`] records have followed the rename.
    pub fn is_forgotten(&self, next: Offset) -> bool {
        next.get().saturating_sub(self.at.get()) > RENAME_TOKEN_RECORDS
    }
}

impl StateKey {
    /// The first byte of the keys of all tokens of renames, and of no other key.
    pub const RENAMES: &[u8] = b"r";

    /// The key of a rename under a client's token. Must not be called with an empty token, which names no rename.
    pub fn rename(bucket: BucketId, token: &str) -> Self {
        Self([Self::RENAMES, &bucket.get().to_be_bytes(), token.as_bytes()].concat().into())
    }
}
