//! The hosts that serve websites.

use std::fmt;
use std::str::FromStr;

use crate::host::{before_domain, is_name, name_of};

/// The domains below which hosts are named by buckets: `bucket.domain` serves the website of `bucket`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct WebsiteDomains(Vec<String>);

/// The error for a text that is not the name of a domain.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected names of domains, separated by commas, and `{0}` is none")]
pub struct NotWebsiteDomain(String);

impl FromStr for WebsiteDomains {
    type Err = NotWebsiteDomain;

    /// Reads names that are separated by commas; no domain for an empty text. Fails for a name with another character
    /// than letters, digits, dots and hyphens.
    fn from_str(text: &str) -> Result<Self, NotWebsiteDomain> {
        let names = text.split(',').map(|name| name.trim().to_ascii_lowercase());
        let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
        match names.iter().find(|name| !is_name(name)) {
            Some(wrong) => Err(NotWebsiteDomain(wrong.clone())),
            None => Ok(Self(names)),
        }
    }
}

impl fmt::Display for WebsiteDomains {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join(","))
    }
}

impl WebsiteDomains {
    /// Returns true without any domain: no host serves a website then.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bucket that a host names, with or without a port, in lower case; empty for a domain itself. The longest domain
    /// decides. The name is not validated and must be looked up. `None` for a host that serves no websites.
    pub fn bucket_of(&self, host: &str) -> Option<String> {
        let name = name_of(host);
        let below = |domain: &String| {
            let before = before_domain(name, domain)?;
            if before.is_empty() { Some(before) } else { before.strip_suffix('.') }
        };
        // Below the longest domain the least text is left.
        let bucket = self.0.iter().filter_map(below).min_by_key(|bucket| bucket.len());
        bucket.map(str::to_ascii_lowercase)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_names_the_bucket_below_a_domain() {
        let domains: WebsiteDomains = "S3-website.localhost, pages.example.com".parse().unwrap();
        assert_eq!(domains.to_string(), "s3-website.localhost,pages.example.com");
        for (host, bucket) in [
            ("photos.s3-website.localhost", Some("photos")),
            ("photos.s3-website.localhost:9000", Some("photos")),
            ("photos.s3-website.localhost.", Some("photos")),
            ("Photos.S3-Website.LocalHost:9000", Some("photos")),
            ("www.example.com.pages.example.com", Some("www.example.com")),
            ("s3-website.localhost:9000", Some("")),
            (".s3-website.localhost", Some("")),
            ("photoss3-website.localhost", None),
            ("s3-website.localhost.evil.com", None),
            ("photos.s3-website.localhost:port", None),
            ("localhost:9000", None),
            ("127.0.0.1:9000", None),
            ("[::1]:9000", None),
            ("é.s3-website.localhost", Some("é")),
            ("é", None),
            ("", None),
        ] {
            assert_eq!(domains.bucket_of(host).as_deref(), bucket, "{host}");
        }
        let nested: WebsiteDomains = "example.com,pages.example.com".parse().unwrap();
        assert_eq!(nested.bucket_of("photos.pages.example.com").unwrap(), "photos");
        assert_eq!(nested.bucket_of("pages.example.com").unwrap(), "");
        assert_eq!(nested.bucket_of("photos.example.com").unwrap(), "photos");
        let none: WebsiteDomains = "".parse().unwrap();
        assert_eq!(none.bucket_of("photos.s3-website.localhost"), None);
        assert_eq!(none.bucket_of(""), None);
    }

    #[test]
    fn other_texts_are_no_domains() {
        for wrong in ["a b", "a..b", "a.", ".a", "a/b", "a:80", "a,b_c", "ž", &"a".repeat(254)] {
            assert!(wrong.parse::<WebsiteDomains>().is_err(), "{wrong}");
        }
    }
}
