//! Conditions and ranges of requests.

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName};
use ingest::entry::ETag;
use ingest::record::{RenameCondition, WriteCondition};
use ingest::time::WallTime;
use s3::checksum::parse_etag;
use s3::error::{ErrorCode, S3Error};
use s3::headers::text;
use s3::names::number;
use s3::time::parse_any;

/// The result of the conditions of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadVerdict {
    /// All conditions hold.
    Pass,
    /// The client has this version already (304).
    NotModified,
    /// A condition does not hold (412): the name of its header without a prefix, as S3 writes it.
    Failed(&'static str),
}

/// The comparison of entity tags that a condition asks for (RFC 9110, 8.8.3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// A weak tag is never equal.
    Strong,
    /// A weak tag counts like a strong one.
    Weak,
}

/// Returns true if a list of entity tags contains one, or is `*`.
fn names(list: &str, etag: ETag, comparison: Comparison) -> bool {
    let matches = |one: &str| {
        let one = one.trim();
        let one = match comparison {
            Comparison::Strong => one,
            Comparison::Weak => one.strip_prefix("W/").unwrap_or(one),
        };
        one == "*" || parse_etag(one).is_some_and(|(md5, parts)| ETag { md5, parts } == etag)
    };
    list.split(',').any(matches)
}

/// The text of a condition, under a prefix or none. Nothing is allocated without a prefix, as nearly all requests are.
fn condition<'a>(
    headers: &'a HeaderMap,
    prefix: &str,
    name: &HeaderName,
) -> Result<Option<&'a str>, S3Error> {
    match prefix {
        "" => text(headers, name),
        _ => text(headers, &format!("{prefix}{name}")),
    }
}

/// Evaluates the conditions of a read in the order of RFC 9110, 13.2.2. `prefix` is empty, or the prefix of the
/// conditions on a copy's source. Fails for a header that cannot be read; of the dates only those of a copy are errors.
/// `now` is in seconds since 1970: nothing can have been modified since a time that has not come, so such a date is void.
pub fn judge(
    headers: &HeaderMap,
    prefix: &str,
    etag: ETag,
    modified_micros: i64,
    now: i64,
) -> Result<ReadVerdict, S3Error> {
    let header = |name: &HeaderName| condition(headers, prefix, name);
    let date = |name: &HeaderName| match header(name)? {
        None => Ok(None),
        Some(text) => match parse_any(text) {
            // The HTTP standard has a date that cannot be read ignored; a copy's conditions are S3's own.
            None if !prefix.is_empty() => Err(ErrorCode::InvalidArgument
                .because(format!("{prefix}{name} is not a date."))
                .with("ArgumentName", format!("{prefix}{name}"))),
            date => Ok(date),
        },
    };
    let modified = modified_micros.div_euclid(1_000_000);
    match header(&IF_MATCH)? {
        Some(list) if !names(list, etag, Comparison::Strong) => {
            return Ok(ReadVerdict::Failed("If-Match"));
        }
        Some(_) => {}
        None => {
            if date(&IF_UNMODIFIED_SINCE)?.is_some_and(|since| modified > since) {
                return Ok(ReadVerdict::Failed("If-Unmodified-Since"));
            }
        }
    }
    Ok(match header(&IF_NONE_MATCH)? {
        Some(list) if names(list, etag, Comparison::Weak) => ReadVerdict::NotModified,
        Some(_) => ReadVerdict::Pass,
        None => match date(&IF_MODIFIED_SINCE)? {
            Some(since) if modified <= since && since <= now => ReadVerdict::NotModified,
            _ => ReadVerdict::Pass,
        },
    })
}

/// True when a range of this version may be sent. After `If-Range` names another version, the client needs all bytes
/// instead. Fails for a header that cannot be read.
pub fn may_take_range(
    headers: &HeaderMap,
    etag: ETag,
    modified_micros: i64,
) -> Result<bool, S3Error> {
    let Some(said) = text(headers, &IF_RANGE)? else { return Ok(true) };
    if let Some(date) = parse_any(said) {
        return Ok(modified_micros.div_euclid(1_000_000) == date);
    }
    Ok(parse_etag(said).is_some_and(|(md5, parts)| ETag { md5, parts } == etag))
}

/// The condition under which a write is applied. Fails with `NotImplemented` for combinations that S3 does not have,
/// before anything is written.
pub fn of_write(headers: &HeaderMap) -> Result<WriteCondition, S3Error> {
    of_tags(headers, "")
}

