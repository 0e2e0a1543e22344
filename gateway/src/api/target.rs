//! The bucket and key that a request names.

use http::request::Parts;
use s3::host::Domains;
use s3::names;
use s3::website::host::WebsiteDomains;

use super::address;

/// The bucket and key of a request whose signature is not verified. Neither is validated.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RequestTarget {
    /// The bucket's name; `None` for the service itself.
    pub bucket: Option<String>,
    /// The key; `None` for a bucket.
    pub key: Option<String>,
}

impl RequestTarget {
    /// The target that a request names by host and path: that of a website before that of a bucket. Neither bucket nor key
    /// for a path that is not UTF-8.
    pub fn of(parts: &Parts, websites: &WebsiteDomains, domains: &Domains) -> Self {
        if let Some(target) = Self::of_website(parts, websites) {
            return target;
        }
        let host_bucket = address::bucket_of_host(parts, domains);
        names::decode(parts.uri.path()).map_or_else(
            |_| Self::default(),
            |path| {
                let (bucket, key) = address::bucket_and_key(&path, host_bucket.as_deref());
                Self { bucket, key }
            },
        )
    }

    /// The target of a request whose host is below a website domain; `None` for other hosts. Must be asked before the path,
    /// and before domains of buckets that a website domain is below.
    pub fn of_website(parts: &Parts, domains: &WebsiteDomains) -> Option<Self> {
        let bucket = Some(domains.bucket_of(domains.host(parts))?).filter(|name| !name.is_empty());
        let path = names::decode(parts.uri.path()).unwrap_or_default();
        let key = path.strip_prefix('/').unwrap_or(&path).to_owned();
        Some(Self { bucket, key: Some(key).filter(|key| !key.is_empty()) })
    }
}
