//! DeleteObject.

use compactor::outcome::{DeletedVersion, RecordOutcome};
use compactor::state::BucketState;
use ingest::name::ObjectKey;
use ingest::record::{DeleteObject, RecordBody, VersionRef, WriteCondition};
use s3::error::S3Error;

use crate::api::conditions;
use crate::api::context::S3Context;
use crate::api::errors::{rejected, unexpected};
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};
use crate::api::version_id::{version_ref, version_text};

/// DeleteObject: removes the named version, or puts a delete marker above the current one while versioning is on. A key
/// that does not exist is not an error.
pub async fn delete(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    let key = request.object_key()?;
    let version = version_ref(request.query("versionId"))?;
    let condition = conditions::of_write(&request.parts.headers)?;
    let deleted = delete_version(context, request, &bucket, key, version, condition).await?;
    let mut answer = response::empty(204);
    if deleted.is_marker {
        response::set(&mut answer, "x-amz-delete-marker", "true");
    }
    if let Some(version) = deleted.version {
        response::set(&mut answer, "x-amz-version-id", &version_text(version));
    }
    Ok(answer)
}

/// Removes a version, or puts a delete marker above the current one. Fails with the error of a rejection, for example when
/// the condition does not hold.
pub async fn delete_version(
    context: &S3Context,
    request: &S3Request,
    bucket: &BucketState,
    key: ObjectKey,
    version: VersionRef,
    condition: WriteCondition,
) -> Result<DeletedVersion, S3Error> {
    let body = |config| {
        RecordBody::DeleteObject(DeleteObject {
            bucket: bucket.id,
            config,
            key: key.clone(),
            version,
            condition,
        })
    };
    match context.submit_configured(request, bucket, body).await? {
        RecordOutcome::Deleted(deleted) => Ok(deleted),
        RecordOutcome::Rejected(rejection) => Err(rejected(rejection)),
        other => Err(unexpected(&other)),
    }
}
