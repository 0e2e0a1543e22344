//! S3's errors: code, status, message, and the XML that carries them.

use std::fmt::Write as _;

use crate::escape::escape;

macro_rules! codes {
    ($($name:ident $text:literal $status:literal $message:literal,)*) => {
        /// An error code of S3, with its HTTP status and its standard message.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs, reason = "the names are S3's own, and documented there")]
        pub enum ErrorCode { $($name,)* }

        impl ErrorCode {
            /// The text of the code in the XML document of an error, by which clients distinguish errors.
            pub fn text(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }

            /// The HTTP status of a response with this error code, always between 400 and 599.
            pub fn status(self) -> u16 {
                match self { $(ErrorCode::$name => $status,)* }
            }

            /// The message that AWS sends with this code unless the error has a more specific one.
            pub fn message(self) -> &'static str {
                match self { $(ErrorCode::$name => $message,)* }
            }
        }
    };
}

codes! {
    AccessDenied "AccessDenied" 403 "Access Denied",
    AccessForbidden "AccessForbidden" 403 "Access forbidden.",
    AuthorizationHeaderMalformed "AuthorizationHeaderMalformed" 400 "The authorization header is malformed.",
    AuthorizationQueryParametersError "AuthorizationQueryParametersError" 400 "The authorization query parameters are malformed.",
    BadDigest "BadDigest" 400 "The Content-MD5 or checksum value that you specified did not match what the server received.",
    BadRequest "BadRequest" 400 "Bad Request",
    BucketAlreadyExists "BucketAlreadyExists" 409 "The requested bucket name is not available.",
    BucketAlreadyOwnedByYou "BucketAlreadyOwnedByYou" 409 "The bucket you tried to create already exists, and you own it.",
    BucketNotEmpty "BucketNotEmpty" 409 "The bucket you tried to delete is not empty.",
    EntityTooLarge "EntityTooLarge" 400 "Your proposed upload exceeds the maximum allowed size.",
    EntityTooSmall "EntityTooSmall" 400 "Your proposed upload is smaller than the minimum allowed size.",
    IdempotencyParameterMismatch "IdempotencyParameterMismatch" 400 "Parameters on this idempotent request are inconsistent with parameters used in previous request(s).",
    IllegalLocationConstraint "IllegalLocationConstraintException" 400 "The location constraint is incompatible for the region specific endpoint this request was sent to.",
    IncompleteBody "IncompleteBody" 400 "You did not provide the number of bytes specified by the Content-Length HTTP header.",
    InternalError "InternalError" 500 "We encountered an internal error. Please try again.",
    InvalidAccessKeyId "InvalidAccessKeyId" 403 "The AWS access key ID you provided does not exist in our records.",
    InvalidArgument "InvalidArgument" 400 "Invalid argument.",
    InvalidBucketName "InvalidBucketName" 400 "The specified bucket is not valid.",
    InvalidDigest "InvalidDigest" 400 "The Content-MD5 or checksum value that you specified is not valid.",
    InvalidLocationConstraint "InvalidLocationConstraint" 400 "The specified location constraint is not valid.",
    InvalidPart "InvalidPart" 400 "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag.",
    InvalidPartOrder "InvalidPartOrder" 400 "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
    InvalidPartNumber "InvalidPartNumber" 416 "The requested partnumber is not satisfiable",
    InvalidPolicyDocument "InvalidPolicyDocument" 400 "The content of the form does not meet the conditions specified in the policy document.",
    InvalidRange "InvalidRange" 416 "The requested range is not satisfiable.",
    InvalidRedirectLocation "InvalidRedirectLocation" 400 "The website redirect location must be non-empty.",
    InvalidRequest "InvalidRequest" 400 "Invalid request.",
    InvalidStorageClass "InvalidStorageClass" 400 "The storage class you specified is not valid.",
    InvalidTag "InvalidTag" 400 "The tag provided was not a valid tag.",
    InvalidToken "InvalidToken" 400 "The provided token is malformed or otherwise invalid.",
    InvalidUri "InvalidURI" 400 "Couldn't parse the specified URI.",
    KeyTooLong "KeyTooLongError" 400 "Your key is too long.",
    MalformedPostRequest "MalformedPOSTRequest" 400 "The body of your POST request is not well-formed multipart/form-data.",
    MalformedTrailer "MalformedTrailerError" 400 "The request contained trailing data that was not well-formed or did not conform to our published schema.",
    MalformedXml "MalformedXML" 400 "The XML you provided was not well-formed or did not validate against our published schema.",
    MaxPostPreDataLengthExceeded "MaxPostPreDataLengthExceeded" 400 "Your POST request fields preceding the upload file were too large.",
    MetadataTooLarge "MetadataTooLarge" 400 "Your metadata headers exceed the maximum allowed metadata size.",
    MethodNotAllowed "MethodNotAllowed" 405 "The specified method is not allowed against this resource.",
    MissingContentLength "MissingContentLength" 411 "You must provide the Content-Length HTTP header.",
    NoSuchBucket "NoSuchBucket" 404 "The specified bucket does not exist.",
    NoSuchBucketPolicy "NoSuchBucketPolicy" 404 "The bucket policy does not exist.",
    NoSuchCorsConfiguration "NoSuchCORSConfiguration" 404 "The CORS configuration does not exist.",
    NoSuchKey "NoSuchKey" 404 "The specified key does not exist.",
    NoSuchLifecycleConfiguration "NoSuchLifecycleConfiguration" 404 "The lifecycle configuration does not exist.",
    NoSuchObjectLockConfiguration "NoSuchObjectLockConfiguration" 404 "The specified object does not have an ObjectLock configuration.",
    NoSuchPublicAccessBlock "NoSuchPublicAccessBlockConfiguration" 404 "The public access block configuration was not found.",
    NoSuchTagSet "NoSuchTagSet" 404 "The TagSet does not exist.",
    NoSuchUpload "NoSuchUpload" 404 "The specified multipart upload does not exist. The upload ID might not be valid, or the multipart upload might have been aborted or completed.",
    NoSuchVersion "NoSuchVersion" 404 "The specified version does not exist.",
    NoSuchWebsiteConfiguration "NoSuchWebsiteConfiguration" 404 "The specified bucket does not have a website configuration.",
    NotImplemented "NotImplemented" 501 "A header or query you provided implies functionality that is not implemented.",
    ObjectLockConfigurationNotFound "ObjectLockConfigurationNotFoundError" 404 "Object Lock configuration does not exist for this bucket.",
    OwnershipControlsNotFound "OwnershipControlsNotFoundError" 404 "The bucket ownership controls were not found.",
    OperationAborted "OperationAborted" 409 "A conflicting conditional operation is currently in progress against this resource. Please try again.",
    PreconditionFailed "PreconditionFailed" 412 "At least one of the preconditions you specified did not hold.",
    ReplicationConfigurationNotFound "ReplicationConfigurationNotFoundError" 404 "The replication configuration was not found.",
    RequestHeaderSectionTooLarge "RequestHeaderSectionTooLarge" 400 "Your request header section exceeds the maximum allowed size.",
    RequestTimeTooSkewed "RequestTimeTooSkewed" 403 "The difference between the request time and the server's time is too large.",
    RequestTimeout "RequestTimeout" 400 "Your socket connection to the server was not read from or written to within the timeout period.",
    ServerSideEncryptionNotFound "ServerSideEncryptionConfigurationNotFoundError" 404 "The server side encryption configuration was not found.",
    ServiceUnavailable "ServiceUnavailable" 503 "Service is unable to handle request.",
    SignatureDoesNotMatch "SignatureDoesNotMatch" 403 "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    SlowDown "SlowDown" 503 "Please reduce your request rate.",
    XAmzContentSha256Mismatch "XAmzContentSHA256Mismatch" 400 "The provided 'x-amz-content-sha256' header does not match what was computed.",
}

