//! The bucket and key that a request names.

use http::request::Parts;
use s3::names;
use s3::website::host::WebsiteDomains;

use super::address;
use super::context::S3Options;

/// The bucket and key of a request whose signature is not verified. Neither is validated.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RequestTarget {
    /// The bucket's name; `None` for the service itself.
    pub bucket: Option<String>,
    /// The key; `None` for a bucket.
    pub key: Option<String>,
}

/// The place that the host of a request names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostTarget {
    /// The website of a bucket, and an object in it.
    Website(RequestTarget),
    /// A bucket; the whole path is the key.
    Bucket(String),
    /// None: the path names the bucket.
    Path,
}

impl HostTarget {
    /// The place of a request. A website domain decides before the domains of buckets, which it may be below.
    pub fn of(parts: &Parts, options: &S3Options) -> Self {
        if let Some(site) = RequestTarget::of_website(parts, &options.website_domains) {
            return HostTarget::Website(site);
        }
        let bucket = address::bucket_of_host(parts, &options.authentication.domains);
        bucket.map_or(HostTarget::Path, HostTarget::Bucket)
    }

    /// Returns true for a host that serves websites.
    pub fn is_website(&self) -> bool {
        matches!(self, HostTarget::Website(_))
    }

    /// The bucket that the host names for S3; `None` for a website.
    pub fn bucket(&self) -> Option<&str> {
        match self {
            HostTarget::Bucket(bucket) => Some(bucket),
            HostTarget::Website(_) | HostTarget::Path => None,
        }
    }
}

impl RequestTarget {
    /// The target that a request names by host and path: that of a website before that of a bucket. Neither bucket nor key
    /// for a path that is not UTF-8.
    pub fn of(parts: &Parts, options: &S3Options) -> Self {
        let host = HostTarget::of(parts, options);
        if let HostTarget::Website(target) = host {
            return target;
        }
        names::decode(parts.uri.path()).map_or_else(
            |_| Self::default(),
            |path| {
                let (bucket, key) = address::bucket_and_key(&path, host.bucket());
                Self { bucket, key }
            },
        )
    }

    /// The target of a request whose host is below a website domain; `None` for other hosts. Must be asked before the path,
    /// and before domains of buckets that a website domain is below.
    pub fn of_website(parts: &Parts, domains: &WebsiteDomains) -> Option<Self> {
        if domains.is_empty() {
            return None;
        }
        let bucket = Some(domains.bucket_of(address::host(parts))?).filter(|name| !name.is_empty());
        let path = names::decode(parts.uri.path()).unwrap_or_default();
        let key = path.strip_prefix('/').unwrap_or(&path).to_owned();
        Some(Self { bucket, key: Some(key).filter(|key| !key.is_empty()) })
    }
}