/// The condition on one of the two objects of a rename. `prefix` is empty for the object that has the new key. Where a
/// condition on the entity tag is given, the date of the same sense is no condition, as in reads. Fails with
/// `InvalidArgument` for a date that cannot be read: without it the rename would be another.
pub fn of_rename(headers: &HeaderMap, prefix: &str) -> Result<RenameCondition, S3Error> {
    let date = |name: &str, tag: &str| {
        let name = format!("{prefix}{name}");
        match text(headers, &name)? {
            Some(date) if !headers.contains_key(format!("{prefix}{tag}")) => {
                let seconds = parse_any(date).ok_or_else(|| {
                    ErrorCode::InvalidArgument
                        .because(format!("{name} is not a date."))
                        .with("ArgumentName", name)
                        .with("ArgumentValue", date)
                })?;
                Ok::<_, S3Error>(Some(WallTime::from_micros(seconds.saturating_mul(1_000_000))))
            }
            _ => Ok(None),
        }
    };
    Ok(RenameCondition {
        write: of_tags(headers, prefix)?,
        modified_since: date("if-modified-since", "if-none-match")?,
        unmodified_since: date("if-unmodified-since", "if-match")?,
    })
}

fn of_tags(headers: &HeaderMap, prefix: &str) -> Result<WriteCondition, S3Error> {
    let refused =
        |what: &str| ErrorCode::NotImplemented.because(format!("{what} is not implemented."));
    let header = |name: &HeaderName| condition(headers, prefix, name);
    match (header(&IF_MATCH)?, header(&IF_NONE_MATCH)?) {
        (None, None) => Ok(WriteCondition::Always),
        (None, Some("*")) => Ok(WriteCondition::IfAbsent),
        (Some("*"), None) => Ok(WriteCondition::IfPresent),
        (Some(etag), None) => Ok(match parse_etag(etag) {
            Some((md5, parts)) => WriteCondition::IfMatch(ETag { md5, parts }),
            // An entity tag that no object here can have: the condition cannot hold.
            None => WriteCondition::IfMatch(ETag { md5: [0xff; 16], parts: u16::MAX }),
        }),
        (None, Some(etag)) => Ok(match parse_etag(etag) {
            Some((md5, parts)) => WriteCondition::IfNoneMatch(ETag { md5, parts }),
            // No object here can have this entity tag.
            None => WriteCondition::Always,
        }),
        (Some(_), Some(_)) => Err(refused("If-Match together with If-None-Match")),
    }
}

/// The position that decimal digits name; one above 64 bits is behind every object's end. `None` for anything else.
fn position(text: &str) -> Option<u64> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits.then(|| number(text).unwrap_or(u64::MAX))
}

