//! DeleteObjects.

use compactor::outcome::DeletedVersion;
use compactor::state::BucketState;
use ingest::entry::ETag;
use ingest::name::ObjectKey;
use ingest::record::WriteCondition;
use s3::checksum::parse_etag;
use s3::document::{Delete, DeleteError, DeleteKey, DeleteResult, Deleted};
use s3::error::{ErrorCode, S3Error};
use s3::operation::Operation;
use s3::operation::body::DELETE_BYTES_MAX;
use s3::xml;

use super::delete::delete_version;
use crate::api::body;
use crate::api::context::S3Context;
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::{self, HandlerResult};
use crate::api::version_id::{version_ref, version_text};

const DELETE_KEYS_MAX: usize = 1000;

/// DeleteObjects. Deletes up to 1000 keys concurrently, in no particular order. A key that fails is an element of the
/// response and never stops the others.
pub async fn delete(context: &S3Context, request: &S3Request, body: RequestBody) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    let document = body::take_document(context, request, body, DELETE_BYTES_MAX).await?;
    let read: Delete = xml::read(&document)?;
    let (is_quiet, objects) = (read.is_quiet(), read.objects);
    if objects.is_empty() || objects.len() > DELETE_KEYS_MAX {
        return Err(ErrorCode::MalformedXml.into());
    }
    // All at once: they share a few group commits.
    let deletions = objects.into_iter().map(|object| async {
        let outcome = delete_one(context, request, &bucket, &object).await;
        (object.key, object.version_id, outcome)
    });
    let mut result = DeleteResult::default();
    for (key, version_id, outcome) in futures::future::join_all(deletions).await {
        match outcome {
            Ok(_) if is_quiet => {}
            Ok(deleted) => result.deleted.push(Deleted {
                key,
                version_id,
                delete_marker: deleted.is_marker.then_some(true),
                delete_marker_version_id: deleted
                    .version
                    .filter(|_| deleted.is_marker)
                    .map(version_text),
            }),
            Err(error) => {
                log_failure(request, &error);
                let code = error.code.text();
                result.errors.push(DeleteError { key, version_id, code, message: error.message });
            }
        }
    }
    response::document(&result)
}

/// Logs a failure of this server on one key: the response to the request is a success, which has no line.
fn log_failure(request: &S3Request, error: &S3Error) {
    if error.code.status() >= 500
        && !matches!(error.code, ErrorCode::SlowDown | ErrorCode::NotImplemented)
    {
        let operation = Operation::DeleteObjects.name();
        tracing::error!(operation, request = request.id, %error, "a key was not deleted");
    }
}

async fn delete_one(
    context: &S3Context,
    request: &S3Request,
    bucket: &BucketState,
    object: &DeleteKey,
) -> Result<DeletedVersion, S3Error> {
    if object.last_modified_time.is_some() || object.size.is_some() {
        return Err(
            ErrorCode::NotImplemented.because("Deletes by time or size are not implemented.")
        );
    }
    let key = ObjectKey::new(object.key.as_bytes().to_vec())
        .map_err(|_| S3Error::from(ErrorCode::MalformedXml))?;
    // Of one key among many AWS says so of every id that no version has.
    let version = version_ref(object.version_id.as_deref())
        .map_err(|_| S3Error::from(ErrorCode::NoSuchVersion))?;
    let condition = match object.etag.as_deref() {
        None => WriteCondition::Always,
        Some("*") => WriteCondition::IfPresent,
        Some(text) => match parse_etag(text) {
            Some((md5, parts)) => WriteCondition::IfMatch(ETag { md5, parts }),
            None => return Err(ErrorCode::PreconditionFailed.into()),
        },
    };
    delete_version(context, request, bucket, key, version, condition).await
}
