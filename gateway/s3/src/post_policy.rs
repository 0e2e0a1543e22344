//! The policy of a form: a signed JSON document that says until when the form may be sent, and what its fields may say.
//!
//! ```text
//!   {"expiration": "2026-12-01T12:00:00Z",
//!    "conditions": [{"bucket": "photos"}, ["starts-with", "$key", "eric/"], ["content-length-range", 1, 1048576]]}
//! ```
//!
//! Source: "POST policy", Amazon S3 API reference. Every field but those of the signature needs a condition. Messages are
//! AWS's where they are known. The size of the document is bounded by that of all fields, its depth by the JSON reader.

mod condition;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{ErrorCode, S3Error};
use crate::form::FormFields;
use crate::headers;
use condition::{PolicyCondition, invalid};

/// A policy that has been read. Nothing in it is true before the signature of its text is verified.
#[derive(Clone, PartialEq, Debug)]
pub struct PostPolicy {
    expiration: OffsetDateTime,
    conditions: Vec<PolicyCondition>,
}

/// The bounds of a file's size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SizeRange {
    /// The least number of bytes.
    pub min: u64,
    /// The greatest number of bytes.
    pub max: u64,
}

impl SizeRange {
    /// Fails with `EntityTooLarge` for a size beyond the range. `proposed` is the size that the client has in mind, as far
    /// as that is known.
    pub fn check_max(&self, size: u64, proposed: u64) -> Result<(), S3Error> {
        if size <= self.max {
            return Ok(());
        }
        Err(S3Error::from(ErrorCode::EntityTooLarge)
            .with("ProposedSize", proposed.max(size).to_string())
            .with("MaxSizeAllowed", self.max.to_string()))
    }

    /// Fails with `EntityTooSmall` for a size below the range.
    pub fn check_min(&self, size: u64) -> Result<(), S3Error> {
        if size >= self.min {
            return Ok(());
        }
        Err(S3Error::from(ErrorCode::EntityTooSmall)
            .with("ProposedSize", size.to_string())
            .with("MinSizeAllowed", self.min.to_string()))
    }
}

fn denied(message: String) -> S3Error {
    ErrorCode::AccessDenied.because(format!("Invalid according to Policy: {message}"))
}

/// The fields that need no condition: those that the signature itself proves, and checksums, with which a client can only
/// bind itself. Ceph's tests send a checksum without a condition.
fn needs_no_condition(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_of_signature = matches!(
        name.as_str(),
        "policy" | "x-amz-signature" | "signature" | "awsaccesskeyid" | "file"
    );
    is_of_signature || headers::is_checksum(&name)
}

/// Replaces `\$` and `\v` in a JSON text, which AWS's policies have beyond JSON's own escapes.
fn with_json_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, false) => out.push(character),
            _ => match characters.next() {
                Some('$') => out.push('$'),
                Some('v') => out.push_str("\\u000b"),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
        }
    }
    out
}

impl PostPolicy {
    /// Decodes a policy from its text in base64. Fails with `InvalidPolicyDocument` for a document that is not JSON in UTF-8,
    /// without an expiration in UTC or a list of conditions, and for a member or condition that is not known.
    pub fn decode(encoded: &str) -> Result<Self, S3Error> {
        let bytes = BASE64_ANY.decode(encoded.trim());
        let bytes = bytes.map_err(|_| invalid("invalid Base64 encoding."))?;
        let text = String::from_utf8(bytes).map_err(|_| invalid("Invalid JSON."))?;
        let document = serde_json::from_str(&with_json_escapes(&text));
        let Ok(Value::Object(members)) = document else { return Err(invalid("Invalid JSON.")) };
        for name in members.keys() {
            if !matches!(name.as_str(), "expiration" | "conditions") {
                return Err(invalid(&format!("Unexpected: '{}'", name.to_lowercase())));
            }
        }
        let expiration =
            members.get("expiration").ok_or_else(|| invalid("Policy missing expiration."))?;
        let expiration = expiration_of(expiration)?;
        let conditions =
            members.get("conditions").ok_or_else(|| invalid("Policy missing conditions."))?;
        let Value::Array(conditions) = conditions else {
            return Err(invalid("Invalid 'conditions' value: must be a List."));
        };
        let conditions = conditions.iter().map(PolicyCondition::read).collect::<Result<_, _>>()?;
        Ok(Self { expiration, conditions })
    }

    /// Checks a form against the policy. `bucket` is the bucket of the request's path, `now` is in seconds since 1970. The
    /// size of the file is left to [`Self::size_range`].
    ///
    /// Fails with `AccessDenied` after the expiration, for a condition that does not hold, and for a field without a
    /// condition; the bucket counts as a field.
    pub fn check(&self, bucket: &str, fields: &FormFields, now: i64) -> Result<(), S3Error> {
        if now > self.expiration.unix_timestamp() {
            return Err(denied("Policy expired.".to_owned()));
        }
        for condition in &self.conditions {
            if !condition.holds(bucket, fields) {
                return Err(denied(format!("Policy Condition failed: {}", condition.shown())));
            }
        }
        let named = self.conditions.iter().filter_map(PolicyCondition::field_name);
        let named: HashSet<String> = named.map(str::to_ascii_lowercase).collect();
        let given = fields.all().map(|(name, _)| name.to_owned());
        let mut names: Vec<String> = given.filter(|name| !needs_no_condition(name)).collect();
        if !names.iter().any(|name| name.eq_ignore_ascii_case("bucket")) {
            names.push("bucket".to_owned());
        }
        names.retain(|name| !named.contains(&name.to_ascii_lowercase()));
        if names.is_empty() {
            return Ok(());
        }
        Err(denied(format!("Extra input fields: {}", names.join(", "))))
    }

    /// The sizes that all conditions allow for the file, and never more than `max` bytes.
    pub fn size_range(&self, max: u64) -> SizeRange {
        let mut range = SizeRange { min: 0, max };
        for condition in &self.conditions {
            if let Some((min, max)) = condition.sizes() {
                range = SizeRange { min: range.min.max(min), max: range.max.min(max) };
            }
        }
        range
    }
}

/// Base64 with or without padding.
const BASE64_ANY: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The time of an expiration: ISO 8601 in UTC, with or without a fraction of a second.
fn expiration_of(value: &Value) -> Result<OffsetDateTime, S3Error> {
    let wrong = |shown: &str| invalid(&format!("Invalid 'expiration' value: '{shown}'"));
    let Value::String(text) = value else { return Err(wrong(&value.to_string())) };
    let is_utc = text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T');
    OffsetDateTime::parse(text, &Rfc3339).ok().filter(|_| is_utc).ok_or_else(|| wrong(text))
}
