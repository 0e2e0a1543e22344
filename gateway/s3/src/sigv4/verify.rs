//! Verification of a request against its credentials.

use http::request::Parts;
use subtle::ConstantTimeEq;

use super::canonical::{SignedParts, string_to_sign};
use super::chunk::ChunkSigner;
use super::payload::{CONTENT_SHA256, PayloadHash, content_sha256};
use super::presented::{PresentedCredentials, credential_error, header_error};
use super::scope::{SecretKey, hmac};
use super::verified::VerifiedRequest;
use crate::auth_error::{SKEW, expired, mismatch, too_skewed};
use crate::error::{ErrorCode, S3Error};
use crate::headers::text;
use crate::parsed_names;

impl PresentedCredentials<'_> {
    /// Verifies the signature of a request, without the body. `path` and `query` are decoded, `now` is in seconds since
    /// 1970, `region` is the only one that this server takes; `None` takes any. Checks in this order, and fails with the
    /// first error: the region, the date of the scope, the time or expiry, the set of signed headers, the statement about
    /// the body, the signature (in constant time).
    pub fn verify(
        &self,
        parts: &Parts,
        path: &str,
        query: &[(String, String)],
        secret: SecretKey<'_>,
        now: i64,
        region: Option<&str>,
    ) -> Result<VerifiedRequest, S3Error> {
        self.check_scope(region)?;
        self.check_time(now)?;
        let is_complete = self.has_signed_headers(parts)?;
        let text = self.payload_text(parts, query)?;
        let payload = PayloadHash::parse(text)?;
        let headers = self.signed_headers;
        let canonical = SignedParts { parts, path, query, headers, payload: text }.canonical();
        let time = self.time.stamp();
        let to_sign = string_to_sign(&time, &self.scope, &canonical);
        let kept = secret.derived.get(&self.scope);
        let key = kept.unwrap_or_else(|| self.scope.key(secret.secret));
        let mut wanted = [0; 64];
        hex::encode_to_slice(hmac(&key, to_sign.as_bytes()), &mut wanted)
            .expect("32 bytes are 64 hexadecimal digits");
        if !is_complete || !bool::from(wanted.ct_eq(self.signature.as_bytes())) {
            let to_sign = to_sign.as_bytes();
            return Err(mismatch(self.access_key, self.signature, to_sign, Some(&canonical)));
        }
        if kept.is_none() {
            secret.derived.keep(&self.scope, key);
        }
        let signature = || self.signature.to_owned();
        let signer = || ChunkSigner::new(signature(), &self.scope, key, &time);
        let chunk_signer = payload.is_signed_in_chunks().then(signer);
        Ok(VerifiedRequest { payload, is_presigned: self.expires.is_some(), chunk_signer })
    }

    /// Fails for another region than the one that is taken, and for a scope of another day than the request's time.
    fn check_scope(&self, region: Option<&str>) -> Result<(), S3Error> {
        let malformed = if self.expires.is_some() { credential_error } else { header_error };
        if let Some(region) = region.filter(|region| *region != self.scope.region) {
            let given = self.scope.region;
            let detail = format!("the region '{given}' is wrong; expecting '{region}'");
            return Err(malformed(&detail).with("Region", region));
        }
        let (date, time) = (self.scope.date, self.time.stamp());
        if !time.starts_with(date) {
            let day = time.get(..8).unwrap_or_default();
            return Err(malformed(&format!(
                "Invalid credential date \"{date}\". This date is not the same as X-Amz-Date: \"{day}\"."
            )));
        }
        Ok(())
    }

    /// Fails for a request whose time differs too much, and for a presigned request that has expired or begins later.
    fn check_time(&self, now: i64) -> Result<(), S3Error> {
        let time = self.time.seconds;
        match self.expires {
            None if (now - time).abs() > SKEW => Err(too_skewed(self.time.sent, now)),
            Some(_) if time - now > SKEW => {
                Err(ErrorCode::AccessDenied.because("Request is not yet valid"))
            }
            Some(expires) if now > time + expires => {
                Err(expired(Some(expires), time + expires, now))
            }
            _ => Ok(()),
        }
    }

    /// The value of `x-amz-content-sha256` in the header or, for a presigned request, in the query. Without a value a
    /// presigned request has an unsigned body, and any other request fails. Fails for two different values.
    fn payload_text<'a>(
        &self,
        parts: &'a Parts,
        query: &'a [(String, String)],
    ) -> Result<&'a str, S3Error> {
        if self.expires.is_some() {
            let said = content_sha256(&parts.headers, query)?;
            return Ok(said.unwrap_or("UNSIGNED-PAYLOAD"));
        }
        text(&parts.headers, &parsed_names::CONTENT_SHA256)?.ok_or_else(|| {
            ErrorCode::InvalidRequest
                .because("Missing required header for this request: x-amz-content-sha256")
        })
    }

    /// Returns true if every signed header is present, and fails with `AccessDenied` unless `host` and all headers that
    /// begin with `x-amz-` are signed. A presigned request need not sign `x-amz-content-sha256`.
    fn has_signed_headers(&self, parts: &Parts) -> Result<bool, S3Error> {
        let signed = || self.signed_headers.split(';');
        // More names than headers cannot all be present. Checked first, because below every header is compared with
        // every name.
        if signed().count() > parts.headers.keys_len() + 1 {
            return Ok(false);
        }
        let must = |name: &&str| match *name {
            CONTENT_SHA256 => self.expires.is_none(),
            name => name.starts_with("x-amz-"),
        };
        let is_unsigned = |name: &&str| !signed().any(|signed| signed == *name);
        let names = parts.headers.keys().map(|name| name.as_str()).filter(must);
        let mut unsigned = names.chain(["host"]).filter(is_unsigned);
        if let Some(first) = unsigned.next() {
            let all: Vec<&str> = std::iter::once(first).chain(unsigned).collect();
            return Err(ErrorCode::AccessDenied
                .because("There were headers present in the request which were not signed")
                .with("HeadersNotSigned", all.join(", ")));
        }
        let has_authority = parts.uri.authority().is_some();
        Ok(signed().all(|name| parts.headers.contains_key(name) || name == "host" && has_authority))
    }
}
