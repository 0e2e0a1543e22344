//! GetBucketVersioning and PutBucketVersioning.

use ingest::record::{ConfigKind, Versioning};
use s3::document::{VersioningConfiguration, VersioningStatus};
use s3::error::ErrorCode;
use s3::operation::body::DOCUMENT_BYTES_MAX;
use s3::xml;

use crate::api::body;
use crate::api::context::S3Context;
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::{self, HandlerResult};

/// GetBucketVersioning: no status for a bucket whose versioning was never on. Fails when the bucket does not exist.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_read(request).await?.bucket;
    let status = match bucket.versioning {
        Versioning::Off => None,
        Versioning::On => Some(VersioningStatus::Enabled),
        Versioning::Suspended => Some(VersioningStatus::Suspended),
    };
    response::document(&VersioningConfiguration { status, mfa_delete: None })
}

/// PutBucketVersioning. Writes after the response obey the new state. Fails with `NotImplemented` for MFA delete,
/// before anything changes.
pub async fn put(context: &S3Context, request: &S3Request, body: RequestBody) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    let document = body::take_document(context, request, body, DOCUMENT_BYTES_MAX).await?;
    let read: VersioningConfiguration = xml::read(&document)?;
    let mfa_delete = read.mfa_delete.as_deref().map(str::trim);
    if mfa_delete.is_some_and(|state| !state.is_empty() && state != "Disabled") {
        return Err(ErrorCode::NotImplemented.because("MFA delete is not implemented."));
    }
    let versioning = match read.status {
        Some(VersioningStatus::Enabled) => Versioning::On,
        Some(VersioningStatus::Suspended) => Versioning::Suspended,
        None => return Err(ErrorCode::MalformedXml.into()),
    };
    let document = Some(versioning.document());
    context.set_config(request, &bucket, ConfigKind::VERSIONING, document).await?;
    Ok(response::empty(200))
}
