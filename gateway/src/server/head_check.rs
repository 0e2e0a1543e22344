//! Checks of heads that hyper accepts and RFC 9112 does not: the host, and the coding and length of the body. And the texts
//! of refusals, also of heads that hyper cannot read.
//!
//! Proxies and servers that read such a head differently can be made to see different requests in the same bytes.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode, Version};

/// The refusal of a head. The connection must be closed after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeadRefusal {
    /// No host in HTTP/1.1, more than one, or one that is not a host.
    Host,
    /// A transfer coding and a length: others on the way may have gone by the length.
    Lengths,
    /// A transfer coding other than one `chunked`. The server would take the encoded bytes for the content.
    Coding,
}

/// Fails for a head that must be refused before anything else is read from it. `has_length` is true if a content length was
/// seen in the bytes of the head, since hyper removes one beside a coding from the headers.
pub fn check<B>(request: &Request<B>, has_length: bool) -> Result<(), HeadRefusal> {
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let is_chunked =
        |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if coding.is_some_and(|coding| !is_chunked(coding)) || codings.next().is_some() {
        return Err(HeadRefusal::Coding);
    }
    if coding.is_some() && has_length {
        return Err(HeadRefusal::Lengths);
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let is_good = match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
    };
    if is_good { Ok(()) } else { Err(HeadRefusal::Host) }
}

/// Returns true for a host with or without a port, and for an empty host, which RFC 9110 permits.
fn is_host(text: &[u8]) -> bool {
    is_plain_host(text) || is_authority(text)
}

/// Returns true for a name of letters, digits, dots and hyphens, or an address of IPv4, with or without a port. Decides
/// for nearly all requests, and takes less time than [`is_authority`].
fn is_plain_host(text: &[u8]) -> bool {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let end = text.iter().position(|byte| !is_of_name(byte)).unwrap_or(text.len());
    match text[end..].split_first() {
        None => end > 0,
        Some((b':', port)) => {
            let number = std::str::from_utf8(port).ok().and_then(s3::names::number::<u16>);
            end > 0 && number.is_some()
        }
        Some(_) => false,
    }
}

/// Returns true for everything that is a host, with or without a port, and for an empty text.
fn is_authority(text: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(text) else { return text.is_empty() };
    let authority_text = authority.as_str();
    let has_port = authority_text.len() > authority.host().len();
    !authority_text.contains('@') && (!has_port || authority.port_u16().is_some())
}

