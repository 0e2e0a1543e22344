//! Headers of requests: their text, headers in presigned queries, and headers that an operation does not support.
//!
//! Every header with a meaning for S3 must be present at most once and must be text. A header that cannot be read is
//! refused and never ignored, because a write whose condition is ignored overwrites an object unconditionally.

use http::header::AsHeaderName;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::checksum::{ChecksumAlgorithm, base64};
use crate::error::{ErrorCode, S3Error};
use crate::operation::OperationDefinition;
use crate::parsed_names::{ACL, SECURITY_TOKEN, STORAGE_CLASS};

/// Headers that are stored with an object. Their values may be any UTF-8.
pub const STORED: [&str; 6] = [
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
];

/// The prefix of headers with user metadata. Their values may be any UTF-8, and a name may be present several times.
pub const METADATA: &str = "x-amz-meta-";

/// The prefix of headers with checksums, and of three headers about checksums.
pub const CHECKSUM: &str = "x-amz-checksum-";

/// Returns true if a header contains a checksum, of a known algorithm or not. `name` must be in lower case. False for
/// the headers `x-amz-checksum-algorithm`, `-mode` and `-type`.
pub fn is_checksum(name: &str) -> bool {
    name.strip_prefix(CHECKSUM).is_some_and(|of| !matches!(of, "algorithm" | "mode" | "type"))
}

/// Headers whose value is a list, which HTTP permits to be split over several headers. SDKs that add `aws-chunked` to
/// `content-encoding` do so.
const LISTS: [&str; 4] =
    ["cache-control", "content-encoding", "content-language", "x-amz-object-attributes"];

/// The query parameters of a signature. Every other parameter whose name begins with `x-amz-` is a header.
const SIGNATURE: [&str; 7] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
    "x-amz-signature",
    "x-amz-content-sha256",
];

/// The kind of text that a header may contain.
enum HeaderText {
    Ascii,
    Utf8,
}

/// The kind of text that a header with a meaning for S3 must contain; `None` for a header without such a meaning.
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

/// Checks all headers with a meaning for S3. Fails with `InvalidArgument`, and names the header, if one is not text or
/// is present twice. Called for every request before its signature is verified.
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

/// Fails with `InvalidArgument` if a header with a meaning for S3 is present twice and must not be.
fn check_repeated(headers: &HeaderMap) -> Result<(), S3Error> {
    for name in headers.keys().map(HeaderName::as_str) {
        let may_repeat = name.starts_with(METADATA) || LISTS.contains(&name);
        if text_of(name).is_some() && !may_repeat && headers.get_all(name).iter().count() > 1 {
            return Err(invalid(name, format!("The header {name} is given twice.")));
        }
    }
    Ok(())
}

/// The text of a header; `None` if the header is absent. Fails with `InvalidArgument` if the header is present twice,
/// or contains anything but visible ASCII characters, spaces and tabs. A name that is parsed already is found faster than
/// one in text.
pub fn text<N>(headers: &HeaderMap, name: N) -> Result<Option<&str>, S3Error>
where
    N: AsHeaderName + AsRef<str> + Copy,
{
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let name = name.as_ref();
    if values.next().is_some() {
        return Err(invalid(name, format!("The header {name} is given twice.")));
    }
    let text = value.to_str();
    text.map(Some).map_err(|_| invalid(name, format!("The header {name} is not text.")))
}

/// The UTF-8 text of a header that is stored with an object; `None` if the header is absent. Several values are joined
/// with commas, in the order of the request. Fails with `InvalidArgument` for a value that is not UTF-8.
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

/// Returns true if a query parameter is a header or a part of the signature. The name of such a parameter begins with
/// `x-amz-`, in any case of letters.
pub fn is_header_in_query(name: &str) -> bool {
    name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"))
}

/// Adds the headers that a query contains. SDKs put headers there when they presign a request, in any case of letters.
/// The signature covers the whole query, so these headers are signed. Fails with `InvalidArgument` if a parameter
/// cannot be a header, or if a header of the same name is present with another value.
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

