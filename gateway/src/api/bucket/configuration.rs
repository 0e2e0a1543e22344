//! Reads of configuration that no bucket has yet.

use s3::document::{
    AccelerateConfiguration, BucketLoggingStatus, NotificationConfiguration,
    RequestPaymentConfiguration,
};
use s3::error::ErrorCode;
use s3::operation::S3Resource;
use s3::xml::XmlDocument;
use serde::Serialize;

use crate::api::context::S3Context;
use crate::api::object::find::must_exist;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};

/// Answers a read of configuration that is absent with S3's error `code` for it. Fails with another error when the bucket,
/// or the object that the request names, does not exist.
pub async fn absent(
    context: &S3Context,
    request: &S3Request,
    resource: S3Resource,
    code: ErrorCode,
) -> HandlerResult {
    match resource {
        S3Resource::Object => must_exist(context, request).await?,
        S3Resource::Service | S3Resource::Bucket => drop(context.bucket_for_read(request).await?),
    }
    Err(code.into())
}

/// GetBucketLogging: an empty document, since no bucket logs accesses. Fails when the bucket does not exist.
pub async fn logging(context: &S3Context, request: &S3Request) -> HandlerResult {
    constant(context, request, &BucketLoggingStatus).await
}

/// GetBucketNotificationConfiguration: an empty document, since no bucket sends notifications. Fails when the bucket
/// does not exist.
pub async fn notification(context: &S3Context, request: &S3Request) -> HandlerResult {
    constant(context, request, &NotificationConfiguration).await
}

/// GetBucketAccelerateConfiguration: an empty document, since acceleration is never on. Fails when the bucket does not
/// exist.
pub async fn accelerate(context: &S3Context, request: &S3Request) -> HandlerResult {
    constant(context, request, &AccelerateConfiguration).await
}

/// The same document for every bucket. Fails when the bucket does not exist.
async fn constant(
    context: &S3Context,
    request: &S3Request,
    document: &(impl XmlDocument + Serialize),
) -> HandlerResult {
    context.bucket_for_read(request).await?;
    response::document(document)
}

/// GetBucketRequestPayment: always the bucket's owner. Fails when the bucket does not exist.
pub async fn payer(context: &S3Context, request: &S3Request) -> HandlerResult {
    constant(context, request, &RequestPaymentConfiguration { payer: "BucketOwner" }).await
}
