//! Bucket names, percent-encoding, query strings, and numbers in text.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::{ErrorCode, S3Error};

/// All characters except those that signatures and listings do not encode: letters, digits, `-`, `.`, `_` and `~`.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// Percent-encodes every character except letters, digits, `-`, `.`, `_` and `~`, as names and values of a signed query
/// must be encoded.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// Percent-encodes as [`encode`], but leaves `/` as it is. For paths of signatures, and for keys in listings with
/// `encoding-type=url`.
pub fn encode_path(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}

/// Decodes percent-encoding. `+` and a `%` without two hexadecimal digits are left as they are. Fails with `InvalidURI`
/// if the result is not UTF-8.
pub fn decode(text: &str) -> Result<String, S3Error> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| ErrorCode::InvalidUri.into())
}

/// Splits a query string into names and values, decoded, in the order of the query. `+` is a space, and a name without
/// `=` has an empty value. Fails with `InvalidURI` if a name or value is not UTF-8.
pub fn query(text: &str) -> Result<Vec<(String, String)>, S3Error> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
        })
        .collect()
}

/// Parses a number that consists of decimal digits only. `None` for a sign, a space or empty text, and for a number
/// that does not fit in the type.
pub fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}

/// Parses a number that consists of hexadecimal digits only. `None` for a sign, a space or empty text, and for a number
/// above 64 bits.
pub fn hex_number(text: &str) -> Option<u64> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| is_digits)
}

/// Fails with `InvalidBucketName` unless a text follows S3's rules for names of buckets: 3 to 63 lower-case letters,
/// digits, dots and hyphens, a letter or digit at both ends, no two dots in a row, no IPv4 address, and no reserved
/// prefix or suffix.
pub fn check_bucket(name: &str) -> Result<(), S3Error> {
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let looks_like_address = name.parse::<std::net::Ipv4Addr>().is_ok();
    let is_good = (3..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && edge(name.bytes().next())
        && edge(name.bytes().last())
        && !name.contains("..")
        && !looks_like_address
        && !name.starts_with("xn--")
        && !name.starts_with("sthree-")
        && !name.ends_with("-s3alias")
        && !name.ends_with("--ol-s3");
    if is_good {
        Ok(())
    } else {
        Err(S3Error::from(ErrorCode::InvalidBucketName).with("BucketName", name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_are_checked() {
        for good in ["abc", "a.b-c", "123", &"x".repeat(63)] {
            assert!(check_bucket(good).is_ok(), "{good}");
        }
        for bad in
            ["ab", "Abc", "a_b", "-ab", "ab-", "a..b", "192.168.1.1", &"x".repeat(64), "xn--abc"]
        {
            assert!(check_bucket(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_digits_alone() {
        assert_eq!(number("0"), Some(0u64));
        assert_eq!(number("0010"), Some(10u16));
        assert_eq!(number("18446744073709551615"), Some(u64::MAX));
        for bad in ["", "+5", "-5", " 5", "5 ", "5.0", "0x5", "18446744073709551616"] {
            assert_eq!(number::<u64>(bad), None, "{bad}");
        }
        assert_eq!(hex_number("00ff"), Some(255));
        for bad in ["", "+5", "-5", "g", "10000000000000000"] {
            assert_eq!(hex_number(bad), None, "{bad}");
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_refused() {
        assert!(decode("%ff").is_err());
        assert_eq!(decode("a%20b+c").unwrap(), "a b+c");
        assert_eq!(
            query("a=b+c&d").unwrap(),
            [("a".into(), "b c".into()), ("d".into(), String::new())]
        );
    }
}
