//! DeleteObjects.

use compactor::outcome::DeletedVersion;
use compactor::state::BucketState;
use ingest::entry::ETag;
use ingest::name::ObjectKey;
use ingest::record::WriteCondition;
use s3::checksum::parse_etag;
use s3::error::{ErrorCode, S3Error};
use s3::operation::Operation;
use s3::operation::body::DELETE_BYTES_MAX;
use s3::xml::{self, XmlElement, XmlWriter};

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
    let read = xml::read(&document, "Delete")?;
    let is_quiet = read.text_of("Quiet").is_some_and(|quiet| quiet.trim() == "true");
    let objects: Vec<&XmlElement> =
        read.children.iter().filter(|child| child.name == "Object").collect();
    if objects.is_empty() || objects.len() > DELETE_KEYS_MAX {
        return Err(ErrorCode::MalformedXml.into());
    }
    // All at once: they share a few group commits.
    let deletions = objects.iter().map(|object| async {
        let key = object.text_of("Key").unwrap_or_default().to_owned();
        let version = object.text_of("VersionId").map(str::to_owned);
        let outcome = delete_one(context, request, &bucket, &key, object).await;
        (key, version, outcome)
    });
    let deleted = futures::future::join_all(deletions).await;
    let root = "DeleteResult";
    let mut writer = XmlWriter::new(root);
    for (key, version, outcome) in deleted {
        match outcome {
            Ok(_) if is_quiet => {}
            Ok(deleted) => {
                writer.begin("Deleted").text("Key", &key);
                if let Some(version) = &version {
                    writer.text("VersionId", version);
                }
                if deleted.is_marker {
                    writer.text("DeleteMarker", "true");
                    if let Some(marker) = deleted.version {
                        writer.text("DeleteMarkerVersionId", &version_text(marker));
                    }
                }
                writer.end("Deleted");
            }
            Err(error) => {
                log_failure(request, &error);
                writer.begin("Error").text("Key", &key);
                if let Some(version) = &version {
                    writer.text("VersionId", version);
                }
                writer.text("Code", error.code.text()).text("Message", &error.message).end("Error");
            }
        }
    }
    Ok(response::xml(writer.finish(root)))
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
    key: &str,
    object: &XmlElement,
) -> Result<DeletedVersion, S3Error> {
    if object.child("LastModifiedTime").is_some() || object.child("Size").is_some() {
        return Err(
            ErrorCode::NotImplemented.because("Deletes by time or size are not implemented.")
        );
    }
    let key = ObjectKey::new(key.as_bytes().to_vec())
        .map_err(|_| S3Error::from(ErrorCode::MalformedXml))?;
    let version = version_ref(object.text_of("VersionId"))?;
    let condition = match object.text_of("ETag") {
        None => WriteCondition::Always,
        Some("*") => WriteCondition::IfPresent,
        Some(text) => match parse_etag(text) {
            Some((md5, parts)) => WriteCondition::IfMatch(ETag { md5, parts }),
            None => return Err(ErrorCode::PreconditionFailed.into()),
        },
    };
    delete_version(context, request, bucket, key, version, condition).await
}
