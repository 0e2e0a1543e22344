//! The bucket and key that a request names.

use http::request::Parts;
use s3::names;

/// The bucket and key of a request whose signature is not verified. Neither is validated.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RequestTarget {
    /// The bucket's name; `None` for the service itself.
    pub bucket: Option<String>,
    /// The key; `None` for a bucket.
    pub key: Option<String>,
}

impl RequestTarget {
    /// The target that the path of a request names. Neither bucket nor key for a path that is not UTF-8.
    pub fn of(parts: &Parts) -> Self {
        names::decode(parts.uri.path())
            .map_or_else(|_| Self::default(), |path| Self::of_path(&path))
    }

    /// Splits `/bucket/key`, which is decoded already; the key is everything after the second slash, taken literally.
    pub fn of_path(path: &str) -> Self {
        let rest = path.strip_prefix('/').unwrap_or(path);
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self { bucket: some(bucket), key: some(key) }
    }
}
