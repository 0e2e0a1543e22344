//! CORS: the check of a bucket's rules, and the rule that a request of a web page matches.
//!
//! The first rule decides that names the request's origin, its method, and each header that a preflight request asks for.
//! A preflight request is about the method of `Access-Control-Request-Method`. An actual request is about its own method,
//! unless it has that header. AWS decides so, and tells all methods of the rule in the answer.

use std::collections::BTreeSet;

use crate::document::{CorsConfiguration, CorsRule};
use crate::error::{ErrorCode, S3Error};

/// The largest document in bytes (AWS's limit).
pub const CORS_BYTES_MAX: usize = 64 << 10;
/// The most rules of a bucket (AWS's limit).
const RULES_MAX: usize = 100;
/// The most characters of the name of a rule.
const ID_CHARACTERS_MAX: usize = 255;
/// The methods that a rule may allow.
pub const CORS_METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];
/// The request headers on which an answer depends.
const VARY: &str = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";

/// The parts of a request that a rule is compared with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CorsRequest<'a> {
    /// The origin of the page.
    pub origin: &'a str,
    /// The method of the request that the page makes or wants to make.
    pub method: &'a str,
    /// The names of headers that a preflight request asks for, separated by commas.
    pub headers: Option<&'a str>,
}

/// The permission that a rule gives to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CorsGrant<'a> {
    rule: &'a CorsRule,
    /// The origin as the answer names it: the request's, or `*` where the rule allows all origins.
    origin: &'a str,
    /// The requested headers, in lower case.
    headers: Vec<String>,
}

/// Fails for a configuration that AWS refuses: with `MalformedXml` for no rule, more than 100 rules, and rules without
/// method or origin; otherwise with `InvalidRequest`.
pub fn check(configuration: &CorsConfiguration) -> Result<(), S3Error> {
    let rules = &configuration.rules;
    if rules.is_empty() || rules.len() > RULES_MAX {
        return Err(ErrorCode::MalformedXml.into());
    }
    rules.iter().try_for_each(check_rule)
}

fn check_rule(rule: &CorsRule) -> Result<(), S3Error> {
    let invalid = |message: String| Err(ErrorCode::InvalidRequest.because(message));
    if rule.allowed_methods.is_empty() || rule.allowed_origins.is_empty() {
        return Err(ErrorCode::MalformedXml.into());
    }
    if rule.max_age_seconds.is_some_and(|seconds| i32::try_from(seconds).is_err()) {
        return Err(ErrorCode::MalformedXml.into());
    }
    let is_unknown = |method: &&String| !CORS_METHODS.contains(&method.as_str());
    if let Some(method) = rule.allowed_methods.iter().find(is_unknown) {
        return invalid(format!(
            "Found unsupported HTTP method in CORS config. Unsupported method is {method}"
        ));
    }
    for (element, patterns) in
        [("AllowedOrigin", &rule.allowed_origins), ("AllowedHeader", &rule.allowed_headers)]
    {
        if let Some(pattern) = patterns.iter().find(|pattern| pattern.matches('*').count() > 1) {
            return invalid(format!(
                "{element} \"{pattern}\" can not have more than one wildcard."
            ));
        }
    }
    if let Some(header) = rule.expose_headers.iter().find(|header| header.contains('*')) {
        return invalid(format!(
            "ExposeHeader \"{header}\" contains wildcard. We currently do not support wildcard for ExposeHeader."
        ));
    }
    if rule.id.as_ref().is_some_and(|id| id.chars().count() > ID_CHARACTERS_MAX) {
        return invalid("The ID of a CORS rule has at most 255 characters.".into());
    }
    Ok(())
}

/// The most names of headers that are compared with rules. A browser asks for those that a page sets.
const ASKED_MAX: usize = 100;

/// The permission of the first rule, in the order of the document, that matches a request; `None` if no rule does, and then
/// a preflight request must be refused. Origins are compared with case, names of
/// headers without. A `*` in a pattern stands for any text, also for none.
///
/// No rule matches a request for more than 100 headers: anybody may send it, so its work must be bounded by the rules alone.
pub fn grant<'a>(
    configuration: &'a CorsConfiguration,
    request: &CorsRequest<'a>,
) -> Option<CorsGrant<'a>> {
    let asked = request.headers.unwrap_or_default().split(',').map(str::trim);
    let asked = asked.filter(|name| !name.is_empty()).take(ASKED_MAX + 1);
    let asked: Vec<String> = asked.map(str::to_ascii_lowercase).collect();
    if asked.len() > ASKED_MAX {
        return None;
    }
    let (rule, origin) = configuration.rules.iter().find_map(|rule| {
        let origin = granted_origin(rule, request)?;
        allows_all(&rule.allowed_headers, &asked).then_some((rule, origin))
    })?;
    Some(CorsGrant { rule, origin, headers: asked })
}

/// The origin that the answer names, if a rule has the method and the origin of a request.
fn granted_origin<'a>(rule: &CorsRule, request: &CorsRequest<'a>) -> Option<&'a str> {
    if !rule.allowed_methods.iter().any(|method| method == request.method) {
        return None;
    }
    let origin = request.origin.as_bytes();
    let of_origin = |pattern: &&String| is_match(pattern, origin, <[u8]>::eq);
    let pattern = rule.allowed_origins.iter().find(of_origin)?;
    Some(if pattern == "*" { "*" } else { request.origin })
}

/// Returns true if each of the names, which are in lower case, matches a pattern. Only patterns with a `*` are compared with
/// every name.
fn allows_all(patterns: &[String], names: &[String]) -> bool {
    let mut missing: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    for pattern in patterns {
        if missing.is_empty() {
            return true;
        }
        if pattern.contains('*') {
            let is_missing =
                |name: &str| !is_match(pattern, name.as_bytes(), <[u8]>::eq_ignore_ascii_case);
            missing.retain(|name| is_missing(name));
        } else {
            missing.remove(pattern.to_ascii_lowercase().as_str());
        }
    }
    missing.is_empty()
}

/// Returns true if a text is the pattern's, whose first `*` stands for any text. `is_same` compares texts of one length.
fn is_match(pattern: &str, text: &[u8], is_same: fn(&[u8], &[u8]) -> bool) -> bool {
    match pattern.split_once('*') {
        None => is_same(pattern.as_bytes(), text),
        Some((start, end)) => {
            text.len() >= start.len() + end.len()
                && is_same(start.as_bytes(), &text[..start.len()])
                && is_same(end.as_bytes(), &text[text.len() - end.len()..])
        }
    }
}

impl CorsGrant<'_> {
    /// The headers of the answer, in the order in which they are sent. `Access-Control-Allow-Credentials` is among them
    /// unless all origins are allowed, because browsers refuse both together.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("access-control-allow-origin", self.origin.to_owned()),
            ("access-control-allow-methods", self.rule.allowed_methods.join(", ")),
        ];
        if !self.headers.is_empty() {
            headers.push(("access-control-allow-headers", self.headers.join(", ")));
        }
        let is_name = |name: &&String| http::HeaderName::try_from(name.as_str()).is_ok();
        let exposed: Vec<&str> =
            self.rule.expose_headers.iter().filter(is_name).map(String::as_str).collect();
        if !exposed.is_empty() {
            headers.push(("access-control-expose-headers", exposed.join(", ")));
        }
        if let Some(seconds) = self.rule.max_age_seconds {
            headers.push(("access-control-max-age", seconds.to_string()));
        }
        if self.origin != "*" {
            headers.push(("access-control-allow-credentials", "true".into()));
        }
        headers.push(("vary", VARY.into()));
        headers
    }
}

#[cfg(test)]
mod tests;
