//! AbortMultipartUpload.

use compactor::outcome::RecordOutcome;
use ingest::record::{AbortUpload, RecordBody};

use crate::api::context::S3Context;
use crate::api::errors::unexpected;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};

/// AbortMultipartUpload: removes the upload and its parts. Fails with `NoSuchUpload` when it was completed or aborted
/// before.
pub async fn abort(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    let key = request.object_key()?;
    let upload = request.upload()?;
    let abort = |config| {
        let key = key.clone();
        RecordBody::AbortUpload(AbortUpload { bucket: bucket.id, config, key, upload })
    };
    match context.submit_configured(request, &bucket, abort).await? {
        RecordOutcome::Done => Ok(response::empty(204)),
        other => Err(unexpected(&other)),
    }
}
