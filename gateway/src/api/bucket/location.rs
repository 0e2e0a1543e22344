//! GetBucketLocation.

use s3::escape::escape;
use s3::xml::XmlWriter;

use crate::api::context::S3Context;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};

/// GetBucketLocation: the region that the bucket was created with; empty for us-east-1 and for none. Fails when the bucket does not
/// exist.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_read(request).await?.bucket;
    let region = if bucket.region == "us-east-1" { "" } else { bucket.region.as_str() };
    let root = "LocationConstraint";
    // The element holds the text itself; a writer of elements has no word for that.
    let mut text = XmlWriter::new(root).finish(root);
    text.insert_str(text.len() - "</LocationConstraint>".len(), &escape(region));
    Ok(response::xml(text))
}
