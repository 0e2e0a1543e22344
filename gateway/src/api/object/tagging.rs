//! GetObjectTagging, PutObjectTagging and DeleteObjectTagging.

use compactor::outcome::RecordOutcome;
use ingest::record::{RecordBody, SetTags, Versioning};

use super::find::{find, tagged_object_of};
use crate::api::body;
use crate::api::context::S3Context;
use crate::api::errors::{rejected, unexpected};
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::{self, HandlerResult};
use crate::api::tag_set::{self, Tagged};
use crate::api::version_id::{found_name, version_ref, version_text};
use s3::operation::body::DOCUMENT_BYTES_MAX;

/// GetObjectTagging. Fails when the version does not exist or is a delete marker.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    let view = context.bucket_for_read(request).await?;
    let bucket = view.bucket.clone();
    let found = find(view, request).await?;
    let object = tagged_object_of(&found)?;
    let mut answer = response::document(&tag_set::document(&object.attributes.tags))?;
    if bucket.versioning != Versioning::Off {
        response::set(&mut answer, "x-amz-version-id", &version_text(found_name(&found)));
    }
    Ok(answer)
}

/// PutObjectTagging: replaces all tags of a version. Fails with `MalformedXml` or `InvalidTag` before anything changes.
pub async fn put(context: &S3Context, request: &S3Request, body: RequestBody) -> HandlerResult {
    let document = body::take_document(context, request, body, DOCUMENT_BYTES_MAX).await?;
    let tags = tag_set::read(&document, Tagged::Object)?;
    change_tags(context, request, tags, 200).await
}

/// DeleteObjectTagging: removes all tags of a version; a version without tags is not an error.
pub async fn delete(context: &S3Context, request: &S3Request) -> HandlerResult {
    change_tags(context, request, Vec::new(), 204).await
}

async fn change_tags(
    context: &S3Context,
    request: &S3Request,
    tags: Vec<(String, String)>,
    status: u16,
) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    let key = request.object_key()?;
    let version = version_ref(request.query("versionId"))?;
    let set = |config| {
        let (key, tags) = (key.clone(), tags.clone());
        RecordBody::SetTags(SetTags { bucket: bucket.id, config, key, version, tags })
    };
    match context.submit_configured(request, &bucket, set).await? {
        RecordOutcome::Changed(version) => {
            let mut answer = response::empty(status);
            if bucket.versioning != Versioning::Off {
                response::set(&mut answer, "x-amz-version-id", &version_text(version));
            }
            Ok(answer)
        }
        RecordOutcome::Rejected(rejection) => Err(rejected(rejection)),
        other => Err(unexpected(&other)),
    }
}
