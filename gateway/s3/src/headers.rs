//! Headers of requests: their text, those that a query stands for, and those that an operation must obey.
//!
//! A header that matters is there once and is text: one that cannot be read is refused, since a condition that is
//! dropped is an unconditional overwrite.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::checksum::{ChecksumAlgorithm, base64};
use crate::error::{ErrorCode, S3Error};
use crate::operation::OperationDefinition;

/// Headers that are stored with an object and may hold any UTF-8.
pub const STORED: [&str; 6] = [
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
];

/// User metadata: any names, any UTF-8, and as often as the client likes.
pub const METADATA: &str = "x-amz-meta-";

/// The beginning of headers with checksums.
pub const CHECKSUM: &str = "x-amz-checksum-";

/// Tells whether a header carries a checksum, of an algorithm that is known or not.
pub fn is_checksum(name: &str) -> bool {
    name.strip_prefix(CHECKSUM).is_some_and(|of| !matches!(of, "algorithm" | "mode" | "type"))
}

/// Lists, which HTTP lets a client spread over several headers. An SDK that says `aws-chunked` does.
const LISTS: [&str; 3] = ["cache-control", "content-encoding", "content-language"];

/// Query names of a signature. All other `x-amz-` names of a query stand for headers.
const SIGNATURE: [&str; 7] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
    "x-amz-signature",
    "x-amz-content-sha256",
];

/// The kinds of text that a header may hold.
enum HeaderText {
    Ascii,
    Utf8,
}

/// The kind of text in a header that matters; none for one that says nothing here.
fn text_of(name: &str) -> Option<HeaderText> {
    if STORED.contains(&name) || name.starts_with(METADATA) {
        return Some(HeaderText::Utf8);
    }
    let matters = name.starts_with("x-amz-")
        || name.starts_with("if-")
        || matches!(name, "authorization" | "range" | "content-range" | "content-md5" | "date");
    matters.then_some(HeaderText::Ascii)
}

fn invalid(name: &str, message: String) -> S3Error {
    ErrorCode::InvalidArgument.because(message).with("ArgumentName", name)
}

/// Refuses headers that matter and are not text, or are there twice.
pub fn check_text(headers: &HeaderMap) -> Result<(), S3Error> {
    for (name, value) in headers {
        let name = name.as_str();
        let is_text = match text_of(name) {
            None => continue,
            Some(HeaderText::Ascii) => value.to_str().is_ok(),
            Some(HeaderText::Utf8) => std::str::from_utf8(value.as_bytes()).is_ok(),
        };
        if !is_text {
            return Err(invalid(name, format!("The header {name} is not text.")));
        }
    }
    if headers.len() > headers.keys_len() {
        check_repeated(headers)?;
    }
    Ok(())
}

/// Refuses headers that matter and are there twice.
fn check_repeated(headers: &HeaderMap) -> Result<(), S3Error> {
    for name in headers.keys().map(HeaderName::as_str) {
        let may_repeat = name.starts_with(METADATA) || LISTS.contains(&name);
        if text_of(name).is_some() && !may_repeat && headers.get_all(name).iter().count() > 1 {
            return Err(invalid(name, format!("The header {name} is given twice.")));
        }
    }
    Ok(())
}

/// A header's text in ASCII; none where it is not there. Not ASCII, or there twice: refused.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, S3Error> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid(name, format!("The header {name} is given twice.")));
    }
    let text = value.to_str();
    text.map(Some).map_err(|_| invalid(name, format!("The header {name} is not text.")))
}

/// A stored header's text in UTF-8, its lines joined; none where it is not there.
pub fn stored(headers: &HeaderMap, name: &str) -> Result<Option<String>, S3Error> {
    let mut joined: Option<String> = None;
    for value in headers.get_all(name) {
        let text = std::str::from_utf8(value.as_bytes());
        let text = text.map_err(|_| invalid(name, format!("The header {name} is not text.")))?;
        joined = Some(match joined {
            None => text.to_owned(),
            Some(before) => format!("{before},{text}"),
        });
    }
    Ok(joined)
}

/// Tells whether a query name stands for a header or belongs to the signature.
pub fn is_header_in_query(name: &str) -> bool {
    name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"))
}

