//! GetBucketLocation.

use s3::document::LocationConstraint;

use crate::api::context::S3Context;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};

/// GetBucketLocation: the region that the bucket was created with, or the server's for none; empty for us-east-1. Fails
/// when the bucket does not exist.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_read(request).await?.bucket;
    let region = match bucket.region.as_str() {
        "" => context.options.region.as_str(),
        region => region,
    };
    let region = if region == "us-east-1" { "" } else { region };
    response::document(&LocationConstraint(region))
}
