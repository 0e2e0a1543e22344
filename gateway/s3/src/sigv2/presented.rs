//! The credentials of a request, and their verification.

use http::HeaderMap;
use http::request::Parts;
use subtle::ConstantTimeEq;

use super::signature::signature_of;
use super::to_sign::{check_values, resource, string_to_sign, with_slash};
use crate::auth_error::{
    SKEW, expired, header_time, mismatch, parameters, too_skewed, without_time,
};
use crate::error::{ErrorCode, S3Error};
use crate::headers::text;
use crate::names;
use crate::sigv4::{PayloadHash, VerifiedRequest, content_sha256};

/// The first word of a header `Authorization` of this version.
pub const ALGORITHM: &str = "AWS";

/// The credentials of a request with a signature of version 2, unproven before [`PresentedV2::verify`] has succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PresentedV2<'a> {
    /// The access key in the request.
    pub access_key: &'a str,
    signature: &'a str,
    /// The text and the seconds since 1970 of the end of a presigned request; `None` for a signature in a header.
    expires: Option<(&'a str, i64)>,
}

/// Returns true if a query parameter with this name makes its request a presigned one, also if other parameters are
/// missing, which is an error then.
pub fn is_mark(name: &str) -> bool {
    matches!(name, "AWSAccessKeyId" | "Signature")
}

/// Reads the credentials in a header `Authorization`, of which `said` is the text after the first word. The error is a
/// message about the header.
pub fn of_header(said: &str) -> Result<PresentedV2<'_>, &'static str> {
    if said.contains(' ') {
        return Err("Authorization header is invalid -- one and only one ' ' (space) required");
    }
    match said.rsplit_once(':') {
        Some((access_key, signature)) if !access_key.is_empty() && !signature.is_empty() => {
            Ok(PresentedV2 { access_key, signature, expires: None })
        }
        _ => Err("AWS authorization header is invalid.  Expected AwsAccessKeyId:signature"),
    }
}

/// Reads the credentials in a presigned query. Fails with `AccessDenied` when a parameter is missing or cannot be read,
/// and with `InvalidArgument` for a doubled one.
pub fn of_query(query: &[(String, String)]) -> Result<PresentedV2<'_>, S3Error> {
    let twice = |name: &'static str| {
        ErrorCode::InvalidArgument
            .because(format!("{name} is given twice."))
            .with("ArgumentName", name)
    };
    let names = ["AWSAccessKeyId", "Expires", "Signature"];
    let [Some(access_key), Some(end), Some(signature)] = parameters(query, names, twice)? else {
        return Err(ErrorCode::AccessDenied.because(
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
        ));
    };
    let seconds = names::number::<i64>(end).ok_or_else(|| {
        let message = format!("Invalid date (should be seconds since epoch): {end}");
        ErrorCode::AccessDenied.because(message)
    })?;
    Ok(PresentedV2 { access_key, signature, expires: Some((end, seconds)) })
}

impl PresentedV2<'_> {
    /// Returns true for a signature in the query, which is valid for more than one request: until its end it must be
    /// kept secret.
    pub fn is_presigned(&self) -> bool {
        self.expires.is_some()
    }

    /// Verifies the signature of a request, without the body. `query` is decoded, `bucket` is the one that the host
    /// names, `now` is in seconds since 1970. Checks in this order, and fails with the first error: the time or expiry,
    /// the statement about the body, the signature (in constant time).
    pub fn verify(
        &self,
        parts: &Parts,
        bucket: Option<&str>,
        query: &[(String, String)],
        secret: &str,
        now: i64,
    ) -> Result<VerifiedRequest, S3Error> {
        let date = match self.expires {
            Some((_, end)) if now > end => return Err(expired(None, end, now)),
            Some((text, _)) => text,
            None => signed_date(&parts.headers, now)?,
        };
        let payload = payload(&parts.headers, query)?;
        check_values(query)?;
        let resource = resource(parts, bucket);
        let to_sign = string_to_sign(parts, &resource, query, date);
        let is_right = |to_sign: &[u8]| {
            let wanted = signature_of(secret, to_sign);
            bool::from(wanted.as_bytes().ct_eq(self.signature.as_bytes()))
        };
        let other = || with_slash(&resource).map(|path| string_to_sign(parts, &path, query, date));
        if !is_right(&to_sign) && !other().is_some_and(|to_sign| is_right(&to_sign)) {
            return Err(mismatch(self.access_key, self.signature, &to_sign, None));
        }
        Ok(VerifiedRequest { payload, is_presigned: self.is_presigned(), chunk_signer: None })
    }
}

/// The date in the string to sign: the header `date`, or nothing beside `x-amz-date`, which is among the other headers.
/// Fails for a time that differs too much, and without a time since 1970.
fn signed_date(headers: &HeaderMap, now: i64) -> Result<&str, S3Error> {
    let amz = text(headers, "x-amz-date")?;
    let sent = match amz {
        Some(sent) => sent,
        None => text(headers, "date")?.ok_or_else(without_time)?,
    };
    let time = header_time(sent).filter(|time| *time >= 0).ok_or_else(without_time)?;
    if (now - time).abs() > SKEW {
        return Err(too_skewed(sent, now));
    }
    Ok(if amz.is_some() { "" } else { sent })
}

/// The statement about the body, which no request of this version needs. Fails with `InvalidRequest` for signed chunks,
/// and for chunks without the statement that the body has them, because they would be stored as they are.
fn payload(headers: &HeaderMap, query: &[(String, String)]) -> Result<PayloadHash, S3Error> {
    let said = content_sha256(headers, query)?;
    let payload = said.map_or(Ok(PayloadHash::Unsigned), PayloadHash::parse)?;
    let encodings = headers.get_all("content-encoding").iter();
    let is_chunked = headers.contains_key("x-amz-decoded-content-length")
        || encodings
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|encoding| encoding.trim().eq_ignore_ascii_case("aws-chunked"));
    if payload.is_signed_in_chunks() || is_chunked && !payload.is_chunked() {
        return Err(ErrorCode::InvalidRequest
            .because("The signature of an aws-chunked body must be of version 4."));
    }
    Ok(payload)
}
