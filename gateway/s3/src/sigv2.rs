//! AWS Signature Version 2: verification of signed headers and presigned queries.
//!
//! Source: "Signing and authenticating REST requests (AWS signature version 2)", Amazon S3 developer guide. The signature
//! is HMAC-SHA1 with the secret key itself. It covers the method, the path as sent, `x-amz-*` headers, three more
//! headers, and those query parameters that select an operation. It covers neither the host nor the body, so that
//! version 4 is better wherever a client has both.

mod presented;
mod signature;
#[cfg(test)]
mod tests;
mod to_sign;

pub use presented::{ALGORITHM, PresentedV2, is_mark, of_header, of_query};
pub use signature::signature;