/// Adds the headers that the query stands for: SDKs that presign place them there, in any case of letters. The query
/// is signed whole, so these headers are. A header that says otherwise is refused.
pub fn add_from_query(headers: &mut HeaderMap, query: &[(String, String)]) -> Result<(), S3Error> {
    let mut is_changed = false;
    for (name, value) in query.iter().filter(|(name, _)| is_header_in_query(name)) {
        let name = name.to_ascii_lowercase();
        if SIGNATURE.contains(&name.as_str()) || is_digest_of_nothing(&name, value) {
            continue;
        }
        let cannot = || invalid(&name, format!("The parameter {name} cannot be a header."));
        let header = HeaderName::try_from(name.as_str()).map_err(|_| cannot())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| cannot())?;
        match headers.get(&header) {
            None => {
                headers.insert(header, value);
                is_changed = true;
            }
            Some(before) if *before == value => {}
            Some(_) => {
                let message = format!("The parameter {name} and the header differ.");
                return Err(invalid(&name, message));
            }
        }
    }
    if is_changed { check_text(headers) } else { Ok(()) }
}

/// An SDK that computes checksums by itself presigns an upload with that of the body that it has then: none. The
/// body that the URL's holder sends is another.
fn is_digest_of_nothing(name: &str, value: &str) -> bool {
    ChecksumAlgorithm::with_header(name)
        .is_some_and(|algorithm| base64(&algorithm.digest(b"")) == value)
}

/// The fate of a header that an operation does not obey.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UnobeyedHeader {
    /// Nothing: it promises nothing to this operation.
    Ignored,
    /// Refused on writes.
    RefusedOnWrites,
    /// Refused.
    Refused,
    /// Refused on writes but for these values, which ask for what is done anyway. No operation obeys it in full.
    Only(&'static [&'static str]),
}

/// The rule for a header that an operation does not obey. A name that nobody knows is refused where it begins like
/// those that bind or protect.
fn unobeyed(name: &str) -> UnobeyedHeader {
    use UnobeyedHeader::{Ignored, Only, Refused, RefusedOnWrites};
    match name {
        "x-amz-acl" => Only(&["private", "bucket-owner-full-control"]),
        "x-amz-storage-class" => Only(&["STANDARD"]),
        "x-amz-bucket-object-lock-enabled" => Only(&["false", "False", "FALSE"]),
        "x-amz-bucket-namespace" => Only(&["global"]),
        "x-amz-checksum-type" => Only(&["FULL_OBJECT"]),
        "if-match" | "if-none-match" | "if-modified-since" | "if-unmodified-since" => {
            RefusedOnWrites
        }
        "content-range" => RefusedOnWrites,
        "x-amz-tagging"
        | "x-amz-website-redirect-location"
        | "x-amz-metadata-directive"
        | "x-amz-tagging-directive"
        | "x-amz-object-ownership" => RefusedOnWrites,
        "x-amz-mfa"
        | "x-amz-mp-object-size"
        | "x-amz-write-offset-bytes"
        | "x-amz-create-session-mode"
        | "x-amz-client-token"
        | "x-amz-object-annotation-directive"
        | "x-amz-confirm-remove-self-bucket-access"
        | "x-amz-skip-destination-validation"
        | "x-amz-transition-default-minimum-object-size" => Refused,
        // Every operation obeys the first; the others are hints.
        "x-amz-expected-bucket-owner" | "x-amz-checksum-algorithm" | "x-amz-checksum-mode" => {
            Ignored
        }
        _ if is_checksum(name) => RefusedOnWrites,
        _ if BINDING.iter().any(|prefix| name.starts_with(prefix)) => Refused,
        _ => Ignored,
    }
}

/// The beginnings of headers that bind or protect.
const BINDING: [&str; 12] = [
    "x-amz-server-side-encryption",
    "x-amz-copy-source",
    "x-amz-rename-source",
    "x-amz-source-",
    "x-amz-expected-",
    "x-amz-if-",
    "x-amz-object-if-",
    "x-amz-object-lock",
    "x-amz-bucket-object-lock",
    "x-amz-grant-",
    "x-amz-write-",
    "x-amz-append-",
];

/// Storage classes of AWS's.
const STORAGE_CLASSES: [&str; 12] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "OUTPOSTS",
    "GLACIER_IR",
    "SNOW",
    "EXPRESS_ONEZONE",
    "FSX_OPENZFS",
];

