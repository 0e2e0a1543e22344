//! Sources of payload: the body of a request, and a stored object.

use bytes::Bytes;
use query::object::ObjectBody;
use s3::error::S3Error;

use crate::api::errors::read_error;

/// A source of payload.
pub trait PayloadSource {
    /// The next bytes, in order; `None` at the end. Fails when the source ends early or is damaged.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, S3Error>> + Send;
}

impl PayloadSource for ObjectBody {
    async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        ObjectBody::next(self).await.map_err(read_error)
    }
}
