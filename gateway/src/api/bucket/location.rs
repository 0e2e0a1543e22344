//! GetBucketLocation.

use s3::document::LocationConstraint;

use crate::api::context::S3Context;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};

/// GetBucketLocation: the region that the bucket was created with; empty for us-east-1 and for none. Fails when the bucket
/// does not exist.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_read(request).await?.bucket;
    let region = if bucket.region == "us-east-1" { "" } else { bucket.region.as_str() };
    response::document(&LocationConstraint(region))
}