/// Refuses headers that bind or protect something and that the operation does not obey.
pub(crate) fn check(definition: &OperationDefinition, headers: &HeaderMap) -> Result<(), S3Error> {
    for name in headers.keys().map(HeaderName::as_str) {
        if definition.obeys(name) {
            continue;
        }
        let is_refused = match unobeyed(name) {
            UnobeyedHeader::Ignored => false,
            UnobeyedHeader::Refused => true,
            UnobeyedHeader::RefusedOnWrites => definition.is_write(),
            UnobeyedHeader::Only(values) => {
                let value = text(headers, name)?.unwrap_or_default();
                if name == "x-amz-storage-class" && !STORAGE_CLASSES.contains(&value) {
                    return Err(S3Error::from(ErrorCode::InvalidStorageClass)
                        .with("StorageClassRequested", value));
                }
                definition.is_write() && !values.contains(&value)
            }
        };
        if is_refused {
            return Err(ErrorCode::NotImplemented
                .because(format!("{name} is not implemented for {}.", definition.name))
                .with("Header", name));
        }
    }
    Ok(())
}

/// Refuses temporary credentials: nobody gives any out here, so a token is nobody's.
pub fn check_token(headers: &HeaderMap) -> Result<(), S3Error> {
    match headers.get("x-amz-security-token") {
        None => Ok(()),
        Some(_) => Err(ErrorCode::InvalidToken.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn query(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn a_header_that_matters_is_text_and_there_once() {
        let good: [&[(&str, &[u8])]; 5] = [
            &[("if-match", b"\"a\"")],
            &[("content-disposition", "attachment; filename=\"ž\"".as_bytes())],
            &[("x-amz-meta-a", b"1"), ("x-amz-meta-a", "ž".as_bytes())],
            &[("content-encoding", b"aws-chunked"), ("content-encoding", b"gzip")],
            &[("user-agent", b"\xff"), ("accept", b"a"), ("accept", b"b")],
        ];
        for headers in good {
            assert_eq!(check_text(&of(headers)), Ok(()), "{headers:?}");
        }
        let bad: [&[(&str, &[u8])]; 8] = [
            &[("if-match", "\"ž\"".as_bytes())],
            &[("if-none-match", b"\xff")],
            &[("x-amz-copy-source-if-match", b"\xff")],
            &[("x-amz-expected-bucket-owner", b"\xff")],
            &[("content-md5", b"\xff")],
            &[("content-type", b"\xe9")],
            &[("x-amz-meta-a", b"caf\xe9")],
            &[("range", b"bytes=0-1"), ("range", b"bytes=2-3")],
        ];
        for headers in bad {
            assert_eq!(check_text(&of(headers)).unwrap_err().code, ErrorCode::InvalidArgument);
        }
        let twice = of(&[("if-match", b"\"a\""), ("if-match", b"\"b\"")]);
        assert_eq!(text(&twice, "if-match").unwrap_err().code, ErrorCode::InvalidArgument);
        let joined = of(&[("cache-control", b"private"), ("cache-control", b"no-store")]);
        assert_eq!(stored(&joined, "cache-control").unwrap().unwrap(), "private,no-store");
    }

    #[test]
    fn a_query_stands_for_headers() {
        let mut headers = of(&[("host", b"h"), ("x-amz-acl", b"private")]);
        let given = query(&[
            ("X-Amz-Meta-Name", "ž"),
            ("x-amz-tagging", "a=1"),
            ("X-Amz-Acl", "private"),
            ("X-Amz-Signature", "0"),
            ("x-amz-checksum-crc32", "AAAAAA=="),
            ("x-id", "PutObject"),
        ]);
        add_from_query(&mut headers, &given).unwrap();
        assert_eq!(headers.get("x-amz-meta-name").unwrap().as_bytes(), "ž".as_bytes());
        assert_eq!(headers.get("x-amz-tagging").unwrap(), "a=1");
        assert_eq!(headers.len(), 4);

        for bad in [
            query(&[("x-amz-acl", "public-read")]),
            query(&[("x-amz-tagging", "a=1"), ("X-Amz-Tagging", "a=2")]),
            query(&[("x-amz-tagging", "ž")]),
            query(&[("x-amz-meta-a", "1\r\nx-evil: 1")]),
            query(&[("x-amz-meta- a", "1")]),
        ] {
            let mut headers = of(&[("x-amz-acl", b"private")]);
            let error = add_from_query(&mut headers, &bad).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{bad:?}");
        }
    }
}
