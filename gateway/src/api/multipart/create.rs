//! CreateMultipartUpload.

use compactor::outcome::RecordOutcome;
use ingest::ids::UploadId;
use ingest::record::{CreateUpload, RecordBody};
use s3::checksum::ChecksumAlgorithm;
use s3::document::InitiateMultipartUploadResult;
use s3::error::{ErrorCode, S3Error};

use crate::api::context::S3Context;
use crate::api::errors::unexpected;
use crate::api::object::attributes::attributes;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};

/// CreateMultipartUpload: attributes and checksum algorithm of the later object are fixed here. Fails with
/// `InvalidRequest` for an unknown algorithm.
pub async fn create(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    let key = request.object_key()?;
    let algorithm = match request.header("x-amz-checksum-algorithm")? {
        None => None,
        Some(name) => Some(ChecksumAlgorithm::named(name).ok_or_else(|| {
            ErrorCode::InvalidRequest.because("Checksum algorithm provided is unsupported.")
        })?),
    };
    let is_composite = match (request.header("x-amz-checksum-type")?, algorithm) {
        (None, Some(algorithm)) => algorithm != ChecksumAlgorithm::Crc64Nvme,
        (Some("COMPOSITE"), Some(algorithm)) if algorithm != ChecksumAlgorithm::Crc64Nvme => true,
        (Some("FULL_OBJECT"), Some(algorithm)) if algorithm.combines() => false,
        (None, None) => false,
        _ => {
            return Err(ErrorCode::InvalidRequest
                .because("The checksum type cannot be used with the algorithm."));
        }
    };
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|_| S3Error::from(ErrorCode::InternalError))?;
    let upload = UploadId(id);
    let attributes = attributes(request)?;
    let create = |config| {
        RecordBody::CreateUpload(CreateUpload {
            bucket: bucket.id,
            config,
            key: key.clone(),
            upload,
            attributes: attributes.clone(),
            checksum_algorithm: algorithm.map_or(0, |algorithm| algorithm as u8),
            checksum_is_composite: is_composite,
        })
    };
    match context.submit_configured(request, &bucket, create).await? {
        RecordOutcome::Done => {}
        other => return Err(unexpected(&other)),
    }
    let mut answer = response::document(&InitiateMultipartUploadResult {
        bucket: bucket.name.as_str().to_owned(),
        key: key.as_str().to_owned(),
        upload_id: hex::encode(upload.0),
    })?;
    if let Some(algorithm) = algorithm {
        response::set(&mut answer, "x-amz-checksum-algorithm", algorithm.name());
        let kind = if is_composite { "COMPOSITE" } else { "FULL_OBJECT" };
        response::set(&mut answer, "x-amz-checksum-type", kind);
    }
    Ok(answer)
}