/// The name of the extra value that a response contains as the header `Allow`, never as an XML element.
pub const ALLOW: &str = "Allow";

/// An error of S3 as a client receives it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}: {message}", code.text())]
pub struct S3Error {
    /// The code, by which programs distinguish errors.
    pub code: ErrorCode,
    /// The message, for people.
    pub message: String,
    /// Further elements of the XML document: names and values, in order.
    pub extra: Vec<(&'static str, String)>,
}

impl From<ErrorCode> for S3Error {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: code.message().to_owned(), extra: Vec::new() }
    }
}

impl ErrorCode {
    /// Makes an error with this code and a specific message, which replaces the standard message. The client sees the
    /// message, so it must contain nothing secret.
    pub fn because(self, message: impl Into<String>) -> S3Error {
        S3Error { code: self, message: message.into(), extra: Vec::new() }
    }
}

impl S3Error {
    /// Adds an element to the XML document, after those added before. The value is escaped when the document is
    /// written.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.extra.push((name, value.into()));
        self
    }

    /// Formats the error as S3's XML document: code, message, further elements in order, then the path of the resource,
    /// the request id and the host id. Values are escaped; [`ALLOW`] is left out.
    pub fn to_xml(&self, resource: &str, request: &str, host: &str) -> String {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
        let mut element = |name: &str, value: &str| {
            let _ = write!(out, "<{name}>{}</{name}>", escape(value));
        };
        element("Code", self.code.text());
        element("Message", &self.message);
        let elements = self.extra.iter().filter(|(name, _)| *name != ALLOW);
        elements.for_each(|(name, value)| element(name, value));
        element("Resource", resource);
        element("RequestId", request);
        element("HostId", host);
        out.push_str("</Error>");
        out
    }
}
