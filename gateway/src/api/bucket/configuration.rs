//! Documents of configuration: those that are kept as they are answered, and those of which one state is possible.

use compactor::state::{BucketState, ConfigDocument};
use http::Response;
use ingest::record::ConfigKind;
use s3::document::{
    AccelerateConfiguration, AccelerateStatus, BucketLoggingStatus, Payer,
    RequestPaymentConfiguration,
};
use s3::error::{ErrorCode, S3Error};
use s3::operation::S3Resource;
use s3::operation::body::DOCUMENT_BYTES_MAX;
use s3::xml::{self, XmlDocument};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::body;
use crate::api::context::S3Context;
use crate::api::object::find::must_exist;
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::{self, HandlerResult, ResponseBody};

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

/// Answers a read of configuration with the document that is kept. Fails with `missing` for a bucket without one.
pub async fn kept(
    context: &S3Context,
    request: &S3Request,
    kind: ConfigKind,
    missing: ErrorCode,
) -> HandlerResult {
    let bucket = context.bucket_for_read(request).await?.bucket;
    match bucket.documents.get(&kind) {
        Some(document) => Ok(as_kept(document)),
        None => Err(S3Error::from(missing).with("BucketName", bucket.name.as_str())),
    }
}

/// The answer with a document as it is kept.
fn as_kept(document: &ConfigDocument) -> Response<ResponseBody> {
    response::xml(String::from_utf8_lossy(&document.bytes).into_owned())
}

/// Reads the document of a request. Fails with `MalformedXml` for another one, and when its body does not come whole.
async fn document_of<T: XmlDocument + DeserializeOwned>(
    context: &S3Context,
    request: &S3Request,
    body: RequestBody,
) -> Result<T, S3Error> {
    xml::read(&body::take_document(context, request, body, DOCUMENT_BYTES_MAX).await?)
}

/// Keeps a document, which the caller has checked, in place of an earlier one of its kind; reads answer it as it is
/// written here. Resolves when the change is durable and visible. Fails with `EntityTooLarge` for a document above the
/// limit of its kind.
pub async fn keep(
    context: &S3Context,
    request: &S3Request,
    bucket: &BucketState,
    kind: ConfigKind,
    document: &(impl XmlDocument + Serialize),
) -> Result<(), S3Error> {
    let document = xml::write(document)?.into();
    context.set_config(request, bucket, kind, Some(document)).await
}

/// Removes the document of a kind; a bucket without one is not an error. Fails when the bucket does not exist.
pub async fn remove(context: &S3Context, request: &S3Request, kind: ConfigKind) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    context.set_config(request, &bucket, kind, None).await?;
    Ok(response::empty(204))
}

/// GetBucketLogging: an empty document, since no bucket logs accesses. Fails when the bucket does not exist.
pub async fn logging(context: &S3Context, request: &S3Request) -> HandlerResult {
    constant(context, request, &BucketLoggingStatus::default()).await
}

/// PutBucketLogging. An empty document turns logging off, and it is always off. Fails with `NotImplemented` for one that
/// turns logging on.
pub async fn put_logging(
    context: &S3Context,
    request: &S3Request,
    body: RequestBody,
) -> HandlerResult {
    context.bucket_for_read(request).await?;
    let status: BucketLoggingStatus = document_of(context, request, body).await?;
    match status.logging_enabled {
        None => Ok(response::empty(200)),
        Some(_) => Err(ErrorCode::NotImplemented.because("Logs of accesses are not implemented.")),
    }
}

/// GetBucketAccelerateConfiguration: an empty document, or the state `Suspended` where that was set. Acceleration is never
/// on. Fails when the bucket does not exist.
pub async fn acceleration(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_read(request).await?.bucket;
    match bucket.documents.get(&ConfigKind::ACCELERATION) {
        Some(document) => Ok(as_kept(document)),
        None => response::document(&AccelerateConfiguration { status: None }),
    }
}

/// PutBucketAccelerateConfiguration: keeps the state `Suspended`. Fails with `NotImplemented` for the state `Enabled`.
pub async fn put_acceleration(
    context: &S3Context,
    request: &S3Request,
    body: RequestBody,
) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    let configuration: AccelerateConfiguration = document_of(context, request, body).await?;
    if bucket.name.as_str().contains('.') {
        return Err(ErrorCode::InvalidRequest.because(
            "S3 Transfer Acceleration is not supported for buckets with periods (.) in their names",
        ));
    }
    match configuration.status {
        Some(AccelerateStatus::Suspended) => {}
        Some(AccelerateStatus::Enabled) => {
            return Err(
                ErrorCode::NotImplemented.because("Acceleration of transfers is not implemented.")
            );
        }
        None => return Err(ErrorCode::MalformedXml.into()),
    }
    keep(context, request, &bucket, ConfigKind::ACCELERATION, &configuration).await?;
    Ok(response::empty(200))
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
    constant(context, request, &RequestPaymentConfiguration { payer: Payer::BucketOwner }).await
}

/// PutBucketRequestPayment. The payer `BucketOwner` is always in force. Fails with `NotImplemented` for `Requester`: nobody
/// is charged here, and a bucket that says so would promise a payment.
pub async fn put_payer(
    context: &S3Context,
    request: &S3Request,
    body: RequestBody,
) -> HandlerResult {
    context.bucket_for_read(request).await?;
    let configuration: RequestPaymentConfiguration = document_of(context, request, body).await?;
    match configuration.payer {
        Payer::BucketOwner => Ok(response::empty(200)),
        Payer::Requester => {
            Err(ErrorCode::NotImplemented.because("Payment by requesters is not implemented."))
        }
    }
}