impl HeadRefusal {
    /// The response, in the form of S3's errors, with `connection: close`. Never fails.
    pub fn response<B: From<Bytes>>(self) -> Response<B> {
        let (status, code, message) = match self {
            HeadRefusal::Host => (
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                "The Host header must be one valid host.",
            ),
            HeadRefusal::Lengths => (
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                "A request has a Content-Length or a Transfer-Encoding, and not both.",
            ),
            HeadRefusal::Coding => (
                StatusCode::NOT_IMPLEMENTED,
                "NotImplemented",
                "The only Transfer-Encoding that is implemented is chunked.",
            ),
        };
        let text = error_text(code, message);
        let mut response = Response::new(B::from(Bytes::from(text)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// A document in the form of S3's errors. Neither text is a client's.
fn error_text(code: &str, message: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    )
}

/// The bytes of an answer with a document, in place of the one that hyper gives to a head that it cannot read. `sent` begins
/// with hyper's answer; `None` for any other status than those of such heads.
pub fn unreadable_answer(sent: &[u8]) -> Option<Bytes> {
    let status = sent.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let status = StatusCode::from_bytes(status).ok()?;
    let (code, message) = match status {
        StatusCode::BAD_REQUEST => {
            ("BadRequest", "An error occurred when parsing the HTTP request.")
        }
        StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
            "RequestHeaderSectionTooLarge",
            "Your request header and query parameters used to make the request exceed the maximum allowed size.",
        ),
        _ => return None,
    };
    let text = error_text(code, message);
    let answer = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    Some(answer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: Version, headers: &[(&str, &str)]) -> Result<(), HeadRefusal> {
        let mut request = Request::get("/").version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap(), false)
    }

    #[test]
    fn a_head_has_one_host_that_is_one() {
        for host in ["", "a", "a:80", "my_bucket.example", "127.0.0.1:9000", "[::1]", "[::1]:9000"]
        {
            assert_eq!(of(Version::HTTP_11, &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["a b", "a/b", "user@a", "a:99999", "a:b", "[::1", "a?b", "a,b c"] {
            let refused = Err(HeadRefusal::Host);
            assert_eq!(of(Version::HTTP_11, &[("host", host)]), refused, "{host}");
            assert_eq!(of(Version::HTTP_10, &[("host", host)]), refused, "{host}");
        }
        assert_eq!(of(Version::HTTP_11, &[]), Err(HeadRefusal::Host));
        assert_eq!(of(Version::HTTP_10, &[]), Ok(()));
        let twice = [("host", "a"), ("host", "a")];
        assert_eq!(of(Version::HTTP_11, &twice), Err(HeadRefusal::Host));
    }

    #[test]
    fn a_plain_host_is_an_authority() {
        let names = ["a", "A.b-c.9", "127.0.0.1", "-", ".", "", "a_b", "a@b", "ž", "[::1]", "a b"];
        for name in names {
            for port in ["", ":", ":0", ":0080", ":9999", ":65535", ":70000", ":8a", ":80:80", " "]
            {
                let text = format!("{name}{port}");
                if is_plain_host(text.as_bytes()) {
                    assert!(is_authority(text.as_bytes()), "{text}");
                }
            }
        }
        for plain in ["localhost", "127.0.0.1:9000", "photos.s3.example.com:80"] {
            assert!(is_plain_host(plain.as_bytes()), "{plain}");
        }
    }

    #[test]
    fn a_body_has_a_length_or_a_coding() {
        let of = |coding: Option<&str>, has_length| {
            let request = Request::put("/").version(Version::HTTP_11).header("host", "a");
            let request = coding
                .into_iter()
                .fold(request, |request, coding| request.header("transfer-encoding", coding));
            check(&request.body(()).unwrap(), has_length)
        };
        assert_eq!(of(Some("chunked"), true), Err(HeadRefusal::Lengths));
        assert_eq!(of(Some("chunked"), false), Ok(()));
        assert_eq!(of(None, true), Ok(()));
        assert_eq!(of(None, false), Ok(()));
    }

    #[test]
    fn a_body_is_chunked_once_or_not_at_all() {
        for (codings, is_taken) in [
            (&["chunked"][..], true),
            (&["Chunked "], true),
            (&["gzip, chunked"], false),
            (&["chunked, chunked"], false),
            (&["chunked", "chunked"], false),
            (&["gzip", "chunked"], false),
            (&[""], false),
        ] {
            let mut headers = vec![("host", "a")];
            headers.extend(codings.iter().map(|coding| ("transfer-encoding", *coding)));
            assert_eq!(of(Version::HTTP_11, &headers).is_ok(), is_taken, "{codings:?}");
        }
    }

    #[test]
    fn an_answer_to_an_unreadable_head_has_a_document() {
        for (sent, line, code) in [
            (
                &b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n"[..],
                "400 Bad Request",
                "BadRequest",
            ),
            (b"HTTP/1.1 414 ", "414 URI Too Long", "RequestHeaderSectionTooLarge"),
            (
                b"HTTP/1.1 431",
                "431 Request Header Fields Too Large",
                "RequestHeaderSectionTooLarge",
            ),
        ] {
            let answer = String::from_utf8(unreadable_answer(sent).unwrap().to_vec()).unwrap();
            let (head, text) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {line}\r\n")), "{answer}");
            assert!(head.ends_with(&format!("content-length: {}", text.len())), "{answer}");
            assert!(text.contains(&format!("<Code>{code}</Code>")), "{answer}");
        }
        for other in
            [&b""[..], b"HTTP/1.1 4", b"HTTP/1.1 200 OK", b"HTTP/1.0 400 Bad Request", b"<html>"]
        {
            assert_eq!(unreadable_answer(other), None, "{other:?}");
        }
    }
}
