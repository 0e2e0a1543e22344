//! The statement of a request about its body, in `x-amz-content-sha256`.

use crate::error::{ErrorCode, S3Error};

/// The SHA-256 of an empty body, in hexadecimal.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// The name of the header, and of the query parameter, with the statement.
pub(crate) const CONTENT_SHA256: &str = "x-amz-content-sha256";

/// The statement of a request about its body, from `x-amz-content-sha256`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PayloadHash {
    /// The SHA-256 of the body.
    Sha256([u8; 32]),
    /// No statement: the signature does not cover the body.
    Unsigned,
    /// The body has unsigned chunks, and trailers.
    StreamingUnsignedTrailer,
    /// The body has signed chunks.
    StreamingSigned,
    /// The body has signed chunks, and signed trailers.
    StreamingSignedTrailer,
}

impl PayloadHash {
    /// Parses the value of `x-amz-content-sha256`. Fails with `NotImplemented` for ECDSA, and with `InvalidArgument` for
    /// any other text that is neither a known word nor a SHA-256.
    pub(crate) fn parse(text: &str) -> Result<Self, S3Error> {
        Ok(match text {
            "UNSIGNED-PAYLOAD" => PayloadHash::Unsigned,
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => PayloadHash::StreamingUnsignedTrailer,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => PayloadHash::StreamingSigned,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => PayloadHash::StreamingSignedTrailer,
            other if other.starts_with("STREAMING-AWS4-ECDSA") => {
                return Err(
                    ErrorCode::NotImplemented.because("ECDSA signatures are not implemented.")
                );
            }
            other => {
                let mut hash = [0; 32];
                hex::decode_to_slice(other, &mut hash).map_err(|_| {
                    ErrorCode::InvalidArgument.because(
                        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
                    )
                })?;
                PayloadHash::Sha256(hash)
            }
        })
    }

    /// Returns true if the body has the aws-chunked encoding and must be decoded before it is used.
    pub fn is_chunked(self) -> bool {
        !matches!(self, PayloadHash::Sha256(_) | PayloadHash::Unsigned)
    }

    /// Returns true if each chunk of the body must have a signature.
    pub fn is_signed_in_chunks(self) -> bool {
        matches!(self, PayloadHash::StreamingSigned | PayloadHash::StreamingSignedTrailer)
    }
}

/// The value of `x-amz-content-sha256` in a header, else in a query; `None` if neither has it. Fails with
/// `InvalidArgument` for two different values.
pub(crate) fn content_sha256<'a>(
    headers: &'a http::HeaderMap,
    query: &'a [(String, String)],
) -> Result<Option<&'a str>, S3Error> {
    let in_header = crate::headers::text(headers, CONTENT_SHA256)?;
    let mut in_query = query.iter().filter(|(name, _)| name.eq_ignore_ascii_case(CONTENT_SHA256));
    let said = in_header.or_else(|| in_query.next().map(|(_, value)| value.as_str()));
    if in_query.any(|(_, value)| Some(value.as_str()) != said) {
        return Err(ErrorCode::InvalidArgument
            .because("x-amz-content-sha256 is given twice.")
            .with("ArgumentName", CONTENT_SHA256));
    }
    Ok(said)
}
