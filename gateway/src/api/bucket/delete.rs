//! DeleteBucket.

use compactor::outcome::{RecordOutcome, Rejection};
use s3::error::{ErrorCode, S3Error};

use crate::api::context::S3Context;
use crate::api::errors::unexpected;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};

/// DeleteBucket; open uploads are removed with the bucket. Fails with `BucketNotEmpty` when a version is in the bucket, and
/// with `OperationAborted` when the bucket is written to meanwhile.
pub async fn delete(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    match context.delete_bucket(request, bucket.id).await? {
        RecordOutcome::Done => Ok(response::empty(204)),
        RecordOutcome::Rejected(Rejection::BucketNotEmpty) => {
            Err(S3Error::from(ErrorCode::BucketNotEmpty).with("BucketName", bucket.name.as_str()))
        }
        other => Err(unexpected(&other)),
    }
}
