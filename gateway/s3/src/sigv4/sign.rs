//! Signing of requests, for clients in this project.

use http::request::Parts;

use super::canonical::{ALGORITHM, SignedParts, string_to_sign};
use super::payload::CONTENT_SHA256;
use super::scope::{CredentialScope, hmac};
use crate::headers::text;

/// Signs a request and returns the value of its header `Authorization`. `path` and `query` must be decoded. All headers
/// are signed, so they must be complete before; `host` must be among them. `None` if `x-amz-date` or
/// `x-amz-content-sha256` is missing or cannot be read.
pub fn sign(
    parts: &Parts,
    path: &str,
    query: &[(String, String)],
    access_key: &str,
    secret: &str,
    region: &str,
) -> Option<String> {
    let time = text(&parts.headers, "x-amz-date").ok()??;
    let payload = text(&parts.headers, CONTENT_SHA256).ok()??;
    let scope = CredentialScope { date: time.get(..8)?, region };
    let mut signed: Vec<&str> = parts.headers.keys().map(|name| name.as_str()).collect();
    signed.sort_unstable();
    let headers = &signed.join(";");
    let canonical = SignedParts { parts, path, query, headers, payload }.canonical();
    let to_sign = string_to_sign(time, &scope, &canonical);
    let signature = hex::encode(hmac(&scope.key(secret), to_sign.as_bytes()));
    Some(format!(
        "{ALGORITHM} Credential={access_key}/{},SignedHeaders={headers},Signature={signature}",
        scope.text(),
    ))
}
