//! HeadBucket.

use http::{Response, StatusCode};
use s3::operation::Operation;

use crate::api::context::S3Context;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult, ResponseBody};
use crate::request_operation::RequestOperation;

/// HeadBucket. Fails when the bucket does not exist or belongs to another user.
pub async fn head(context: &S3Context, request: &S3Request) -> HandlerResult {
    context.bucket_for_read(request).await?;
    Ok(response::empty(200))
}

/// Adds the region to an answer about a bucket, also to an error. Clients ask for the region without a signature, so an answer that refuses
/// access has the header, too; all buckets are in one region, so nothing is told of a bucket that the client may not see.
pub fn add_region(
    answer: &mut Response<ResponseBody>,
    operation: RequestOperation,
    context: &S3Context,
) {
    let is_told = matches!(
        operation,
        RequestOperation::S3(
            Operation::HeadBucket | Operation::ListObjects | Operation::ListObjectsV2
        )
    );
    if is_told && answer.status() != StatusCode::NOT_FOUND {
        response::set(answer, "x-amz-bucket-region", &context.options.region);
    }
}
