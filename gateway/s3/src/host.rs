//! Virtual-host addressing: the bucket that the host of a request names.
//!
//! `photos.s3.example.com` names the bucket `photos` if `s3.example.com` is among the domains. Every other host, an
//! address of IPv4 or IPv6 included, names no bucket, and the bucket is then the first segment of the path.

use std::net::IpAddr;

/// The domain that is always among the domains. Systems resolve the names below it to this machine (RFC 6761).
const LOCALHOST: &str = "localhost";
/// The largest number of bytes of a host name.
const NAME_BYTES_MAX: usize = 253;

/// The domains below which a host names a bucket, the longest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domains(Vec<String>);

impl Default for Domains {
    /// `localhost` alone.
    fn default() -> Self {
        Self(vec![LOCALHOST.to_owned()])
    }
}

/// The error for a text that is not a list of domains.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is not the name of a domain")]
pub struct NotDomain(String);

impl std::str::FromStr for Domains {
    type Err = NotDomain;

    /// Parses names that are separated by commas, in any case of letters; `localhost` is added. Fails for a name with
    /// characters that no host name has, and for an address.
    fn from_str(text: &str) -> Result<Self, NotDomain> {
        let mut names = vec![LOCALHOST.to_owned()];
        for name in text.split(',').map(str::trim) {
            if !is_domain(name) {
                return Err(NotDomain(name.to_owned()));
            }
            names.push(name.to_ascii_lowercase());
        }
        names.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        names.dedup();
        Ok(Self(names))
    }
}

fn is_domain(name: &str) -> bool {
    is_name(name) && name.parse::<IpAddr>().is_err()
}

/// Returns true for labels of letters, digits and hyphens that are separated by dots, together not longer than a host
/// name may be. An address of IPv4 is such a text, too.
pub(crate) fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label)
}

/// The name in a host, without a port and without a dot at its end. Never fails: another text stays as it is.
pub(crate) fn name_of(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// The text before a domain at the end of a name, in any case of letters; empty for the domain itself. `None` for a name
/// that does not end with the domain.
pub(crate) fn before_domain<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let (before, end) = name.split_at_checked(name.len().checked_sub(domain.len())?)?;
    end.eq_ignore_ascii_case(domain).then_some(before)
}

impl Domains {
    /// The bucket that a host names, in lower case and not validated; `None` unless the host is below one of the domains.
    /// The host may have a port, and a dot at its end. The longest domain decides.
    pub fn bucket_of(&self, host: &str) -> Option<String> {
        let name = name_of(host);
        for domain in &self.0 {
            let Some(before) = before_domain(name, domain) else { continue };
            if before.is_empty() {
                return None;
            }
            if let Some(bucket) = before.strip_suffix('.') {
                return (!bucket.is_empty()).then(|| bucket.to_ascii_lowercase());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_below_a_domain_names_a_bucket() {
        let domains: Domains = "S3.Example.com, example.com,store".parse().unwrap();
        for (host, bucket) in [
            ("photos.s3.example.com", Some("photos")),
            ("PHOTOS.S3.EXAMPLE.COM:9000", Some("photos")),
            ("a.b.c.s3.example.com", Some("a.b.c")),
            ("photos.s3.example.com.", Some("photos")),
            ("photos.s3.example.com.:80", Some("photos")),
            ("photos.example.com", Some("photos")),
            ("photos.store:1", Some("photos")),
            ("photos.localhost:9000", Some("photos")),
            ("photos.LOCALHOST", Some("photos")),
            // A domain itself, the longest first: `s3` is no bucket of `example.com`.
            ("s3.example.com", None),
            ("example.com:443", None),
            ("localhost:9000", None),
            ("localhost", None),
            // Below no domain.
            ("photos.example.org", None),
            ("photoss3.example.org", None),
            ("notexample.com", None),
            ("mylocalhost", None),
            ("photos.localhost.example.org", None),
            // Addresses.
            ("127.0.0.1:9000", None),
            ("127.0.0.1", None),
            ("[::1]:9000", None),
            ("[::1]", None),
            ("::1", None),
            // Scraps.
            ("", None),
            (":9000", None),
            (".", None),
            (".localhost", None),
            (".s3.example.com", None),
            ("..localhost", Some(".")),
            ("\u{e9}.localhost", Some("\u{e9}")),
            ("\u{e9}localhost", None),
        ] {
            assert_eq!(domains.bucket_of(host).as_deref(), bucket, "{host}");
        }
        assert_eq!(Domains::default().bucket_of("photos.s3.example.com"), None);
        assert_eq!(Domains::default().bucket_of("photos.localhost").unwrap(), "photos");
    }

    #[test]
    fn only_names_are_domains() {
        for bad in ["", "a,", "a b", "*.a", "a:80", "http://a", "127.0.0.1", "[::1]", ".a", "a..b"]
        {
            assert!(bad.parse::<Domains>().is_err(), "{bad}");
        }
        assert!("x".repeat(254).parse::<Domains>().is_err());
    }
}
