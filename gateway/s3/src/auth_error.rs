//! The errors about signatures and their times that have elements of their own, for both versions of signatures.

use std::fmt::Write as _;

use crate::error::{ErrorCode, S3Error};
use crate::time::{iso, parse_any, parse_http, parse_mail};

/// The largest difference between the time of a request and that of this server, in seconds.
pub(crate) const SKEW: i64 = 15 * 60;

/// The error for a time of a request that differs from `now` by more than [`SKEW`]. `time` is as the client sent it.
pub(crate) fn too_skewed(time: &str, now: i64) -> S3Error {
    S3Error::from(ErrorCode::RequestTimeTooSkewed)
        .with("RequestTime", time)
        .with("ServerTime", iso(now))
        .with("MaxAllowedSkewMilliseconds", (SKEW * 1000).to_string())
}

/// The error for a presigned request after its end. `validity` is the text of `X-Amz-Expires`, which version 2 has not.
pub(crate) fn expired(validity: Option<i64>, end: i64, now: i64) -> S3Error {
    let mut error = ErrorCode::AccessDenied.because("Request has expired");
    if let Some(seconds) = validity {
        error = error.with("X-Amz-Expires", seconds.to_string());
    }
    error.with("Expires", iso(end)).with("ServerTime", iso(now))
}

/// The error for a request without a time that can be read.
pub(crate) fn without_time() -> S3Error {
    ErrorCode::AccessDenied.because("AWS authentication requires a valid Date or x-amz-date header")
}

/// The error for a signature of a version that this server does not take.
pub fn unsupported() -> S3Error {
    ErrorCode::InvalidRequest.because("The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
}

/// The error for a signature that is not the one of the request, with everything that this server signed. Version 2 has
/// no canonical request.
pub(crate) fn mismatch(
    access_key: &str,
    provided: &str,
    to_sign: &[u8],
    canonical: Option<&[u8]>,
) -> S3Error {
    let error = S3Error::from(ErrorCode::SignatureDoesNotMatch)
        .with("AWSAccessKeyId", access_key)
        .with("StringToSign", String::from_utf8_lossy(to_sign))
        .with("SignatureProvided", provided)
        .with("StringToSignBytes", bytes_text(to_sign));
    match canonical {
        None => error,
        Some(canonical) => error
            .with("CanonicalRequest", String::from_utf8_lossy(canonical))
            .with("CanonicalRequestBytes", bytes_text(canonical)),
    }
}

/// Two hexadecimal digits for each byte, separated by spaces.
fn bytes_text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        let _ = write!(out, "{byte:02x} ");
    }
    out.pop();
    out
}

/// The parameters of a signature in a query, each by its place in `names`. Fails with the error that `twice` makes, for
/// a name that is given twice: the signature would cover both values, and only one of them would be used.
pub(crate) fn parameters<'a, const N: usize>(
    query: &'a [(String, String)],
    names: [&'static str; N],
    twice: impl Fn(&'static str) -> S3Error,
) -> Result<[Option<&'a str>; N], S3Error> {
    let mut found = [None; N];
    for (name, value) in query {
        let Some(at) = names.iter().position(|known| *known == name.as_str()) else { continue };
        if found[at].replace(value.as_str()).is_some() {
            return Err(twice(names[at]));
        }
    }
    Ok(found)
}

/// Parses a time in a header: any form of an HTTP date with a zone, or the forms of ISO 8601. `UTC` is a zone, too, which
/// only Go's clients write.
pub(crate) fn header_time(text: &str) -> Option<i64> {
    let in_gmt = || text.strip_suffix("UTC").and_then(|date| parse_http(&format!("{date}GMT")));
    parse_any(text).or_else(|| parse_mail(text)).or_else(in_gmt)
}
