//! The facts about a request whose signature was verified, whatever its version.

use super::chunk::ChunkSigner;
use super::payload::PayloadHash;

/// The facts about a request whose signature was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedRequest {
    /// The statement of the request about its body, which is not compared with the body yet.
    pub payload: PayloadHash,
    /// True for a signature in the query: whoever has the URL can send the request.
    pub is_presigned: bool,
    /// The signer of chunks and trailers; `None` for a body without signed chunks.
    pub chunk_signer: Option<ChunkSigner>,
}
