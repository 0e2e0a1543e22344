//! Bucket names, percent-encoding, query strings, and numbers in text.

use std::borrow::Cow;

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

/// Percent-encodes as [`encode`], without a copy of a text that stays as it is. Never fails.
pub fn encoded(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, UNRESERVED).into()
}

/// Appends a text to bytes, percent-encoded as by [`encode_path`]. The bytes before stay as they are.
pub fn encode_path_to(out: &mut Vec<u8>, text: &str) {
    for piece in utf8_percent_encode(text, PATH) {
        out.extend_from_slice(piece.as_bytes());
    }
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

/// Prefixes of names that AWS keeps for itself.
const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
/// Suffixes of names that AWS keeps for aliases and for other kinds of buckets.
const RESERVED_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// Fails with `InvalidBucketName` unless a text follows S3's rules for names of new buckets: 3 to 63 lower-case letters,
/// digits, dots and hyphens, a letter or digit at both ends of each label between dots, no form of an IPv4 address, and
/// no reserved prefix or suffix. Buckets of other names that exist already stay usable.
pub fn check_bucket(name: &str) -> Result<(), S3Error> {
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    let is_label =
        |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    let is_number = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    let looks_like_address = name.split('.').count() == 4 && name.split('.').all(is_number);
    let is_good = (3..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && name.split('.').all(is_label)
        && !looks_like_address
        && !RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        && !RESERVED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    if is_good {
        Ok(())
    } else {
        Err(S3Error::from(ErrorCode::InvalidBucketName).with("BucketName", name))
    }
}

/// Returns true if a text has the form of the name of an AWS region, such as `eu-west-1` or `us-gov-east-1`. The region of
/// a server may have another form, so it must be compared before.
pub fn is_region(text: &str) -> bool {
    let Some((words, number)) = text.rsplit_once('-') else { return false };
    let is_word = |word: &str| word.len() >= 2 && word.bytes().all(|b| b.is_ascii_lowercase());
    let is_number = (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    is_number && words.contains('-') && words.split('-').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_are_checked() {
        let good = [
            "abc",
            "a.b-c",
            "123",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.a",
            "a--b",
            "a.b.c",
            "x--x-s3-a",
            "mrap",
            "sthree",
            "s3alias",
            "192-168-1-1",
            &"x".repeat(63),
        ];
        for good in good {
            assert!(check_bucket(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            "a",
            "ab",
            "Abc",
            "a_b",
            "a b",
            "až",
            "-ab",
            "ab-",
            ".ab",
            "ab.",
            "a..b",
            "a.-b",
            "a-.b",
            "192.168.1.1",
            "999.999.999.999",
            "1.2.3.004",
            &"x".repeat(64),
            "xn--abc",
            "sthree-abc",
            "sthree-configurator",
            "amzn-s3-demo-abc",
            "abc-s3alias",
            "abc--ol-s3",
            "abc.mrap",
            "abc--x-s3",
            "abc--table-s3",
            "a/b",
        ];
        for bad in bad {
            let error = check_bucket(bad).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidBucketName, "{bad}");
        }
    }

    #[test]
    fn regions_are_told_by_their_form() {
        for region in
            ["us-east-1", "eu-central-2", "us-gov-east-1", "us-isob-east-1", "eusc-de-east-1"]
        {
            assert!(is_region(region), "{region}");
        }
        for other in [
            "",
            "EU",
            "us-east",
            "us-east-",
            "-1",
            "us-1",
            "us-east-1a",
            "US-EAST-1",
            "us--1",
            "us-east-123",
        ] {
            assert!(!is_region(other), "{other}");
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
