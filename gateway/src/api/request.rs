//! A request as handlers see it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::AsHeaderName;
use http::request::Parts;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use ingest::ids::{PartNumber, UploadId};
use ingest::name::{NameError, ObjectKey};
use s3::error::{ErrorCode, S3Error};
use s3::headers;
use s3::names::number;
use s3::operation::OperationDefinition;
use s3::sigv4::VerifiedRequest;

use crate::config::User;

/// The highest part number.
pub const PARTS_MAX: u16 = 10_000;

/// The body of a request.
pub enum RequestBody {
    /// Received over a connection.
    Wire(Incoming),
    /// In memory, for a request that is made in this process.
    Memory(Option<Bytes>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            RequestBody::Wire(body) => Pin::new(body).poll_frame(context),
            RequestBody::Memory(bytes) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Wire(body) => body.is_end_stream(),
            RequestBody::Memory(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Wire(body) => body.size_hint(),
            RequestBody::Memory(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}

/// A request whose signature has been verified.
pub struct S3Request {
    /// The id of the request, which every response and every line of the log has.
    pub id: String,
    /// The user who signed the request.
    pub user: Arc<User>,
    /// The result of the signature's verification.
    pub verified: VerifiedRequest,
    /// The operation of the table that the request asks for; `None` for SQL, and until it is found.
    pub operation: Option<&'static OperationDefinition>,
    /// Method, target and headers.
    pub parts: Parts,
    /// The query's names and values, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The bucket's name, not validated; `None` for the service itself.
    pub bucket: Option<String>,
    /// The key, not validated; `None` for a bucket.
    pub key: Option<String>,
}

impl S3Request {
    /// The value of the first query parameter with a name; empty for a parameter without a value, `None` without the
    /// parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The text of a header; `None` without the header. Fails for a header that is not text and for one that occurs
    /// twice.
    pub fn header<N>(&self, name: N) -> Result<Option<&str>, S3Error>
    where
        N: AsHeaderName + AsRef<str> + Copy,
    {
        headers::text(&self.parts.headers, name)
    }

    /// The key. Fails with `KeyTooLong` or `InvalidUri` for a key that no object can have.
    pub fn object_key(&self) -> Result<ObjectKey, S3Error> {
        let key = self.key.clone().unwrap_or_default();
        let len = key.len();
        ObjectKey::new(key.into_bytes()).map_err(|error| match error {
            NameError::TooLong { limit, .. } => S3Error::from(ErrorCode::KeyTooLong)
                .with("Size", len.to_string())
                .with("MaxSizeAllowed", limit.to_string()),
            NameError::Empty | NameError::Character => ErrorCode::InvalidUri.into(),
        })
    }

    /// The upload id that the query names. Fails with `NoSuchUpload` for a text that this store never gives as an id.
    pub fn upload(&self) -> Result<UploadId, S3Error> {
        let text = self.query("uploadId").unwrap_or_default();
        upload_id(text).ok_or_else(|| ErrorCode::NoSuchUpload.into())
    }

    /// The part number that the query names. Fails with `InvalidArgument` for any text but a number from 1 to 10000.
    pub fn part_number(&self) -> Result<PartNumber, S3Error> {
        let text = self.query("partNumber").unwrap_or_default();
        let number = number(text).filter(|number| (1..=PARTS_MAX).contains(number));
        number.map(PartNumber::new).ok_or_else(|| {
            ErrorCode::InvalidArgument
                .because("Part number must be an integer between 1 and 10000, inclusive")
                .with("ArgumentName", "partNumber")
                .with("ArgumentValue", text)
        })
    }
}

/// The upload id that a text stands for; `None` for a text that this store never gives.
pub fn upload_id(text: &str) -> Option<UploadId> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id).ok().map(|()| UploadId(id))
}
