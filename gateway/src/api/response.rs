//! Answers: status, headers, and bodies in memory or streamed.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use compactor::outcome::WrittenVersion;
use futures::Stream;
use http::header::{CONTENT_TYPE, ETAG, IntoHeaderName, SERVER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use ingest::entry::StoredChecksum;
use s3::checksum::{ChecksumAlgorithm, etag};
use s3::document::ChecksumElements;
use s3::error::{ALLOW, ErrorCode, S3Error};
use s3::parsed_names::{CHECKSUM_TYPE, ID_2, REQUEST_ID};
use s3::xml::{XmlDocument, XmlWriter};
use serde::Serialize;

use super::version_id::{version_text, written_name};

/// The pieces of a body, in order.
pub type BodyPieces = Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send>>;

/// The response that a handler returns, or the S3 error that becomes one.
pub type HandlerResult = Result<Response<ResponseBody>, S3Error>;

/// A response's body.
pub enum ResponseBody {
    /// In memory.
    Whole(Option<Bytes>),
    /// Streamed, with the length in bytes. An error on the way resets the connection, so that no client takes a short
    /// body for a whole one.
    Stream(BodyPieces, u64),
    /// Streamed, of a length that is unknown before the end.
    Open(BodyPieces),
    /// None, for a response to HEAD with a content length.
    Head(u64),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.get_mut() {
            ResponseBody::Whole(bytes) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            ResponseBody::Stream(pieces, _) | ResponseBody::Open(pieces) => pieces
                .as_mut()
                .poll_next(context)
                .map(|next| next.map(|piece| piece.map(Frame::data))),
            ResponseBody::Head(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, ResponseBody::Whole(None) | ResponseBody::Head(_))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            ResponseBody::Open(_) => SizeHint::default(),
            ResponseBody::Stream(_, len) | ResponseBody::Head(len) => SizeHint::with_exact(*len),
        }
    }
}

/// The number of headers for which a response has space at once, enough for an object without metadata.
const HEADERS_TYPICAL: usize = 12;

/// A response with a body and status 200, and with space for its headers.
pub fn with_body(body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS_TYPICAL);
    response
}

/// A response without a body. An invalid status becomes 200.
pub fn empty(status: u16) -> Response<ResponseBody> {
    let mut response = with_body(ResponseBody::Whole(None));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    response
}

/// A response with a document and status 200. Fails with `InternalError` only for a type that cannot be XML.
pub fn document(document: &(impl XmlDocument + Serialize)) -> HandlerResult {
    Ok(xml(s3::xml::write(document)?))
}

/// A response with the text of an XML document and status 200.
pub fn xml(text: String) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Whole(Some(text.into())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// Sets a header and replaces an earlier one of its name. A value that HTTP does not allow is left out. A name that is
/// parsed already, which [`HeaderName::from_static`] does without a copy, costs less than one in text.
pub fn set(response: &mut Response<ResponseBody>, name: impl IntoHeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The response for an error: status, headers that the error implies, and the document, which a response to HEAD never
/// has.
pub fn error(error: &S3Error, path: &str, id: &str, is_head: bool) -> Response<ResponseBody> {
    let mut response = if is_head {
        empty(error.code.status())
    } else {
        let mut response = xml(error.to_xml(path, id, id));
        *response.status_mut() =
            StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response
    };
    if matches!(error.code, ErrorCode::SlowDown | ErrorCode::ServiceUnavailable) {
        set(&mut response, "retry-after", "1");
    }
    if is_head && error.code == ErrorCode::NoSuchKey {
        // A marker says `true` below. Clients tell from it whether there ever was something.
        set(&mut response, "x-amz-delete-marker", "false");
    }
    for (name, value) in &error.extra {
        match *name {
            "DeleteMarker" => set(&mut response, "x-amz-delete-marker", value),
            "VersionId" => set(&mut response, "x-amz-version-id", value),
            "LastModified" => set(&mut response, "last-modified", value),
            "ActualObjectSize" if error.code == ErrorCode::InvalidRange => {
                set(&mut response, "content-range", &format!("bytes */{value}"));
            }
            ALLOW => set(&mut response, "allow", value),
            _ => {}
        }
    }
    response
}

/// Adds the headers that every response has: the request's id, and the server's name.
pub fn add_ids(response: &mut Response<ResponseBody>, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(&REQUEST_ID, id.clone());
        response.headers_mut().insert(&ID_2, id);
    }
    response.headers_mut().insert(SERVER, HeaderValue::from_static("Siltstone"));
}

/// Adds the entity tag and the version id of a version that was written.
pub fn add_written(response: &mut Response<ResponseBody>, written: &WrittenVersion) {
    set(response, ETAG, &etag(&written.etag.md5, written.etag.parts));
    add_version(response, written);
}

/// Adds the version id of a version that was written. Version `null` has no header: neither without versioning nor while
/// versioning is suspended.
pub fn add_version(response: &mut Response<ResponseBody>, written: &WrittenVersion) {
    if !written.is_null {
        set(response, "x-amz-version-id", &version_text(written_name(written)));
    }
}

/// The algorithm of a stored checksum, and the text that clients see; `None` for an algorithm that is not known.
pub fn known_checksum(checksum: &StoredChecksum) -> Option<(ChecksumAlgorithm, String)> {
    Some((ChecksumAlgorithm::from_code(checksum.algorithm)?, checksum.text()))
}

/// Adds a stored checksum and its type. A checksum of an algorithm that is not known adds nothing.
pub fn add_checksum(response: &mut Response<ResponseBody>, checksum: &StoredChecksum) {
    let Some((algorithm, text)) = known_checksum(checksum) else { return };
    set(response, HeaderName::from_static(algorithm.header()), &text);
    set(response, &CHECKSUM_TYPE, checksum.kind());
}

/// Appends the element of a stored checksum. A checksum of an algorithm that is not known appends nothing.
pub fn checksum_element(writer: &mut XmlWriter, checksum: &StoredChecksum) {
    if let Some((algorithm, text)) = known_checksum(checksum) {
        writer.text(algorithm.element(), &text);
    }
}

/// The elements of stored checksums; without those of algorithms that are not known.
pub fn checksum_elements<'a>(
    checksums: impl IntoIterator<Item = &'a StoredChecksum>,
) -> ChecksumElements {
    let known = checksums.into_iter().filter_map(known_checksum);
    known.map(|(algorithm, text)| (algorithm.element(), text)).collect()
}
