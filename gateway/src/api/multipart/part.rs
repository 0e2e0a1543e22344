//! UploadPart.

use compactor::outcome::RecordOutcome;
use ingest::record::{PutPart, RecordBody, UploadPart};
use s3::checksum::{ChecksumAlgorithm, etag};

use super::open_upload::open_upload;
use crate::api::body;
use crate::api::context::{BucketView, S3Context};
use crate::api::errors::unexpected;
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::{self, HandlerResult};

/// UploadPart. The part is durable before the response and replaces an earlier part of its number. Fails with
/// `NoSuchUpload`, before the body is taken, unless the upload is open.
pub async fn put(context: &S3Context, request: &S3Request, body: RequestBody) -> HandlerResult {
    let BucketView { bucket, snapshot, .. } = context.bucket_for_read(request).await?;
    let key = request.object_key()?;
    let upload = request.upload()?;
    let number = request.part_number()?;
    let open = open_upload(&snapshot, bucket.id, &key, upload).await?;
    let wanted = ChecksumAlgorithm::from_code(open.checksum_algorithm);
    // Parts always go the bulk way: the object that they become names them by extent.
    let taken = body::take_payload(context, request, body, 0, wanted).await?;
    let part = UploadPart {
        size: taken.size,
        md5: taken.md5,
        digest: taken.payload.digest,
        checksum: taken.checksum.clone(),
        extents: taken.extents(),
    };
    let stream = taken.stream();
    let put = |config| {
        let (bucket, key, part) = (bucket.id, key.clone(), part.clone());
        RecordBody::PutPart(PutPart { bucket, config, key, upload, number, part, stream })
    };
    let outcome = context.submit_configured(request, &bucket, put).await;
    if let Some(guard) = taken.payload.guard {
        guard.settle(&outcome);
    }
    match outcome? {
        RecordOutcome::Done => {}
        other => return Err(unexpected(&other)),
    }
    let mut answer = response::empty(200);
    response::set(&mut answer, "etag", &etag(&taken.md5, 0));
    if let Some(checksum) = &taken.checksum
        && let Some(algorithm) = ChecksumAlgorithm::from_code(checksum.algorithm)
    {
        response::set(&mut answer, algorithm.header(), &checksum.text());
    }
    response::add_passing(&mut answer, taken.passing.as_ref());
    Ok(answer)
}