/// Returns true for the checksum of an empty body. An SDK that adds checksums by itself presigns an upload with this
/// checksum, because there is no body when the URL is made. The body that is sent with the URL later is another one.
fn is_digest_of_nothing(name: &str, value: &str) -> bool {
    ChecksumAlgorithm::with_header(name)
        .is_some_and(|algorithm| base64(&algorithm.digest(b"")) == value)
}

/// The treatment of a header that an operation does not support.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UnobeyedHeader {
    /// Accepted without an effect, because the operation would have the same result with the header.
    Ignored,
    /// Refused by operations that write, and without an effect otherwise.
    RefusedOnWrites,
    /// Refused by every operation.
    Refused,
    /// Refused by operations that write, except for these values, which request the default behaviour.
    Only(&'static [&'static str]),
}

/// The treatment of a header that an operation does not support. An unknown name is refused if it begins with one of
/// [`BINDING`], and ignored otherwise.
fn unobeyed(name: &str) -> UnobeyedHeader {
    use UnobeyedHeader::{Ignored, Only, Refused, RefusedOnWrites};
    match name {
        "x-amz-acl" => Only(&["private", "bucket-owner-full-control"]),
        "x-amz-storage-class" => RefusedOnWrites,
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
        // Every operation checks the first. The others change nothing about the result of the operation.
        "x-amz-expected-bucket-owner" | "x-amz-checksum-algorithm" | "x-amz-checksum-mode" => {
            Ignored
        }
        _ if is_checksum(name) => RefusedOnWrites,
        _ if BINDING.iter().any(|prefix| name.starts_with(prefix)) => Refused,
        _ => Ignored,
    }
}

/// The prefixes of headers that protect data or make an operation conditional. Ignoring such a header could lose data.
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

/// The canned ACLs of AWS.
const CANNED_ACLS: [&str; 8] = [
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
    "log-delivery-write",
];

/// The storage classes that an object here can have.
pub const STORAGE_CLASSES: [&str; 8] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
];

/// Storage classes of AWS that no object here can have.
const OTHER_CLASSES: [&str; 4] = ["OUTPOSTS", "SNOW", "EXPRESS_ONEZONE", "FSX_OPENZFS"];

/// Fails with `InvalidArgument` for an ACL that AWS does not have, with `InvalidStorageClass` for such a storage class, and
/// with `NotImplemented` for a storage class that only other kinds of buckets have.
pub(crate) fn check_values(headers: &HeaderMap) -> Result<(), S3Error> {
    let acl = text(headers, &ACL)?;
    if let Some(acl) = acl.filter(|acl| !CANNED_ACLS.contains(acl)) {
        let error = S3Error::from(ErrorCode::InvalidArgument);
        return Err(error.with("ArgumentName", "x-amz-acl").with("ArgumentValue", acl));
    }
    let Some(class) = text(headers, &STORAGE_CLASS)? else { return Ok(()) };
    if STORAGE_CLASSES.contains(&class) {
        return Ok(());
    }
    if OTHER_CLASSES.contains(&class) {
        return Err(ErrorCode::NotImplemented
            .because(format!("The storage class {class} is not implemented."))
            .with("Header", STORAGE_CLASS.as_str()));
    }
    Err(S3Error::from(ErrorCode::InvalidStorageClass).with("StorageClassRequested", class))
}

/// Fails with `NotImplemented` if a request has a header that the operation does not support and must not ignore.
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

/// Fails with `InvalidToken` for a request with a session token. No token can be valid, because this server issues no
/// temporary credentials.
pub fn check_token(headers: &HeaderMap) -> Result<(), S3Error> {
    match headers.get(&SECURITY_TOKEN) {
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
        let good: [&[(&str, &[u8])]; 6] = [
            &[("if-match", b"\"a\"")],
            &[("content-disposition", "attachment; filename=\"ž\"".as_bytes())],
            &[("x-amz-meta-a", b"1"), ("x-amz-meta-a", "ž".as_bytes())],
            &[("content-encoding", b"aws-chunked"), ("content-encoding", b"gzip")],
            &[("x-amz-object-attributes", b"ETag"), ("x-amz-object-attributes", b"Checksum")],
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
