//! The address of a request: the host, and the bucket and the key that host and path name.
//!
//! Below one of the server's domains the host names the bucket, and the whole path is the key. Otherwise the first
//! segment of the path is the bucket.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::HOST;
use http::request::Parts;
use s3::error::{ErrorCode, S3Error};
use s3::headers;
use s3::host::Domains;
use s3::names;

/// The host of a request, with its port: that of an absolute target, before the header `host` (RFC 9112, 3.2.2). Empty
/// without both, and for a header that is not text. A proxy's `x-forwarded-host` counts nothing: anybody can send it.
pub fn host(parts: &Parts) -> &str {
    match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    }
}

/// The bucket that the host of a request names; `None` for a request whose path names it. Of a request with several hosts
/// the result means nothing, and [`check_host`] fails.
pub fn bucket_of_host(parts: &Parts, domains: &Domains) -> Option<String> {
    domains.bucket_of(host(parts))
}

/// Fails for a request with several hosts: the header twice, or another one than in its target. A proxy before this
/// server may have decided by the other one.
pub fn check_host(parts: &Parts) -> Result<(), S3Error> {
    let in_header = headers::text(&parts.headers, &HOST)?;
    match (parts.uri.authority(), in_header) {
        (Some(authority), Some(host)) if !host.eq_ignore_ascii_case(authority.as_str()) => {
            Err(ErrorCode::InvalidRequest
                .because("The target of the request and the header Host name different hosts."))
        }
        _ => Ok(()),
    }
}

/// The path of a request as if it named the bucket, percent-encoded as it was sent. `bucket` is the one that the host
/// names. For error documents, log lines and metrics.
pub fn resource_path<'a>(path: &'a str, bucket: Option<&str>) -> Cow<'a, str> {
    match bucket {
        None => Cow::Borrowed(path),
        Some(bucket) => Cow::Owned(format!("/{bucket}{path}")),
    }
}

/// The bucket and the key of a request. `path` is decoded, `host_bucket` is the bucket that the host names. The key is
/// everything after the slash that follows the bucket, taken literally.
pub fn bucket_and_key(path: &str, host_bucket: Option<&str>) -> (Option<String>, Option<String>) {
    let rest = path.strip_prefix('/').unwrap_or(path);
    let (bucket, key) = match host_bucket {
        Some(bucket) => (bucket, rest),
        None => rest.split_once('/').unwrap_or((rest, "")),
    };
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    (some(bucket), some(key))
}

/// The protocol by which a client came, as the proxy in front says in `x-forwarded-proto`: the server has no TLS itself. Only
/// for URLs that the same client is told, because anybody can send the header. The first proxy's word counts.
pub fn protocol(headers: &HeaderMap) -> &'static str {
    let said = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let first = said.and_then(|said| said.split(',').next()).unwrap_or_default();
    if first.trim().eq_ignore_ascii_case("https") { "https" } else { "http" }
}

/// The URL of an object, for the client of a request. The host stays as it is, so that the client reaches the object through
/// the same proxies; the path names the bucket unless the host does.
pub fn object_url(parts: &Parts, domains: &Domains, bucket: &str, key: &str) -> String {
    let (protocol, host) = (protocol(&parts.headers), host(parts));
    let key = names::encode_path(key);
    match domains.bucket_of(host) {
        Some(named) if named == bucket => format!("{protocol}://{host}/{key}"),
        _ => format!("{protocol}://{host}/{bucket}/{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(target: &str, hosts: &[&str]) -> Parts {
        let mut request = http::Request::get(target).header("x-forwarded-host", "evil.localhost");
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn host_and_path_name_bucket_and_key() {
        for (target, hosts, bucket, key) in [
            ("/a/b/c", &["localhost:9000"][..], Some("a"), Some("b/c")),
            ("/a/b/c", &["pics.localhost:9000"], Some("pics"), Some("a/b/c")),
            ("/", &["pics.localhost"], Some("pics"), None),
            ("//a", &["pics.localhost"], Some("pics"), Some("/a")),
            ("http://pics.localhost/a", &["pics.localhost"], Some("pics"), Some("a")),
            ("http://pics.localhost/a", &[], Some("pics"), Some("a")),
            ("http://pics.localhost", &["PICS.localhost"], Some("pics"), None),
            ("http://localhost/a/b", &["localhost"], Some("a"), Some("b")),
            ("/a", &[], Some("a"), None),
            ("/", &["127.0.0.1"], None, None),
        ] {
            let parts = parts(target, hosts);
            assert_eq!(check_host(&parts), Ok(()));
            let named = bucket_of_host(&parts, &Domains::default());
            let found = bucket_and_key(parts.uri.path(), named.as_deref());
            assert_eq!(
                (found.0.as_deref(), found.1.as_deref()),
                (bucket, key),
                "{target} {hosts:?}"
            );
        }
    }

    #[test]
    fn the_url_of_an_object_names_the_bucket_once() {
        for (target, hosts, url) in [
            ("/pics/a", &["h:1"][..], "http://h:1/pics/a%20b"),
            ("/a", &["pics.localhost:1"], "http://pics.localhost:1/a%20b"),
            ("/a", &["other.localhost"], "http://other.localhost/pics/a%20b"),
            ("http://h:1/pics/a", &["h:1"], "http://h:1/pics/a%20b"),
            ("http://pics.localhost/a", &[], "http://pics.localhost/a%20b"),
        ] {
            let parts = parts(target, hosts);
            assert_eq!(object_url(&parts, &Domains::default(), "pics", "a b"), url);
        }
    }

    #[test]
    fn a_url_has_the_protocol_that_the_first_proxy_names() {
        for (said, protocol) in [
            (&[][..], "http"),
            (&["https"], "https"),
            (&["HTTPS"], "https"),
            (&[" https , http"], "https"),
            (&["http"], "http"),
            (&["http,https"], "http"),
            (&["http", "https"], "http"),
            (&["https://evil"], "http"),
            (&["javascript"], "http"),
            (&[""], "http"),
        ] {
            let mut parts = parts("/pics/a", &["h:1"]);
            for value in said {
                parts.headers.append("x-forwarded-proto", value.parse().unwrap());
            }
            let url = object_url(&parts, &Domains::default(), "pics", "a");
            assert_eq!(url, format!("{protocol}://h:1/pics/a"), "{said:?}");
        }
    }

    #[test]
    fn a_request_has_one_host() {
        for (target, hosts) in [
            ("/a", &["localhost", "localhost"][..]),
            ("http://pics.localhost/a", &["localhost"]),
            ("http://me@pics.localhost/a", &["pics.localhost"]),
        ] {
            assert!(check_host(&parts(target, hosts)).is_err(), "{target} {hosts:?}");
        }
    }
}
