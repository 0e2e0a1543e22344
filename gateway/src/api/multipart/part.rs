//! UploadPart.

use s3::checksum::etag;

use super::part_place::PartPlace;
use crate::api::body;
use crate::api::context::S3Context;
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::{self, HandlerResult};

/// UploadPart. The part is durable before the response and replaces an earlier part of its number. Fails with
/// `NoSuchUpload`, before the body is taken, unless the upload is open.
pub async fn put(context: &S3Context, request: &S3Request, body: RequestBody) -> HandlerResult {
    let place = PartPlace::of(context, request).await?;
    let (target, wanted) = (place.target, place.algorithm);
    let taken = body::take_payload(context, request, body, target, wanted).await?;
    let (part, _) = place.store(context, request, taken).await?;
    let mut answer = response::empty(200);
    response::set(&mut answer, "etag", &etag(&part.md5, 0));
    if let Some((algorithm, text)) = response::known_checksum(&part.visible_checksum()) {
        response::set(&mut answer, algorithm.header(), &text);
    }
    Ok(answer)
}