/// The bytes that a `Range` header names in an object of `size` bytes; `None` for all bytes. A header that is not a
/// single well-formed range is ignored, as AWS does. Fails with `InvalidRange` for a range behind the end.
pub fn range(header: Option<&str>, size: u64) -> Result<Option<std::ops::Range<u64>>, S3Error> {
    let Some(spec) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Ok(None);
    };
    let Some((first, last)) = spec.split_once('-') else { return Ok(None) };
    let refused = || {
        S3Error::from(ErrorCode::InvalidRange)
            .with("RangeRequested", format!("bytes={spec}"))
            .with("ActualObjectSize", size.to_string())
    };
    match (position(first.trim()), position(last.trim())) {
        (Some(first), Some(last)) if first > last => Ok(None),
        (Some(first), _) if first >= size && !spec.contains(',') => Err(refused()),
        (Some(first), Some(last)) => Ok(Some(first..last.saturating_add(1).min(size))),
        (Some(first), None) if last.is_empty() => Ok(Some(first..size)),
        (None, Some(0)) if first.is_empty() => Err(refused()),
        // The last bytes of nothing are nothing, which is no range that a response could name.
        (None, Some(_)) if first.is_empty() && size == 0 => Ok(None),
        (None, Some(last)) if first.is_empty() => Ok(Some(size.saturating_sub(last)..size)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Mutator, rounds};

    #[test]
    fn mutated_ranges_and_conditions_never_panic_and_stay_within_the_object() {
        let ranges = [
            "bytes=0-3",
            "bytes=5-",
            "bytes=-3",
            "bytes=18446744073709551615-18446744073709551616",
        ];
        let dates = ["Fri, 24 May 2013 00:00:00 GMT", "20130524T000000Z", "\"a\", W/\"b\"", "*"];
        let etag = ETag { md5: [7; 16], parts: 0 };
        let mut mutator = Mutator::new(40);
        let mut partial = 0;
        for _ in 0..rounds(20_000) {
            let text = String::from_utf8_lossy(&mutator.mutated(&ranges)).into_owned();
            let size = mutator.edge(10);
            if let Ok(Some(found)) = range(Some(&text), size) {
                assert!(
                    found.start < found.end && found.end <= size,
                    "{text}: {found:?} of {size}"
                );
                partial += 1;
            }
            let mut headers = HeaderMap::new();
            for name in [
                "if-match",
                "if-none-match",
                "if-modified-since",
                "if-unmodified-since",
                "if-range",
            ] {
                if let Ok(value) = http::HeaderValue::from_bytes(&mutator.mutated(&dates)) {
                    headers.insert(name, value);
                }
            }
            let modified = mutator.next() as i64;
            let now = mutator.next() as i64;
            let _ = judge(&headers, "", etag, modified, now);
            let _ = may_take_range(&headers, etag, modified);
            let _ = of_write(&headers);
            let _ = of_rename(&headers, "");
        }
        assert!(partial > 100, "the mutations are too coarse: {partial} ranges");
    }

    #[test]
    fn ranges_are_read_as_aws_reads_them() {
        let of = |text: &str| range(Some(text), 10);
        assert_eq!(of("bytes=0-3").unwrap(), Some(0..4));
        assert_eq!(of("bytes=5-").unwrap(), Some(5..10));
        assert_eq!(of("bytes=-3").unwrap(), Some(7..10));
        assert_eq!(of("bytes=-30").unwrap(), Some(0..10));
        assert_eq!(of("bytes=5-100").unwrap(), Some(5..10));
        for whole in
            ["bytes=3-1", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4", "bytes=", "bytes=+1-+3"]
        {
            assert_eq!(of(whole).unwrap(), None, "{whole}");
        }
        // Above 64 bits: as RFC 9110 demands, no overflow makes another range of it.
        assert_eq!(of("bytes=5-18446744073709551616").unwrap(), Some(5..10));
        assert_eq!(of("bytes=-18446744073709551616").unwrap(), Some(0..10));
        assert!(of("bytes=18446744073709551616-").is_err());
        assert!(of("bytes=10-").is_err());
        assert!(of("bytes=-0").is_err());
        assert!(range(Some("bytes=0-"), 0).is_err());
        assert!(range(Some("bytes=-0"), 0).is_err());
        assert_eq!(range(Some("bytes=-5"), 0), Ok(None));
    }

    fn of(name: &'static str, value: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, http::HeaderValue::from_bytes(value).unwrap());
        headers
    }

    #[test]
    fn a_condition_that_cannot_be_read_is_refused() {
        let etag = ETag { md5: [0; 16], parts: 0 };
        for name in ["if-match", "if-none-match", "if-unmodified-since", "if-modified-since"] {
            assert!(judge(&of(name, b"\xff"), "", etag, 0, 0).is_err(), "{name}");
        }
        for name in ["if-match", "if-none-match"] {
            assert!(of_write(&of(name, b"\xff")).is_err(), "{name}");
            let mut twice = of(name, b"*");
            twice.append(name, http::HeaderValue::from_static("*"));
            assert!(of_write(&twice).is_err(), "{name} twice");
        }
        let copy = "x-amz-copy-source-";
        assert!(
            judge(&of("x-amz-copy-source-if-unmodified-since", b"soon"), copy, etag, 0, 0).is_err()
        );
        let unread = of("if-unmodified-since", b"soon");
        assert_eq!(judge(&unread, "", etag, 0, 0), Ok(ReadVerdict::Pass));
    }

    #[test]
    fn conditions_of_a_rename_are_all_kept_or_refused() {
        let date = "Fri, 24 May 2013 00:00:00 GMT";
        let since = Some(WallTime::from_micros(1_369_353_600_000_000));
        let tag = "\"00000000000000000000000000000000\"";
        let etag = ETag { md5: [0; 16], parts: 0 };
        let none = RenameCondition::default();
        let of_tag = |write| RenameCondition { write, ..none };
        let matches = of_tag(WriteCondition::IfMatch(etag));
        let differs = of_tag(WriteCondition::IfNoneMatch(etag));
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<RenameCondition>);
        let table: &[Row<'_>] = &[
            (&[], Some(none)),
            (&[("if-match", tag)], Some(matches)),
            (&[("if-match", "*")], Some(of_tag(WriteCondition::IfPresent))),
            (&[("if-none-match", "*")], Some(of_tag(WriteCondition::IfAbsent))),
            (
                &[("if-modified-since", date)],
                Some(RenameCondition { modified_since: since, ..none }),
            ),
            (
                &[("if-unmodified-since", date)],
                Some(RenameCondition { unmodified_since: since, ..none }),
            ),
            (&[("if-match", tag), ("if-unmodified-since", date)], Some(matches)),
            (&[("if-none-match", tag), ("if-modified-since", date)], Some(differs)),
            (
                &[("if-match", tag), ("if-modified-since", date)],
                Some(RenameCondition { modified_since: since, ..matches }),
            ),
            (&[("if-match", tag), ("if-none-match", tag)], None),
            (&[("if-modified-since", "soon")], None),
            (&[("if-unmodified-since", "")], None),
        ];
        for (given, wanted) in table {
            for (prefix, other) in [("", "x-amz-rename-source-"), ("x-amz-rename-source-", "")] {
                let mut headers = HeaderMap::new();
                for (name, value) in *given {
                    let name: http::HeaderName = format!("{prefix}{name}").parse().unwrap();
                    headers.insert(name, value.parse().unwrap());
                }
                assert_eq!(of_rename(&headers, prefix).ok(), *wanted, "{prefix}: {given:?}");
                // The conditions on one object are none on the other.
                assert_eq!(of_rename(&headers, other), Ok(none), "{other}: {given:?}");
            }
        }
    }

    #[test]
    fn conditions_of_a_read_are_judged_as_http_demands() {
        use ReadVerdict::{Failed, NotModified, Pass};
        let etag = ETag { md5: [0; 16], parts: 0 };
        let (same, other) = ("\"00000000000000000000000000000000\"", "\"1\"");
        let second = 1_369_353_600;
        let table = [
            ("if-match", same.to_owned(), Pass),
            ("if-match", format!("{other}, {same}"), Pass),
            ("if-match", "*".to_owned(), Pass),
            ("if-match", other.to_owned(), Failed("If-Match")),
            ("if-match", format!("W/{same}"), Failed("If-Match")),
            ("if-none-match", same.to_owned(), NotModified),
            ("if-none-match", format!("W/{same}"), NotModified),
            ("if-none-match", format!("{other},W/{same}"), NotModified),
            ("if-none-match", other.to_owned(), Pass),
            ("if-modified-since", "Fri, 24 May 2013 00:00:00 GMT".to_owned(), NotModified),
            ("if-modified-since", "Friday, 24-May-13 00:00:00 GMT".to_owned(), NotModified),
            ("if-modified-since", "Fri May 24 00:00:00 2013".to_owned(), NotModified),
            ("if-modified-since", "Thu, 23 May 2013 23:59:59 GMT".to_owned(), Pass),
            ("if-modified-since", "Fri, 24 May 2013 00:00:09 GMT".to_owned(), NotModified),
            ("if-modified-since", "Fri, 24 May 2013 00:00:11 GMT".to_owned(), Pass),
            ("if-unmodified-since", "Fri, 24 May 2013 00:00:00 GMT".to_owned(), Pass),
            ("if-unmodified-since", "Fri, 24 May 2013 00:00:11 GMT".to_owned(), Pass),
            (
                "if-unmodified-since",
                "Thu, 23 May 2013 23:59:59 GMT".to_owned(),
                Failed("If-Unmodified-Since"),
            ),
        ];
        for (name, value, verdict) in table {
            let headers = of(name, value.as_bytes());
            let judged = judge(&headers, "", etag, second * 1_000_000 + 5, second + 10);
            assert_eq!(judged, Ok(verdict), "{name}: {value}");
        }
    }

    #[test]
    fn a_range_is_taken_of_the_object_that_if_range_names() {
        let etag = ETag { md5: [0; 16], parts: 0 };
        let second = 1_369_353_600;
        let of = |value: &str| {
            may_take_range(&of("if-range", value.as_bytes()), etag, second * 1_000_000 + 5).unwrap()
        };
        assert!(of("\"00000000000000000000000000000000\""));
        assert!(of("Fri, 24 May 2013 00:00:00 GMT"));
        for other in [
            "\"00000000000000000000000000000001\"",
            "W/\"00000000000000000000000000000000\"",
            "Fri, 24 May 2013 00:00:01 GMT",
            "Thu, 23 May 2013 00:00:00 GMT",
            "soon",
        ] {
            assert!(!of(other), "{other}");
        }
        assert!(may_take_range(&HeaderMap::new(), etag, 0).unwrap());
    }
}
