//! GetBucketCors, PutBucketCors and DeleteBucketCors.

use ingest::record::ConfigKind;
use s3::cors::{self, CORS_BYTES_MAX};
use s3::document::CorsConfiguration;
use s3::error::ErrorCode;
use s3::xml;

use super::configuration;
use crate::api::body;
use crate::api::context::S3Context;
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::{self, HandlerResult};

/// GetBucketCors. Fails with `NoSuchCorsConfiguration` for a bucket without rules.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    configuration::kept(context, request, ConfigKind::CORS, ErrorCode::NoSuchCorsConfiguration)
        .await
}

/// PutBucketCors: replaces all rules. Answers after the response obey the new rules. Fails with `MalformedXml` or
/// `InvalidRequest` before anything changes.
pub async fn put(context: &S3Context, request: &S3Request, body: RequestBody) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    let document = body::take_document(context, request, body, CORS_BYTES_MAX).await?;
    let rules: CorsConfiguration = xml::read(&document)?;
    cors::check(&rules)?;
    configuration::keep(context, request, &bucket, ConfigKind::CORS, &rules).await?;
    Ok(response::empty(200))
}

/// DeleteBucketCors: removes all rules; a bucket without rules is not an error.
pub async fn delete(context: &S3Context, request: &S3Request) -> HandlerResult {
    configuration::remove(context, request, ConfigKind::CORS).await
}
