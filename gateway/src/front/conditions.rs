//! Conditions and ranges of requests.

use http::HeaderMap;
use ingest::entry::ETag;
use ingest::record::Condition;
use s3::checksum::parse_etag;
use s3::error::{Code, S3Error};
use s3::time::parse_any;

/// What conditions of a read come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Go on.
    Pass,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn names(list: &str, etag: ETag) -> bool {
    let matches = |one: &str| {
        one.trim() == "*" || parse_etag(one).is_some_and(|(md5, parts)| ETag { md5, parts } == etag)
    };
    list.split(',').any(matches)
}

/// Judges the conditions of a read in the order of RFC 9110, 13.2.2. `prefix` is empty, or that of the
/// conditions on a copy's source.
pub fn judge(headers: &HeaderMap, prefix: &str, etag: ETag, modified_micros: i64) -> Verdict {
    let header = |name: &str| text(headers, &format!("{prefix}{name}"));
    let modified = modified_micros.div_euclid(1_000_000);
    match header("if-match") {
        Some(list) if !names(list, etag) => return Verdict::Failed,
        Some(_) => {}
        None => {
            let since = header("if-unmodified-since").and_then(parse_any);
            if since.is_some_and(|since| modified > since) {
                return Verdict::Failed;
            }
        }
    }
    match header("if-none-match") {
        Some(list) if names(list, etag) => Verdict::NotModified,
        Some(_) => Verdict::Pass,
        None => match header("if-modified-since").and_then(parse_any) {
            Some(since) if modified <= since => Verdict::NotModified,
            _ => Verdict::Pass,
        },
    }
}

/// The condition of a write.
pub fn of_write(headers: &HeaderMap) -> Result<Condition, S3Error> {
    let refused = |what: &str| Code::NotImplemented.because(format!("{what} is not implemented."));
    for name in ["if-modified-since", "if-unmodified-since"] {
        if headers.contains_key(name) {
            return Err(refused(name));
        }
    }
    match (text(headers, "if-match"), text(headers, "if-none-match")) {
        (None, None) => Ok(Condition::Always),
        (None, Some("*")) => Ok(Condition::IfAbsent),
        (Some("*"), None) => Ok(Condition::IfPresent),
        (Some(etag), None) => Ok(match parse_etag(etag) {
            Some((md5, parts)) => Condition::IfMatch(ETag { md5, parts }),
            // An entity tag that no object here can have: the condition cannot hold.
            None => Condition::IfMatch(ETag { md5: [0xff; 16], parts: u16::MAX }),
        }),
        (None, Some(_)) => Err(refused("If-None-Match with an entity tag on a write")),
        (Some(_), Some(_)) => Err(refused("If-Match together with If-None-Match")),
    }
}

/// The bytes that a `Range` header asks for, of an object of `size` bytes; `None` for all of it. What is
/// not a single well-formed range is ignored, as AWS does.
pub fn range(header: Option<&str>, size: u64) -> Result<Option<std::ops::Range<u64>>, S3Error> {
    let Some(spec) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Ok(None);
    };
    let Some((first, last)) = spec.split_once('-') else { return Ok(None) };
    let refused = || {
        S3Error::from(Code::InvalidRange)
            .with("RangeRequested", format!("bytes={spec}"))
            .with("ActualObjectSize", size.to_string())
    };
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first > last => Ok(None),
        (Ok(first), _) if first >= size && !spec.contains(',') => Err(refused()),
        (Ok(first), Ok(last)) => Ok(Some(first..last.saturating_add(1).min(size))),
        (Ok(first), Err(_)) if last.is_empty() => Ok(Some(first..size)),
        (Err(_), Ok(0)) if first.is_empty() => Err(refused()),
        (Err(_), Ok(_)) if first.is_empty() && size == 0 => Err(refused()),
        (Err(_), Ok(last)) if first.is_empty() => Ok(Some(size.saturating_sub(last)..size)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_aws_reads_them() {
        let of = |text: &str| range(Some(text), 10);
        assert_eq!(of("bytes=0-3").unwrap(), Some(0..4));
        assert_eq!(of("bytes=5-").unwrap(), Some(5..10));
        assert_eq!(of("bytes=-3").unwrap(), Some(7..10));
        assert_eq!(of("bytes=-30").unwrap(), Some(0..10));
        assert_eq!(of("bytes=5-100").unwrap(), Some(5..10));
        for whole in ["bytes=3-1", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4", "bytes="] {
            assert_eq!(of(whole).unwrap(), None, "{whole}");
        }
        assert!(of("bytes=10-").is_err());
        assert!(of("bytes=-0").is_err());
        assert!(range(Some("bytes=0-"), 0).is_err());
    }
}
