//! CompleteMultipartUpload.

use compactor::lookup;
use compactor::outcome::{RecordOutcome, Rejection, WrittenVersion};
use compactor::state::{BucketState, UploadState};
use compactor::view::Snapshot;
use ingest::entry::{EntryValue, StoredChecksum};
use ingest::ids::{PartNumber, UploadId};
use ingest::name::ObjectKey;
use ingest::record::{CompleteUpload, RecordBody, VersionRef};
use query::object;
use s3::checksum::etag;
use s3::document::CompleteMultipartUploadResult;
use s3::error::{ErrorCode, S3Error};
use s3::operation::body::COMPLETE_BYTES_MAX;

use super::requested_parts::{UploadedParts, find_parts, read_parts, too_small};
use super::whole_checksum::{check_claims, whole_checksum, whole_crc64};
use crate::api::address;
use crate::api::body;
use crate::api::conditions;
use crate::api::context::{BucketView, S3Context};
use crate::api::errors::{read_error, rejected, unexpected};
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::{self, HandlerResult, add_written, checksum_elements};

/// CompleteMultipartUpload. The object is durable and visible before the response. Repeating a completion with the same
/// parts succeeds; an error before the record is applied leaves the upload open.
pub async fn complete(
    context: &S3Context,
    request: &S3Request,
    body: RequestBody,
) -> HandlerResult {
    let BucketView { bucket, snapshot, .. } = context.bucket_for_read(request).await?;
    let key = request.object_key()?;
    let upload = request.upload()?;
    let condition = conditions::of_write(&request.parts.headers)?;
    let document = body::take_completion(context, request, body, COMPLETE_BYTES_MAX).await?;
    let state = lookup::upload(&snapshot, bucket.id, &key, upload).await.map_err(read_error)?;
    let named = read_parts(&document)?;
    let uploaded = match state {
        None => return Err(ErrorCode::NoSuchUpload.into()),
        Some(UploadState::Open(_)) => uploaded_parts(&snapshot, upload).await?,
        Some(UploadState::Completed { .. }) => UploadedParts::new(),
    };
    let mut visible = None;
    let mut checksum = None;
    // Parts out of order are refused by the fold. Completed already: the fold knows whether these are the same parts.
    if let Some(UploadState::Open(open)) = &state
        && named.is_sorted_by(|a, b| a.number < b.number)
    {
        let parts = find_parts(&named, &uploaded)?;
        checksum = whole_checksum(open, &parts)?;
        check_claims(request, checksum.as_ref(), &parts)?;
        visible = checksum.clone().or_else(|| whole_crc64(&parts));
    }
    let parts: Vec<(PartNumber, [u8; 16])> =
        named.iter().map(|part| (part.number, part.md5)).collect();
    let completion = |config| {
        RecordBody::CompleteUpload(CompleteUpload {
            bucket: bucket.id,
            config,
            key: key.clone(),
            upload,
            parts: parts.clone(),
            condition,
            checksum: checksum.clone(),
        })
    };
    let written = match context.submit_configured(request, &bucket, completion).await? {
        RecordOutcome::Written(written) => written,
        RecordOutcome::Rejected(Rejection::EntityTooSmall) => {
            return Err(too_small(&named, &uploaded));
        }
        RecordOutcome::Rejected(rejection) => return Err(rejected(rejection)),
        other => return Err(unexpected(&other)),
    };
    if let Some(UploadState::Completed { .. }) = state {
        visible = checksum_of(snapshot, &bucket, &key, &written).await?;
    }
    let (parts, domains) = (&request.parts, &context.options.authentication.domains);
    let location = address::object_url(parts, domains, bucket.name.as_str(), key.as_str());
    let result = result(location, &bucket, &key, &written, visible.as_ref());
    let mut answer = response::document(&result)?;
    add_written(&mut answer, &written);
    Ok(answer)
}

/// The parts of an open upload. Fails when the state cannot be read.
async fn uploaded_parts(snapshot: &Snapshot, upload: UploadId) -> Result<UploadedParts, S3Error> {
    let found = lookup::parts(snapshot, upload, PartNumber::ZERO, usize::MAX).await;
    let found = found.map_err(read_error)?.into_iter();
    Ok(found.map(|(number, _, part)| (number, part)).collect())
}

/// The checksum of an object that was completed before; `None` when the object has been replaced or removed since.
async fn checksum_of(
    snapshot: Snapshot,
    bucket: &BucketState,
    key: &ObjectKey,
    written: &WrittenVersion,
) -> Result<Option<StoredChecksum>, S3Error> {
    let version = if written.is_null { VersionRef::Null } else { VersionRef::At(written.version) };
    let found = object::lookup(snapshot, bucket.id, key, version).await.map_err(read_error)?;
    let found = found.filter(|found| found.version == written.version);
    Ok(found.and_then(|found| match found.statement {
        EntryValue::Object(object) => object.checksums().first().cloned(),
        _ => None,
    }))
}

/// The document that describes the object that was made.
fn result(
    location: String,
    bucket: &BucketState,
    key: &ObjectKey,
    written: &WrittenVersion,
    checksum: Option<&StoredChecksum>,
) -> CompleteMultipartUploadResult {
    CompleteMultipartUploadResult {
        location,
        bucket: bucket.name.as_str().to_owned(),
        key: key.as_str().to_owned(),
        etag: etag(&written.etag.md5, written.etag.parts),
        checksums: checksum_elements(checksum),
        checksum_type: checksum.map(StoredChecksum::kind),
    }
}
