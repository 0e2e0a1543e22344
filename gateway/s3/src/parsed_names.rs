//! Names of S3's headers, parsed once.
//!
//! A map of headers that is searched for a text parses the text first, which takes longer than the search. The names here
//! are those that every request to an object, or every response, is concerned with.

use http::HeaderName;

/// The time of a request with a signature.
pub static DATE: HeaderName = HeaderName::from_static("x-amz-date");
/// The statement of a request about its body.
pub static CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
/// The token of temporary credentials.
pub static SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
/// A canned access control list.
pub static ACL: HeaderName = HeaderName::from_static("x-amz-acl");
/// The storage class of an object.
pub static STORAGE_CLASS: HeaderName = HeaderName::from_static("x-amz-storage-class");
/// The source of a copy.
pub static COPY_SOURCE: HeaderName = HeaderName::from_static(crate::operation::COPY_SOURCE);
/// The owner of the bucket whom the client expects.
pub static EXPECTED_OWNER: HeaderName = HeaderName::from_static("x-amz-expected-bucket-owner");
/// The request of a client for the checksums of an object.
pub static CHECKSUM_MODE: HeaderName = HeaderName::from_static("x-amz-checksum-mode");
/// The kind of an object's checksum.
pub static CHECKSUM_TYPE: HeaderName = HeaderName::from_static("x-amz-checksum-type");
/// MD5 of a body.
pub static CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
/// The trailers of a body.
pub static TRAILER: HeaderName = HeaderName::from_static("x-amz-trailer");
/// The tags of a new object.
pub static TAGGING: HeaderName = HeaderName::from_static("x-amz-tagging");
/// The region of a bucket.
pub static BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");
/// The id of a request.
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
/// The second id of a request, which AWS's support asks for.
pub static ID_2: HeaderName = HeaderName::from_static("x-amz-id-2");
