//! Builds the requests of which operations consist.

use bytes::Bytes;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, Method};
use s3::names::{encode, encode_path};

use crate::client::SignedCall;
use crate::payload::Payload;

/// A request that can be sent, and sent again if nothing of it was sent before.
#[derive(Clone, Debug)]
pub struct HistoryRequest {
    method: Method,
    path: String,
    query: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl HistoryRequest {
    fn new(method: Method, bucket: &str, key: &str) -> Self {
        let path = match key {
            "" => encode_path(&format!("/{bucket}")),
            key => encode_path(&format!("/{bucket}/{key}")),
        };
        Self { method, path, query: String::new(), headers: Vec::new(), body: Bytes::new() }
    }

    /// GetObject: reads an object with its body, unless there is none.
    pub fn get(bucket: &str, key: &str) -> Self {
        Self::new(Method::GET, bucket, key)
    }

    /// HeadObject: reads the headers of an object, unless there is none. The answer has no body, also after
    /// an error.
    pub fn head(bucket: &str, key: &str) -> Self {
        Self::new(Method::HEAD, bucket, key)
    }

    /// DeleteObject without a version: removes the current object, and succeeds also if there is none.
    pub fn delete(bucket: &str, key: &str) -> Self {
        Self::new(Method::DELETE, bucket, key)
    }

    /// PutObject with the whole body in one piece, without a condition unless [`Self::if_absent`] or
    /// [`Self::if_match`] adds one.
    pub fn put(bucket: &str, key: &str, body: Bytes) -> Self {
        Self { body, ..Self::new(Method::PUT, bucket, key) }
    }

    /// Adds the condition that there is no object (`If-None-Match: *`); the store must refuse the write with
    /// 412 otherwise.
    pub fn if_absent(mut self) -> Self {
        self.headers.push((IF_NONE_MATCH, HeaderValue::from_static("*")));
        self
    }

    /// Adds the condition that the object's ETag is `etag`, given without quotes; the store must refuse the
    /// write otherwise.
    ///
    /// An ETag that cannot be the value of a header adds no condition, so the caller must only pass ETags
    /// that the store has returned.
    pub fn if_match(mut self, etag: &str) -> Self {
        let quoted = HeaderValue::from_str(&format!("\"{etag}\""));
        // An ETag that was returned in a header can be sent in one.
        self.headers.extend(quoted.ok().map(|etag| (IF_MATCH, etag)));
        self
    }

    /// CreateMultipartUpload: begins an upload, whose id the answer's `UploadId` contains. Must be sent
    /// before any part.
    pub fn create_upload(bucket: &str, key: &str) -> Self {
        Self { query: "uploads=".into(), ..Self::new(Method::POST, bucket, key) }
    }

    /// UploadPart: sends part `number`, counted from 1, of the upload with id `upload`. The key must be that
    /// of the upload.
    pub fn part(bucket: &str, key: &str, upload: &str, number: usize, body: Bytes) -> Self {
        let query = format!("partNumber={number}&uploadId={}", encode(upload));
        Self { query, body, ..Self::new(Method::PUT, bucket, key) }
    }

    /// AbortMultipartUpload: removes an upload and its parts. Only an upload that was not completed before
    /// can be aborted.
    pub fn abort_upload(bucket: &str, key: &str, upload: &str) -> Self {
        Self { query: upload_query(upload), ..Self::new(Method::DELETE, bucket, key) }
    }

    /// CompleteMultipartUpload with the parts' ETags, ordered by part number from 1 and without gaps. The
    /// answer may be an error even after a 200.
    pub fn complete_upload(bucket: &str, key: &str, upload: &str, etags: &[String]) -> Self {
        let mut xml = String::from("<CompleteMultipartUpload>");
        for (index, etag) in etags.iter().enumerate() {
            let number = index + 1;
            xml += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        xml += "</CompleteMultipartUpload>";
        let query = upload_query(upload);
        Self { query, body: xml.into(), ..Self::new(Method::POST, bucket, key) }
    }

    /// ListObjectsV2: one page of at most `max_keys` keys in the order of the keys.
    ///
    /// `token` must be the continuation token of the page before; `None` begins the listing.
    pub fn list(bucket: &str, prefix: &str, max_keys: u32, token: Option<&str>) -> Self {
        let token = token.map(|token| format!("continuation-token={}&", encode(token)));
        let token = token.unwrap_or_default();
        let query = format!("{token}list-type=2&max-keys={max_keys}&prefix={}", encode(prefix));
        Self { query, ..Self::new(Method::GET, bucket, "") }
    }

    /// Returns the request in the form that a connection signs and sends. Each call can be sent once only;
    /// the body is shared, not copied.
    pub fn call(&self) -> SignedCall<'_> {
        let payload = Payload::Whole(self.body.clone());
        SignedCall { method: self.method.clone(), path: &self.path, query: &self.query, payload }
    }

    /// Returns the headers that are sent beside the signed ones: at most the conditions, in the order in
    /// which they were added.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }
}

fn upload_query(upload: &str) -> String {
    format!("uploadId={}", encode(upload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_sorted_and_encoded_as_signing_wants_them() {
        let list = HistoryRequest::list("b", "a/", 12, Some("x="));
        assert_eq!(list.path, "/b");
        assert_eq!(list.query, "continuation-token=x%3D&list-type=2&max-keys=12&prefix=a%2F");
        assert_eq!(HistoryRequest::list("b", "", 1, None).query, "list-type=2&max-keys=1&prefix=");
        let part = HistoryRequest::part("b", "hot/1", "u", 2, Bytes::new());
        assert_eq!(
            (part.path.as_str(), part.query.as_str()),
            ("/b/hot/1", "partNumber=2&uploadId=u")
        );
    }

    #[test]
    fn conditions_are_headers() {
        let put = HistoryRequest::put("b", "k", Bytes::from_static(b"x"));
        assert!(put.headers().is_empty());
        assert_eq!(put.clone().if_absent().headers()[0].1, "*");
        let (name, value) = put.if_match("ab").headers()[0].clone();
        assert_eq!((name, value.to_str().unwrap()), (IF_MATCH, "\"ab\""));
    }
}
