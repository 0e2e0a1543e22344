//! Finding the version that a request names.

use ingest::entry::{EntryValue, ObjectVersion};
use query::object::{self, FoundObject};
use s3::error::{ALLOW, ErrorCode, S3Error};

use crate::api::context::{BucketView, S3Context};
use crate::api::errors::read_error;
use crate::api::request::S3Request;
use crate::api::version_id::{found_name, version_ref, version_text};

/// The object of a version that was found. Fails for a delete marker: with `MethodNotAllowed` when the request names its
/// version, otherwise with `NoSuchKey`.
pub fn object_of<'a>(
    request: &S3Request,
    found: &'a FoundObject,
) -> Result<&'a ObjectVersion, S3Error> {
    let is_named = request.query("versionId").is_some();
    object_or(found, if is_named { ErrorCode::MethodNotAllowed } else { ErrorCode::NoSuchKey })
}

/// The object of a version whose tags a request reads. A delete marker has none: fails with `MethodNotAllowed`, also for
/// the current version.
pub fn tagged_object_of(found: &FoundObject) -> Result<&ObjectVersion, S3Error> {
    object_or(found, ErrorCode::MethodNotAllowed)
}

/// The object of a version that was found. Fails with `code` for a delete marker.
fn object_or(found: &FoundObject, code: ErrorCode) -> Result<&ObjectVersion, S3Error> {
    match &found.statement {
        EntryValue::Object(object) => Ok(object),
        EntryValue::Marker { created, .. } => {
            let error = S3Error::from(code);
            // A marker can be removed by its version, and nothing else be done with it.
            let error = if code == ErrorCode::MethodNotAllowed {
                error.with(ALLOW, "DELETE").with("ResourceType", "DeleteMarker")
            } else {
                error
            };
            Err(error
                .with("DeleteMarker", "true")
                .with("VersionId", version_text(found_name(found)))
                .with("LastModified", s3::time::http(created.micros())))
        }
        EntryValue::Tombstone | EntryValue::NullTombstone => Err(ErrorCode::NoSuchKey.into()),
    }
}

/// The error for a request whose key or version is not there.
pub fn not_found(request: &S3Request) -> S3Error {
    let code = if request.query("versionId").is_some() {
        ErrorCode::NoSuchVersion
    } else {
        ErrorCode::NoSuchKey
    };
    code.into()
}

/// The version that the request names, which may be a delete marker, in the bucket that the request reads. Fails when it is
/// not there.
pub async fn find(view: BucketView<'_>, request: &S3Request) -> Result<FoundObject, S3Error> {
    let key = request.object_key()?;
    let version = version_ref(request.query("versionId"))?;
    let found = object::lookup(view.snapshot, view.bucket.id, &key, version).await;
    found.map_err(read_error)?.ok_or_else(|| not_found(request))
}

/// Fails when the object or the version that the request names is not there.
pub async fn must_exist(context: &S3Context, request: &S3Request) -> Result<(), S3Error> {
    let found = find(context.bucket_for_read(request).await?, request).await?;
    object_of(request, &found).map(|_| ())
}
