//! The address of a request: the host, and the bucket and the key that host and path name.
//!
//! Below one of the server's domains the host names the bucket, and the whole path is the key. Otherwise the first
//! segment of the path is the bucket.

use std::borrow::Cow;

use http::request::Parts;
use s3::error::{ErrorCode, S3Error};
use s3::headers;
use s3::host::Domains;
use s3::names;

/// The host of a request: that of an absolute target, before the header `host`. Empty without both, and for a header that
/// is not text. A proxy's `x-forwarded-host` counts nothing: anybody can send it.
fn host(parts: &Parts) -> &str {
    match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => parts.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default(),
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
    let in_header = headers::text(&parts.headers, "host")?;
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

/// The URL of an object, for a client that has sent its request to a host. The host stays as it is, so that the client
/// reaches the object through the same proxies; the path names the bucket unless the host does.
pub fn object_url(host: &str, domains: &Domains, bucket: &str, key: &str) -> String {
    let key = names::encode_path(key);
    match domains.bucket_of(host) {
        Some(named) if named == bucket => format!("http://{host}/{key}"),
        _ => format!("http://{host}/{bucket}/{key}"),
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
        for (host, url) in [
            ("h:1", "http://h:1/pics/a%20b"),
            ("pics.localhost:1", "http://pics.localhost:1/a%20b"),
            ("other.localhost", "http://other.localhost/pics/a%20b"),
        ] {
            assert_eq!(object_url(host, &Domains::default(), "pics", "a b"), url);
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
