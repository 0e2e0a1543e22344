//! GetBucketLocation.

use s3::document::LocationConstraint;

use crate::api::context::S3Context;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};

/// GetBucketLocation: the region of the bucket, empty for us-east-1, as HeadBucket and ListBuckets tell it. Fails when
/// the bucket does not exist.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_read(request).await?.bucket;
    let region = context.options.region_of(&bucket);
    response::document(&LocationConstraint(if region == "us-east-1" { "" } else { region }))
}
