//! The text forms of times in S3. All times are seconds or microseconds since 1970 (UTC).

use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const AMZ: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");
const HTTP: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);
const XML: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

fn from_micros(micros: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Parses a time of the form `20130524T000000Z` and returns seconds since 1970. `None` for any other text.
pub fn parse_amz(text: &str) -> Option<i64> {
    PrimitiveDateTime::parse(text, AMZ).ok().map(|time| time.assume_utc().unix_timestamp())
}

/// Formats seconds since 1970 as `20130524T000000Z`, the form of the header `x-amz-date`. A time outside the supported
/// years is written as 1970, never as an error.
pub fn amz(seconds: i64) -> String {
    from_micros(seconds.saturating_mul(1_000_000)).format(AMZ).unwrap_or_default()
}

/// Parses an HTTP date, such as `Fri, 24 May 2013 00:00:00 GMT`, and returns seconds since 1970. `None` for any other
/// text, the obsolete forms of HTTP dates included.
pub fn parse_http(text: &str) -> Option<i64> {
    PrimitiveDateTime::parse(text, HTTP).ok().map(|time| time.assume_utc().unix_timestamp())
}

/// Formats microseconds since 1970 as an HTTP date, without the fraction of a second. A time outside the supported
/// years is written as 1970, never as an error.
pub fn http(micros: i64) -> String {
    from_micros(micros).format(HTTP).unwrap_or_default()
}

/// Formats microseconds since 1970 in the form of S3's XML, `2013-05-24T00:00:00.000Z`. A time outside the supported
/// years is written as 1970, never as an error.
pub fn xml(micros: i64) -> String {
    from_micros(micros).format(XML).unwrap_or_default()
}

/// Parses a date in a header and returns seconds since 1970, without the fraction of a second. Tries an HTTP date, then
/// `20130524T000000Z`, then RFC 3339; `None` for text of none of these forms.
pub fn parse_any(text: &str) -> Option<i64> {
    let rfc3339 = || OffsetDateTime::parse(text, &Rfc3339).ok().map(|time| time.unix_timestamp());
    parse_http(text).or_else(|| parse_amz(text)).or_else(rfc3339)
}
