//! The bucket and key that a request names.

use http::request::Parts;
use s3::names;
use s3::website::host::WebsiteDomains;

/// The bucket and key of a request whose signature is not verified. Neither is validated.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RequestTarget {
    /// The bucket's name; `None` for the service itself.
    pub bucket: Option<String>,
    /// The key; `None` for a bucket.
    pub key: Option<String>,
}

impl RequestTarget {
    /// The target that a request names, by its path, or by host and path on a website domain. Neither bucket nor key for a
    /// path that is not UTF-8.
    pub fn of(parts: &Parts, domains: &WebsiteDomains) -> Self {
        if let Some(target) = Self::of_website(parts, domains) {
            return target;
        }
        names::decode(parts.uri.path())
            .map_or_else(|_| Self::default(), |path| Self::of_path(&path))
    }

    /// The target of a request whose host is below a website domain; `None` for other hosts. Must be asked before the path,
    /// and before domains of buckets that a website domain is below.
    pub fn of_website(parts: &Parts, domains: &WebsiteDomains) -> Option<Self> {
        let bucket = Some(domains.bucket_of(domains.host(parts))?).filter(|name| !name.is_empty());
        let path = names::decode(parts.uri.path()).unwrap_or_default();
        let key = path.strip_prefix('/').unwrap_or(&path).to_owned();
        Some(Self { bucket, key: Some(key).filter(|key| !key.is_empty()) })
    }

    /// Splits `/bucket/key`, which is decoded already; the key is everything after the second slash, taken literally.
    pub fn of_path(path: &str) -> Self {
        let rest = path.strip_prefix('/').unwrap_or(path);
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self { bucket: some(bucket), key: some(key) }
    }
}
