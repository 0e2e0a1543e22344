//! HeadBucket.

use crate::api::context::S3Context;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};

/// HeadBucket. Fails when the bucket does not exist or belongs to another user.
pub async fn head(context: &S3Context, request: &S3Request) -> HandlerResult {
    context.bucket_for_read(request).await?;
    let mut answer = response::empty(200);
    response::set(&mut answer, "x-amz-bucket-region", &context.options.region);
    Ok(answer)
}
