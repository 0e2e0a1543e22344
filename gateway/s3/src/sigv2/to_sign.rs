//! The string to sign: bytes, because a header may contain bytes that are no UTF-8.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::request::Parts;

use crate::error::{ErrorCode, S3Error};
use crate::headers::is_header_in_query;
use crate::operation;

/// The query parameters that the signature covers, beside those that select an operation. Every other parameter can be
/// changed by the holder of a presigned URL, as on AWS.
const SIGNED: [&str; 11] = [
    "defaultObjectAcl",
    "partNumber",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "select-type",
    "storageClass",
    "versionId",
];

fn is_signed(name: &str) -> bool {
    SIGNED.contains(&name) || operation::is_selector(name)
}

/// Returns true for a value with `&` and the name of a signed parameter behind: it reads as two parameters.
fn is_several(value: &str) -> bool {
    let after = value.split('&').skip(1);
    after.map(|pair| pair.split('=').next().unwrap_or_default()).any(is_signed)
}

/// Returns true for a header in the query that reads as several lines, or whose name ends elsewhere than it does.
fn is_several_lines(name: &str, value: &str) -> bool {
    name.contains([':', '\n', '\r']) || value.contains(['\n', '\r'])
}

/// Fails with `InvalidArgument` for a parameter whose line in the string to sign has a second meaning. The string has names
/// and values as they are decoded, so one signature would cover two requests:
///
/// - a signed parameter whose value contains `&` and the name of another one is also a request with the two parameters, and
///   the holder of a URL could take its `versionId` away;
/// - a header in the query whose value contains a line end is also a request with two headers, and the holder could leave a
///   header out that was signed, for example one that limits what may be stored.
pub(super) fn check_values(query: &[(String, String)]) -> Result<(), S3Error> {
    let is_ambiguous = |(name, value): &&(String, String)| {
        is_signed(name) && is_several(value)
            || is_header_in_query(name) && is_several_lines(name, value)
    };
    match query.iter().find(is_ambiguous) {
        None => Ok(()),
        Some((name, _)) => Err(ErrorCode::InvalidArgument
            .because("Version 2 of signatures cannot cover this value: use version 4.")
            .with("ArgumentName", name.clone())),
    }
}

/// The path of the resource, as sent and percent-encoded: the bucket that the host names comes first.
pub(super) fn resource(parts: &Parts, bucket: Option<&str>) -> String {
    let path = parts.uri.path();
    bucket.map_or_else(|| path.to_owned(), |bucket| format!("/{bucket}{path}"))
}

/// The other path of a resource that clients sign: botocore asks for `/bucket` and signs `/bucket/`. `None` for all but
/// a bucket without a slash behind.
pub(super) fn with_slash(resource: &str) -> Option<String> {
    let bucket = resource.strip_prefix('/')?;
    let is_bucket = !bucket.is_empty() && !bucket.contains('/');
    is_bucket.then(|| format!("{resource}/"))
}

/// The string to sign of a request. `resource` is the path that names bucket and key, `date` the header `date` or the end
/// of a presigned request.
pub(super) fn string_to_sign(
    parts: &Parts,
    resource: &str,
    query: &[(String, String)],
    date: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b'\n');
    for name in ["content-md5", "content-type"] {
        let value = parts.headers.get(name).map_or(&b""[..], |value| value.as_bytes());
        out.extend_from_slice(value.trim_ascii());
        out.push(b'\n');
    }
    out.extend_from_slice(date.trim_ascii().as_bytes());
    out.push(b'\n');
    for (name, value) in amz_headers(&parts.headers, query) {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend_from_slice(&value);
        out.push(b'\n');
    }
    out.extend_from_slice(resource.as_bytes());
    push_parameters(&mut out, query);
    out
}

/// The headers that begin with `x-amz-`, with those that the query contains, in the order of their names. A header that
/// is at both places counts once; the two must be equal, which is checked where the query becomes headers.
fn amz_headers(headers: &HeaderMap, query: &[(String, String)]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for name in headers.keys().map(|name| name.as_str()).filter(|name| is_header_in_query(name)) {
        let values = headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii());
        found.insert(name.to_owned(), values.collect::<Vec<_>>().join(&b","[..]));
    }
    let in_query = query.iter().filter(|(name, _)| is_header_in_query(name));
    for (name, value) in in_query {
        let name = name.to_ascii_lowercase();
        if headers.contains_key(&name) {
            continue;
        }
        let values = found.entry(name).or_default();
        if !values.is_empty() {
            values.push(b',');
        }
        values.extend_from_slice(value.trim_ascii().as_bytes());
    }
    found
}

/// Appends the signed parameters in the order of their names, with values as they are decoded.
fn push_parameters(out: &mut Vec<u8>, query: &[(String, String)]) {
    let mut signed: Vec<_> = query.iter().filter(|(name, _)| is_signed(name)).collect();
    signed.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (index, (name, value)) in signed.into_iter().enumerate() {
        out.push(if index == 0 { b'?' } else { b'&' });
        out.extend_from_slice(name.as_bytes());
        if !value.is_empty() {
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
        }
    }
}
