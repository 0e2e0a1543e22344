//! AWS Signature Version 4: verification of signed headers and presigned queries, and a signer.
//!
//! Source: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API reference. S3's own rules:
//! the path is encoded once and not normalised (`//` and `..` stay), and the payload hash is a header.

mod canonical;
mod chunk;
mod payload;
mod presented;
mod scope;
mod sign;
#[cfg(test)]
mod tests;
mod verified;
mod verify;

pub use canonical::ALGORITHM;
pub use chunk::ChunkSigner;
pub(crate) use payload::content_sha256;
pub use payload::{EMPTY_SHA256, PayloadHash};
pub use presented::{PresentedCredentials, is_mark, of_header, of_query, split_credential};
pub use scope::{CredentialScope, DerivedKey, SecretKey, hmac};
pub use sign::sign;
pub use verified::VerifiedRequest;
