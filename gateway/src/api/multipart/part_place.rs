//! The place of a part: an open upload and a number in it.

use std::sync::Arc;

use compactor::outcome::RecordOutcome;
use compactor::state::BucketState;
use ingest::ids::{PartNumber, UploadId};
use ingest::name::ObjectKey;
use ingest::record::{PutPart, RecordBody, UploadPart};
use ingest::time::WallTime;
use s3::checksum::ChecksumAlgorithm;
use s3::error::S3Error;

use super::open_upload::open_upload;
use crate::api::body::{self, PayloadTarget, TakenPayload};
use crate::api::context::{BucketView, S3Context};
use crate::api::errors::unexpected;
use crate::api::request::S3Request;

/// Parts never stay in memory: the object that they become names them by their extents.
const INLINE_BYTES_MAX: u64 = 0;

/// The place of a part that a request stores.
pub struct PartPlace {
    bucket: Arc<BucketState>,
    key: ObjectKey,
    upload: UploadId,
    number: PartNumber,
    /// The checksum that every part of the upload has; `None` for an upload that was begun without an algorithm.
    pub algorithm: Option<ChecksumAlgorithm>,
    /// The target of the part's payload, which follows from the upload's storage class.
    pub target: PayloadTarget,
}

impl PartPlace {
    /// The place that a request names. Fails with `NoSuchUpload` unless the upload is open, with `InvalidArgument` for a
    /// number that no part can have, and with `InvalidRequest` for a checksum of another algorithm than the upload has; a
    /// request is refused so before its payload is taken.
    pub async fn of(context: &S3Context, request: &S3Request) -> Result<Self, S3Error> {
        let BucketView { bucket, snapshot, .. } = context.bucket_for_read(request).await?;
        let key = request.object_key()?;
        let upload = request.upload()?;
        let number = request.part_number()?;
        let open = open_upload(&snapshot, bucket.id, &key, upload).await?;
        let algorithm = ChecksumAlgorithm::from_code(open.checksum_algorithm);
        if let Some(algorithm) = algorithm {
            // With another checksum no completion could take the part.
            body::check_algorithm(request, algorithm)?;
        }
        let place = open.attributes.storage_class().place();
        let target = PayloadTarget { place, inline_max: INLINE_BYTES_MAX };
        Ok(Self { bucket, key, upload, number, algorithm, target })
    }

    /// Stores a part here in place of an earlier one, gives its payload's guard the outcome, and returns the part and the
    /// time since which it is stored. On `Ok` the part is durable. Fails with `NoSuchUpload` when the upload ended
    /// meanwhile; the payload's space is given back then.
    pub async fn store(
        self,
        context: &S3Context,
        request: &S3Request,
        taken: TakenPayload,
    ) -> Result<(UploadPart, WallTime), S3Error> {
        let part = UploadPart {
            size: taken.size,
            md5: taken.md5,
            digest: taken.payload.digest,
            checksum: taken.checksum.clone(),
            extents: taken.extents(),
        };
        let stream = taken.stream();
        let put = |config| {
            let (key, part) = (self.key.clone(), part.clone());
            let (bucket, upload, number) = (self.bucket.id, self.upload, self.number);
            RecordBody::PutPart(PutPart { bucket, config, key, upload, number, part, stream })
        };
        let outcome = context.submit_configured(request, &self.bucket, put).await;
        if let Some(guard) = taken.payload.guard {
            guard.settle(&outcome);
        }
        match outcome? {
            RecordOutcome::PartStored(created) => Ok((part, created)),
            other => Err(unexpected(&other)),
        }
    }
}
