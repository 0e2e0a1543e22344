//! The requests that operations are made of.

use bytes::Bytes;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, Method};
use s3::names::{encode, encode_path};

use crate::client::SignedCall;
use crate::payload::Payload;

/// A request that can be sent, and sent again where nothing of it was.
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

    /// GetObject.
    pub fn get(bucket: &str, key: &str) -> Self {
        Self::new(Method::GET, bucket, key)
    }

    /// HeadObject.
    pub fn head(bucket: &str, key: &str) -> Self {
        Self::new(Method::HEAD, bucket, key)
    }

    /// DeleteObject.
    pub fn delete(bucket: &str, key: &str) -> Self {
        Self::new(Method::DELETE, bucket, key)
    }

    /// PutObject.
    pub fn put(bucket: &str, key: &str, body: Bytes) -> Self {
        Self { body, ..Self::new(Method::PUT, bucket, key) }
    }

    /// The same, if there is no object.
    pub fn if_absent(mut self) -> Self {
        self.headers.push((IF_NONE_MATCH, HeaderValue::from_static("*")));
        self
    }

    /// The same, if the object's ETag is this one.
    pub fn if_match(mut self, etag: &str) -> Self {
        let quoted = HeaderValue::from_str(&format!("\"{etag}\""));
        // An ETag that came in a header can go in one.
        self.headers.extend(quoted.ok().map(|etag| (IF_MATCH, etag)));
        self
    }

    /// CreateMultipartUpload.
    pub fn create_upload(bucket: &str, key: &str) -> Self {
        Self { query: "uploads=".into(), ..Self::new(Method::POST, bucket, key) }
    }

    /// UploadPart.
    pub fn part(bucket: &str, key: &str, upload: &str, number: usize, body: Bytes) -> Self {
        let query = format!("partNumber={number}&uploadId={}", encode(upload));
        Self { query, body, ..Self::new(Method::PUT, bucket, key) }
    }

    /// AbortMultipartUpload.
    pub fn abort_upload(bucket: &str, key: &str, upload: &str) -> Self {
        Self { query: upload_query(upload), ..Self::new(Method::DELETE, bucket, key) }
    }

    /// CompleteMultipartUpload, with the parts' ETags.
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

    /// A page of ListObjectsV2.
    pub fn list(bucket: &str, prefix: &str, max_keys: u32, token: Option<&str>) -> Self {
        let token = token.map(|token| format!("continuation-token={}&", encode(token)));
        let token = token.unwrap_or_default();
        let query = format!("{token}list-type=2&max-keys={max_keys}&prefix={}", encode(prefix));
        Self { query, ..Self::new(Method::GET, bucket, "") }
    }

    /// As a connection sends it.
    pub fn call(&self) -> SignedCall<'_> {
        let payload = Payload::Whole(self.body.clone());
        SignedCall { method: self.method.clone(), path: &self.path, query: &self.query, payload }
    }

    /// The headers that go with it.
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
