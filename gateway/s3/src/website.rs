//! Buckets as websites: the host that names a bucket, the check of a configuration, the route of a request, and the page
//! of an error.
//!
//! ```text
//!   host ──► configuration ──► route ──► redirect
//!                                │
//!                                └─────► key ──► found                      the object
//!                                                └► error ──► route_of_error   redirect, error document, or page
//! ```
//!
//! Looking objects up is left to the caller. Redirects name the host with protocol, as AWS's do.

mod check;
pub mod host;
pub mod page;
#[cfg(test)]
mod tests;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::document::{RoutingRedirect, RoutingRule, WebsiteConfiguration};
use crate::names::{encode_path, number};

pub use check::check;

/// The largest document in bytes (AWS's limit).
pub const WEBSITE_BYTES_MAX: usize = 128 << 10;
/// The most routing rules of a bucket (AWS's limit).
const RULES_MAX: usize = 50;
/// The status of a redirect without a status of its own.
const MOVED: u16 = 301;
/// The characters of a replacement that a URL cannot contain. Others stay, because replacements are parts of URLs: some
/// begin a query.
const NO_URL: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'`');

/// A request to a website.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WebsiteRequest<'a> {
    /// `http` or `https`.
    pub protocol: &'a str,
    /// The host and port as the client names them.
    pub host: &'a str,
    /// The key, decoded; empty for the root, and with a slash at its end for a folder.
    pub key: &'a str,
    /// The query as it was received; empty without one.
    pub query: &'a str,
}

/// An answer that sends the client elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// The status.
    pub status: u16,
    /// The URL.
    pub location: String,
}

/// The first step of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Route {
    /// The client is sent elsewhere, whatever the bucket contains.
    Redirect(Redirect),
    /// The object with this key is the answer.
    Object(String),
}

/// The first step of a request, before an object is looked up. Rules about errors are passed over.
pub fn route(site: &WebsiteConfiguration, request: &WebsiteRequest<'_>) -> Route {
    if let Some(all) = &site.redirect_all_requests_to {
        let protocol = all.protocol.as_deref().unwrap_or(request.protocol);
        let path = encode_path(request.key);
        let location = url(protocol, &all.host_name, &path, request.query);
        return Route::Redirect(Redirect { status: MOVED, location });
    }
    match rules(site).iter().find(|rule| applies(rule, request.key, None)) {
        Some(rule) => Route::Redirect(redirect(rule, request)),
        None => Route::Object(if request.key.is_empty() || request.key.ends_with('/') {
            format!("{}{}", request.key, suffix(site))
        } else {
            request.key.to_owned()
        }),
    }
}

/// The redirect of the first rule about an error with this status; `None` without such a rule.
pub fn route_of_error(
    site: &WebsiteConfiguration,
    request: &WebsiteRequest<'_>,
    status: u16,
) -> Option<Redirect> {
    let rule = rules(site).iter().find(|rule| applies(rule, request.key, Some(status)))?;
    Some(redirect(rule, request))
}

/// The key of the index document that makes a missing key a folder; `None` for a key that names a folder already.
/// The caller must look up if the index document exists, before it redirects to the folder.
pub fn folder_index(site: &WebsiteConfiguration, key: &str) -> Option<String> {
    let is_folder = key.is_empty() || key.ends_with('/');
    (!is_folder).then(|| format!("{key}/{}", suffix(site)))
}

/// The redirect to the folder of a key, which has an index document. The location is a path, and never names a host.
pub fn to_folder(key: &str) -> Redirect {
    // Two slashes at the beginning would name a host.
    let path = match key.strip_prefix('/') {
        Some(rest) => format!("%2F{}", encode_path(rest)),
        None => encode_path(key),
    };
    Redirect { status: 302, location: format!("/{path}/") }
}

fn rules(site: &WebsiteConfiguration) -> &[RoutingRule] {
    site.routing_rules.as_ref().map_or(&[], |rules| &rules.rules)
}

fn suffix(site: &WebsiteConfiguration) -> &str {
    site.index_document.as_ref().map_or("", |index| &index.suffix)
}

/// Returns true if the condition of a rule holds. `status` is the status of an error, or `None` before the look-up, where
/// only rules without a status apply; after it, only rules with one.
fn applies(rule: &RoutingRule, key: &str, status: Option<u16>) -> bool {
    let Some(condition) = &rule.condition else { return status.is_none() };
    let wanted = condition.http_error_code_returned_equals.as_deref().and_then(number::<u16>);
    let prefix = condition.key_prefix_equals.as_deref().unwrap_or_default();
    wanted == status && key.starts_with(prefix)
}

fn redirect(rule: &RoutingRule, request: &WebsiteRequest<'_>) -> Redirect {
    let RoutingRedirect {
        protocol,
        host_name,
        replace_key_prefix_with,
        replace_key_with,
        http_redirect_code,
    } = &rule.redirect;
    let prefix =
        rule.condition.as_ref().and_then(|condition| condition.key_prefix_equals.as_deref());
    let rest = request.key.strip_prefix(prefix.unwrap_or_default()).unwrap_or(request.key);
    let as_url = |text: &str| utf8_percent_encode(text, NO_URL).to_string();
    let path = match (replace_key_with, replace_key_prefix_with) {
        (Some(key), _) => as_url(key),
        (None, Some(prefix)) => as_url(prefix) + &encode_path(rest),
        (None, None) => encode_path(request.key),
    };
    let protocol = protocol.as_deref().unwrap_or(request.protocol);
    let host = host_name.as_deref().unwrap_or(request.host);
    let status = http_redirect_code.as_deref().and_then(number).unwrap_or(MOVED);
    Redirect { status, location: url(protocol, host, &path, request.query) }
}

/// A URL. The query is appended unless the path has one.
fn url(protocol: &str, host: &str, path: &str, query: &str) -> String {
    let query = utf8_percent_encode(query, NO_URL).to_string();
    let separator = if query.is_empty() || path.contains('?') { "" } else { "?" };
    let query = if separator.is_empty() { "" } else { query.as_str() };
    format!("{protocol}://{host}/{path}{separator}{query}")
}
