//! GetBucketWebsite, PutBucketWebsite and DeleteBucketWebsite.

use ingest::record::ConfigKind;
use s3::document::WebsiteConfiguration;
use s3::error::ErrorCode;
use s3::website::{self, WEBSITE_BYTES_MAX};
use s3::xml;

use super::configuration;
use crate::api::body;
use crate::api::context::S3Context;
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::{self, HandlerResult};

/// GetBucketWebsite. Fails with `NoSuchWebsiteConfiguration` for a bucket that is no website.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    let code = ErrorCode::NoSuchWebsiteConfiguration;
    configuration::kept(context, request, ConfigKind::WEBSITE, code).await
}

/// PutBucketWebsite: replaces the configuration. Fails with `MalformedXml`, `InvalidArgument` or `InvalidRequest` before
/// anything changes.
pub async fn put(context: &S3Context, request: &S3Request, body: RequestBody) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    let document = body::take_document(context, request, body, WEBSITE_BYTES_MAX).await?;
    let site: WebsiteConfiguration = xml::read(&document)?;
    website::check(&site)?;
    configuration::keep(context, request, &bucket, ConfigKind::WEBSITE, &site).await?;
    Ok(response::empty(200))
}

/// DeleteBucketWebsite; a bucket that is no website is not an error.
pub async fn delete(context: &S3Context, request: &S3Request) -> HandlerResult {
    configuration::remove(context, request, ConfigKind::WEBSITE).await
}
