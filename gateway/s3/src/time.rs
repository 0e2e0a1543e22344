//! Times as S3 writes them. All are seconds or microseconds since 1970 (UTC).

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

/// Parses `20130524T000000Z`; gives seconds.
pub fn parse_amz(text: &str) -> Option<i64> {
    PrimitiveDateTime::parse(text, AMZ).ok().map(|time| time.assume_utc().unix_timestamp())
}

/// Writes seconds as `20130524T000000Z`.
pub fn amz(seconds: i64) -> String {
    from_micros(seconds.saturating_mul(1_000_000)).format(AMZ).unwrap_or_default()
}

/// Parses an HTTP date; gives seconds.
pub fn parse_http(text: &str) -> Option<i64> {
    PrimitiveDateTime::parse(text, HTTP).ok().map(|time| time.assume_utc().unix_timestamp())
}

/// Writes microseconds as an HTTP date.
pub fn http(micros: i64) -> String {
    from_micros(micros).format(HTTP).unwrap_or_default()
}

/// Writes microseconds as S3's XML has them, with milliseconds.
pub fn xml(micros: i64) -> String {
    from_micros(micros).format(XML).unwrap_or_default()
}

/// Parses a date in a header: an HTTP date or RFC 3339; gives seconds.
pub fn parse_any(text: &str) -> Option<i64> {
    let rfc3339 = || OffsetDateTime::parse(text, &Rfc3339).ok().map(|time| time.unix_timestamp());
    parse_http(text).or_else(|| parse_amz(text)).or_else(rfc3339)
}
