//! The headers of a PUT for the fields of a form.

use http::{HeaderMap, HeaderName, HeaderValue};
use s3::error::{ErrorCode, S3Error};
use s3::form::FormFields;
use s3::headers;
use s3::names;

use crate::api::tag_set::{self, Tagged};

/// Headers about the requester, which a form may have as any request has.
const OWN: [&str; 3] = ["x-amz-date", "x-amz-user-agent", "x-amz-expected-bucket-owner"];
/// Fields of the signature.
const SIGNATURE: [&str; 4] =
    ["x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"];

/// Checks the headers of a request with a form. Fails with `InvalidRequest` for a header that would say something about the
/// object: no policy covers it, and a field of the form is its place. Fails with `NotImplemented` for a digest of the whole
/// form, which nobody would compare.
pub fn check_head(head: &HeaderMap) -> Result<(), S3Error> {
    headers::check_token(head)?;
    for name in head.keys().map(HeaderName::as_str) {
        if name == "content-md5" {
            return Err(ErrorCode::NotImplemented
                .because("The header content-md5 is not implemented for forms; use the field.")
                .with("Header", name));
        }
        if name.starts_with("x-amz-") && !OWN.contains(&name) {
            return Err(conflict(name));
        }
    }
    Ok(())
}

fn conflict(header: &str) -> S3Error {
    ErrorCode::InvalidRequest
        .because("Conflicting values provided in HTTP headers and POST form fields.")
        .with("Header", header)
}

/// The headers of a PUT that does what the fields say, with those headers of the request that say nothing about the body or
/// the object: a browser's own `cache-control` is not the object's. Fields without a meaning are left out, as AWS ignores
/// them.
///
/// Fails with `InvalidArgument` for a field that cannot be a header, with `InvalidRequest` for two that are one header, with
/// `MalformedXml` and `InvalidTag` for tags, with `InvalidToken` for a session token.
pub fn headers(fields: &FormFields, head: &HeaderMap) -> Result<HeaderMap, S3Error> {
    let is_of_object = |name: &str| name.starts_with("content-") || headers::STORED.contains(&name);
    let mut all: HeaderMap = HeaderMap::new();
    for (name, value) in head.iter().filter(|(name, _)| !is_of_object(name.as_str())) {
        all.append(name, value.clone());
    }
    for (name, value) in fields.all() {
        let lower = name.to_ascii_lowercase();
        let (header, value) = match lower.as_str() {
            "acl" => ("x-amz-acl", value),
            "tagging" => ("x-amz-tagging", tagging(&value)?),
            "x-amz-checksum-algorithm" => ("x-amz-sdk-checksum-algorithm", value),
            "x-amz-content-sha256" => {
                return Err(ErrorCode::NotImplemented
                    .because("The field x-amz-content-sha256 is not implemented.")
                    .with("Header", lower));
            }
            name if SIGNATURE.contains(&name) => continue,
            name if name.starts_with("x-amz-") => (name, value),
            name if headers::STORED.contains(&name) || name == "content-md5" => (name, value),
            _ => continue,
        };
        let cannot = || {
            ErrorCode::InvalidArgument
                .because(format!("The field {name} cannot be a header."))
                .with("ArgumentName", name)
        };
        let header = HeaderName::try_from(header).map_err(|_| cannot())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| cannot())?;
        if all.insert(&header, value).is_some() {
            return Err(conflict(header.as_str()));
        }
    }
    headers::check_text(&all)?;
    headers::check_token(&all)?;
    Ok(all)
}

/// The text of `x-amz-tagging` for a document with tags.
fn tagging(document: &str) -> Result<String, S3Error> {
    let tags = tag_set::read(document.as_bytes(), Tagged::Object)?;
    let pair = |(key, value): &(String, String)| {
        format!("{}={}", names::encode(key), names::encode(value))
    };
    Ok(tags.iter().map(pair).collect::<Vec<_>>().join("&"))
}
