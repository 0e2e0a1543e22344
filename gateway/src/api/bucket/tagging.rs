//! GetBucketTagging, PutBucketTagging and DeleteBucketTagging.

use ingest::record::ConfigKind;
use s3::error::{ErrorCode, S3Error};
use s3::operation::body::DOCUMENT_BYTES_MAX;
use s3::xml;

use crate::api::body;
use crate::api::context::S3Context;
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::{self, HandlerResult};
use crate::api::tag_set::{self, Tagged};

/// GetBucketTagging. Fails with `NoSuchTagSet` for a bucket without tags.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_read(request).await?.bucket;
    let tags = bucket.documents.get(&ConfigKind::TAGGING);
    let tags = tags.ok_or_else(|| S3Error::from(ErrorCode::NoSuchTagSet))?;
    Ok(response::xml(String::from_utf8_lossy(&tags.bytes).into_owned()))
}

/// PutBucketTagging: replaces all tags. Fails with `MalformedXml` or `InvalidTag` before anything changes.
pub async fn put(context: &S3Context, request: &S3Request, body: RequestBody) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    let document = body::take_document(context, request, body, DOCUMENT_BYTES_MAX).await?;
    let tags = tag_set::read(&document, Tagged::Bucket)?;
    // Kept as the document that a read answers, so that a read need not make it.
    let document = xml::write(&tag_set::document(&tags))?.into();
    context.set_config(request, &bucket, ConfigKind::TAGGING, Some(document)).await?;
    Ok(response::empty(204))
}

/// DeleteBucketTagging: removes all tags; a bucket without tags is not an error.
pub async fn delete(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    context.set_config(request, &bucket, ConfigKind::TAGGING, None).await?;
    Ok(response::empty(204))
}
