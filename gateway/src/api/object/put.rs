//! PutObject.

use ingest::entry::{Attributes, ETag, WriteOrigin};
use s3::checksum::ChecksumAlgorithm;
use s3::error::S3Error;
use s3::operation::Operation;

use super::attributes::{attributes, wanted_checksum};
use super::write::write;
use crate::api::body::{self, PayloadTarget, TakenPayload};
use crate::api::conditions;
use crate::api::context::S3Context;
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::{self, HandlerResult, add_checksum, add_written};

/// PutObject. The response comes after the object is durable and visible. The object appears as a whole or not at all.
pub async fn put(context: &S3Context, request: &S3Request, body: RequestBody) -> HandlerResult {
    put_with(context, request, |target, wanted| {
        body::take_payload(context, request, body, target, wanted)
    })
    .await
}

/// PutObject with payload that `take` takes, once everything else about the request is known to be right. `take` gets the
/// target of the payload, and the algorithm of the checksum that the request wants.
pub async fn put_with<T>(
    context: &S3Context,
    request: &S3Request,
    take: impl FnOnce(PayloadTarget, Option<ChecksumAlgorithm>) -> T,
) -> HandlerResult
where
    T: Future<Output = Result<TakenPayload, S3Error>>,
{
    let bucket = context.bucket_for_write(request).await?;
    let key = request.object_key()?;
    let condition = conditions::of_write(&request.parts.headers)?;
    let attributes = attributes(request)?;
    let wanted = wanted_checksum(request, "x-amz-sdk-checksum-algorithm")?;
    let place = attributes.storage_class().place();
    let target = PayloadTarget { place, inline_max: context.options.inline_bytes_max };
    let taken = take(target, wanted).await?;
    let checksum = taken.visible_checksum();
    let mut attributes = Attributes {
        size: taken.size,
        etag: ETag { md5: taken.md5, parts: 0 },
        checksums: taken.checksum.into_iter().collect(),
        ..attributes
    };
    if request.operation.is_some_and(|row| row.operation == Operation::PostObject) {
        attributes.set_origin(WriteOrigin::Post);
    }
    let written =
        write(context, request, &bucket, &key, condition, attributes, taken.payload).await?;
    let mut answer = response::empty(200);
    add_written(&mut answer, &written);
    add_checksum(&mut answer, &checksum);
    Ok(answer)
}
