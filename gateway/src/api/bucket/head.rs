//! HeadBucket.

use http::{Response, StatusCode};
use s3::operation::Operation;
use s3::parsed_names::BUCKET_REGION;

use crate::api::context::S3Context;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult, ResponseBody};
use crate::request_operation::RequestOperation;

/// HeadBucket. Fails when the bucket does not exist or belongs to another user.
pub async fn head(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_read(request).await?.bucket;
    let mut answer = response::empty(200);
    response::set(&mut answer, &BUCKET_REGION, context.options.region_of(&bucket));
    Ok(answer)
}

/// Adds the region to an answer about a bucket that does not have one yet, also to an error. Clients ask for the region
/// without a signature, so an answer that refuses access has the header, too: with the server's own region, which tells
/// nothing of a bucket that the client may not see.
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
    let has_region = || answer.headers().contains_key(&BUCKET_REGION);
    if is_told && !has_region() && answer.status() != StatusCode::NOT_FOUND {
        response::set(answer, &BUCKET_REGION, &context.options.region);
    }
}
