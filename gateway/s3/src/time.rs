//! The text forms of times in S3. All times are seconds or microseconds since 1970 (UTC).

use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::macros::format_description;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

const AMZ: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");
const HTTP: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);
/// The obsolete form of RFC 850, with the year in four digits.
const RFC850: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:long], [day]-[month repr:short]-[year] [hour]:[minute]:[second] GMT"
);
/// The obsolete form of C's `asctime`.
const ASCTIME: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
);
const ISO: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
const XML: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

fn from_micros(micros: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Parses a time of the form `20130524T000000Z` and returns seconds since 1970. `None` for any other text.
pub fn parse_amz(text: &str) -> Option<i64> {
    // Every signed request has one, so the digits are read without an interpreter of formats.
    let digits = |at: std::ops::Range<usize>| text.get(at).and_then(crate::names::number::<u16>);
    let two = |at: usize| digits(at..at + 2).and_then(|number| u8::try_from(number).ok());
    if text.len() != 16 || text.get(8..9) != Some("T") || !text.ends_with('Z') {
        return None;
    }
    let month = Month::try_from(two(4)?).ok()?;
    let date = Date::from_calendar_date(digits(0..4)?.into(), month, two(6)?).ok()?;
    let time = Time::from_hms(two(9)?, two(11)?, two(13)?).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp())
}

/// Formats seconds since 1970 as `20130524T000000Z`, the form of the header `x-amz-date`. A time outside the supported
/// years is written as 1970, never as an error.
pub fn amz(seconds: i64) -> String {
    from_micros(seconds.saturating_mul(1_000_000)).format(AMZ).unwrap_or_default()
}

/// Formats seconds since 1970 as `2013-05-24T00:00:00Z`, the form of times in errors. A time outside the supported years
/// is written as 1970, never as an error.
pub fn iso(seconds: i64) -> String {
    from_micros(seconds.saturating_mul(1_000_000)).format(ISO).unwrap_or_default()
}

/// Parses a date with a zone, such as `Fri, 24 May 2013 00:00:00 +0000`, and returns seconds since 1970, negative for a
/// date before. `None` for any other text.
pub fn parse_mail(text: &str) -> Option<i64> {
    OffsetDateTime::parse(text, &Rfc2822).ok().map(|time| time.unix_timestamp())
}

/// Parses an HTTP date, such as `Fri, 24 May 2013 00:00:00 GMT`, and returns seconds since 1970. The two obsolete forms
/// (RFC 9110, 5.6.7) are read, too; years of two digits are those from 1970 to 2069. `None` for any other text.
pub fn parse_http(text: &str) -> Option<i64> {
    let parse = |text: &str, form| PrimitiveDateTime::parse(text, form).ok();
    let time = parse(text, HTTP).or_else(|| parse(text, ASCTIME));
    let time = time.or_else(|| parse(&with_century(text)?, RFC850))?;
    Some(time.assume_utc().unix_timestamp())
}

/// A date of RFC 850 with a year of four digits in place of two; `None` for another form.
fn with_century(text: &str) -> Option<String> {
    let (day, rest) = text.rsplit_once('-')?;
    let (year, time) = rest.split_once(' ').filter(|(year, _)| year.len() == 2)?;
    let century = if crate::names::number::<u8>(year)? < 70 { 20 } else { 19 };
    Some(format!("{day}-{century}{year} {time}"))
}

/// Formats microseconds since 1970 as an HTTP date, without the fraction of a second. A time outside the supported
/// years is written as 1970, never as an error.
pub fn http(micros: i64) -> String {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let time = from_micros(micros);
    let day = DAYS[usize::from(time.weekday().number_days_from_monday())];
    let month = MONTHS[usize::from(u8::from(time.month())) - 1];
    // Every answer about an object has one, so the digits are written without an interpreter of formats.
    let mut text = String::with_capacity(29);
    let two = |text: &mut String, number: u8| {
        text.push(char::from(b'0' + number / 10));
        text.push(char::from(b'0' + number % 10));
    };
    text.push_str(day);
    text.push_str(", ");
    two(&mut text, time.day());
    text.push(' ');
    text.push_str(month);
    text.push(' ');
    let year = time.year().clamp(0, 9999) as u16;
    two(&mut text, (year / 100) as u8);
    two(&mut text, (year % 100) as u8);
    for (before, number) in [(' ', time.hour()), (':', time.minute()), (':', time.second())] {
        text.push(before);
        two(&mut text, number);
    }
    text.push_str(" GMT");
    text
}

/// Formats microseconds since 1970 in the form of S3's XML, `2013-05-24T00:00:00.000Z`. A time outside the supported
/// years is written as 1970, never as an error.
pub fn xml(micros: i64) -> String {
    from_micros(micros).format(XML).unwrap_or_default()
}

/// Parses a date in a header and returns seconds since 1970, without the fraction of a second: an HTTP date,
/// `20130524T000000Z`, or RFC 3339. `None` for text of none of these forms.
pub fn parse_any(text: &str) -> Option<i64> {
    let rfc3339 = || OffsetDateTime::parse(text, &Rfc3339).ok().map(|time| time.unix_timestamp());
    // No text has two of the forms, so the one that every signed request has comes first.
    parse_amz(text).or_else(|| parse_http(text)).or_else(rfc3339)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte of a time is replaced by others; the format of the crate `time` decides what is a time.
    #[test]
    fn a_time_of_a_request_is_read_as_the_format_says() {
        let mut texts = vec![String::new(), "-20130524T000000Z".to_owned()];
        for time in ["20130524T000000Z", "20240229T235959Z", "00000101T000000Z", "20231131T245960Z"]
        {
            for at in 0..=time.len() {
                texts.push(time[..at].to_owned());
                texts.push(format!("{}0{}", &time[..at], &time[at..]));
                for byte in ["0", "1", "3", "9", "T", "Z", "-", "+", " ", "é", "t"] {
                    texts.push(format!(
                        "{}{byte}{}",
                        &time[..at],
                        time.get(at + 1..).unwrap_or("")
                    ));
                }
            }
        }
        let mut known = 0;
        for text in texts {
            let time = PrimitiveDateTime::parse(&text, AMZ).ok();
            // A sign before the year is no time of a request.
            let time = time.filter(|_| !text.starts_with(['-', '+']));
            let seconds = time.map(|time| time.assume_utc().unix_timestamp());
            assert_eq!(parse_amz(&text), seconds, "{text}");
            known += usize::from(seconds.is_some());
        }
        assert!(known > 50, "{known}");
    }

    #[test]
    fn a_date_is_written_as_the_format_says() {
        for micros in [0, 784_111_777_000_000, 1_369_353_600_999_999, 253_402_300_799_000_000, -1] {
            assert_eq!(http(micros), from_micros(micros).format(HTTP).unwrap(), "{micros}");
        }
    }

    #[test]
    fn the_three_forms_of_an_http_date_are_read() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Friday, 24-May-13 00:00:00 GMT", Some(1_369_353_600)),
            ("Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("Sunday, 06-Nov-1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sunday, 06-Nov-9é 08:49:37 GMT", None),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(parse_http(text), seconds, "{text}");
        }
    }
}
