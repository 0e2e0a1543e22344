//! The signatures of chunks and trailers of a body.

use sha2::{Digest, Sha256};

use super::payload::EMPTY_SHA256;
use super::scope::{CredentialScope, hmac};

/// The signer of the chunks and trailers of one request.
#[derive(Clone, PartialEq, Eq)]
pub struct ChunkSigner {
    /// The signature of the request, which the signature of the first chunk covers.
    pub signature: String,
    scope: String,
    key: [u8; 32],
    time: String,
}

impl std::fmt::Debug for ChunkSigner {
    /// Shows neither the signing key nor the signature.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = out.debug_struct("ChunkSigner");
        shown.field("scope", &self.scope).field("time", &self.time).finish_non_exhaustive()
    }
}

impl ChunkSigner {
    /// A signer for a request with a signature. `key` must be the signing key of the scope, `time` the time in the
    /// string to sign, such as `20130524T000000Z`.
    pub fn new(signature: String, scope: &CredentialScope<'_>, key: [u8; 32], time: &str) -> Self {
        Self { signature, scope: scope.text(), key, time: time.to_owned() }
    }

    /// Computes the signature of a chunk from the SHA-256 of its bytes. `previous` is the signature of the chunk before,
    /// or of the request for the first chunk, so chunks cannot change their order.
    pub fn chunk(&self, previous: &str, chunk_sha256: &[u8]) -> String {
        let hash = hex::encode(chunk_sha256);
        self.sign("AWS4-HMAC-SHA256-PAYLOAD", previous, &format!("{EMPTY_SHA256}\n{hash}"))
    }

    /// Computes the signature of the trailers: a line `name:value` with LF for each, in the order of the body.
    /// `previous` is the signature of the last chunk, which is empty.
    pub fn trailer(&self, previous: &str, trailers: &str) -> String {
        let hash = hex::encode(Sha256::digest(trailers));
        self.sign("AWS4-HMAC-SHA256-TRAILER", previous, &hash)
    }

    fn sign(&self, algorithm: &str, previous: &str, hash: &str) -> String {
        let Self { scope, time, .. } = self;
        let to_sign = format!("{algorithm}\n{time}\n{scope}\n{previous}\n{hash}");
        hex::encode(hmac(&self.key, to_sign.as_bytes()))
    }
}
