//! The upload that a request names.

use compactor::lookup;
use compactor::state::{OpenUpload, UploadState};
use compactor::view::Snapshot;
use ingest::ids::{BucketId, UploadId};
use ingest::name::ObjectKey;
use s3::error::{ErrorCode, S3Error};

use crate::api::errors::read_error;

/// An upload that takes parts. Fails with `NoSuchUpload` for one that is completed, aborted, or of another key.
pub async fn open_upload(
    snapshot: &Snapshot,
    bucket: BucketId,
    key: &ObjectKey,
    id: UploadId,
) -> Result<OpenUpload, S3Error> {
    match lookup::upload(snapshot, bucket, key, id).await.map_err(read_error)? {
        Some(UploadState::Open(open)) => Ok(open),
        _ => Err(ErrorCode::NoSuchUpload.into()),
    }
}
