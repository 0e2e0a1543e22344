//! Places at which a page of a list begins: markers and continuation tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use query::listing::ListStart;
use s3::error::{ErrorCode, S3Error};

/// A continuation token: kind, key, and a checksum by which a changed token is recognised as an error.
pub fn token(from: &ListStart) -> String {
    let (kind, key) = match from {
        ListStart::Start => (b's', &[][..]),
        ListStart::After(key) | ListStart::AfterVersion(key, _) => (b'k', key.as_ref()),
        ListStart::AfterPrefix(prefix) => (b'p', prefix.as_ref()),
    };
    let mut bytes = vec![1, kind];
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn parse_token(text: &str) -> Result<ListStart, S3Error> {
    let parse = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let key = Bytes::copy_from_slice(body.get(2..)?);
        match (crc32c::crc32c(body).to_le_bytes() == *crc, &body[..2]) {
            (true, [1, b'k']) => Some(ListStart::After(key)),
            (true, [1, b'p']) => Some(ListStart::AfterPrefix(key)),
            _ => None,
        }
    };
    parse().ok_or_else(|| {
        ErrorCode::InvalidArgument.because("The continuation token provided is incorrect")
    })
}

/// The place after a marker. A marker within a common prefix means the place after every key below that prefix, which was
/// on an earlier page.
pub fn after_marker(marker: &str, prefix: &str, delimiter: &str) -> ListStart {
    if marker.is_empty() {
        return ListStart::Start;
    }
    let after_delimiter = match marker.strip_prefix(prefix).filter(|_| !delimiter.is_empty()) {
        Some(rest) => rest.find(delimiter).map(|at| prefix.len() + at + delimiter.len()),
        None => None,
    };
    match after_delimiter {
        Some(end) => ListStart::AfterPrefix(Bytes::copy_from_slice(&marker.as_bytes()[..end])),
        None => ListStart::After(Bytes::copy_from_slice(marker.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Mutator, rounds};

    #[test]
    fn a_marker_within_a_common_prefix_is_after_all_of_the_prefix() {
        let key = |text: &str| ListStart::After(Bytes::copy_from_slice(text.as_bytes()));
        let common = |text: &str| ListStart::AfterPrefix(Bytes::copy_from_slice(text.as_bytes()));
        for (marker, prefix, delimiter, wanted) in [
            ("", "a/", "/", ListStart::Start),
            ("a/b/c", "a/", "/", common("a/b/")),
            ("a/b/", "a/", "/", common("a/b/")),
            ("a/b", "a/", "/", key("a/b")),
            ("a/b/c", "", "/", common("a/")),
            ("a/b/c", "a/b/", "/", key("a/b/c")),
            ("a/b/c", "b/", "/", key("a/b/c")),
            ("a/b/c", "a/", "", key("a/b/c")),
            ("aéxxb", "a", "é", common("aé")),
            ("a--b--", "", "--", common("a--")),
        ] {
            assert_eq!(after_marker(marker, prefix, delimiter), wanted, "{marker}");
        }
    }

    #[test]
    fn mutated_tokens_are_refused_or_are_told_as_they_were_given() {
        let seeds = [
            token(&ListStart::After(Bytes::from_static(b"folder/key"))),
            token(&ListStart::AfterPrefix(Bytes::from_static(b"folder/"))),
            token(&ListStart::Start),
        ];
        let mut mutator = Mutator::new(42);
        let mut accepted = 0;
        for _ in 0..rounds(20_000) {
            let text = String::from_utf8_lossy(&mutator.mutated(&seeds)).into_owned();
            if let Ok(start) = parse_token(&text) {
                assert_eq!(token(&start), text);
                accepted += 1;
            }
            let delimiter =
                String::from_utf8_lossy(&mutator.mutated(&["/", "a/", "ä"])).into_owned();
            let _ = after_marker(&text, "fol", &delimiter);
        }
        assert!(accepted > 20, "the mutations are too coarse: {accepted} passed");
    }
}
