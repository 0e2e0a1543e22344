//! Writing an object version whose payload is taken.

use compactor::outcome::{RecordOutcome, WrittenVersion};
use compactor::partition::WrittenPayload;
use compactor::state::BucketState;
use ingest::entry::Attributes;
use ingest::name::ObjectKey;
use ingest::record::{PutObject, RecordBody, WriteCondition};
use s3::error::S3Error;

use crate::api::context::S3Context;
use crate::api::errors::{rejected, unexpected};
use crate::api::request::S3Request;

/// Writes an object version and gives the payload's guard its outcome. Fails with the error of a rejection, for example
/// when the condition does not hold; the payload's space is given back then.
pub async fn write(
    context: &S3Context,
    request: &S3Request,
    bucket: &BucketState,
    key: &ObjectKey,
    condition: WriteCondition,
    attributes: Attributes,
    payload: WrittenPayload,
) -> Result<WrittenVersion, S3Error> {
    let WrittenPayload { payload, digest, guard } = payload;
    let put = |config| {
        RecordBody::PutObject(PutObject {
            bucket: bucket.id,
            config,
            key: key.clone(),
            condition,
            attributes: attributes.clone(),
            digest,
            payload: payload.clone(),
        })
    };
    let outcome = context.submit_configured(request, bucket, put).await;
    if let Some(guard) = guard {
        guard.settle(&outcome);
    }
    match outcome? {
        RecordOutcome::Written(written) => Ok(written),
        RecordOutcome::Rejected(rejection) => Err(rejected(rejection)),
        other => Err(unexpected(&other)),
    }
}
