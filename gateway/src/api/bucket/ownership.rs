//! GetBucketOwnershipControls, PutBucketOwnershipControls and DeleteBucketOwnershipControls.
//!
//! All three kinds of ownership are kept. They mean the same here: objects have no access control lists that grant
//! anything to others, and only the bucket's owner writes to a bucket.

use ingest::record::ConfigKind;
use s3::document::OwnershipControls;
use s3::error::{ErrorCode, S3Error};
use s3::operation::body::DOCUMENT_BYTES_MAX;
use s3::xml;

use super::configuration;
use crate::api::body;
use crate::api::context::S3Context;
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::{self, HandlerResult};

/// The header of CreateBucket that sets the controls.
const HEADER: &str = "x-amz-object-ownership";

/// GetBucketOwnershipControls. Fails with `OwnershipControlsNotFound` for a bucket without controls.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    let code = ErrorCode::OwnershipControlsNotFound;
    configuration::kept(context, request, ConfigKind::OWNERSHIP, code).await
}

/// PutBucketOwnershipControls: replaces the controls. Fails with `MalformedXml` before anything changes.
pub async fn put(context: &S3Context, request: &S3Request, body: RequestBody) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    let document = body::take_document(context, request, body, DOCUMENT_BYTES_MAX).await?;
    let controls: OwnershipControls = xml::read(&document)?;
    configuration::keep(context, request, &bucket, ConfigKind::OWNERSHIP, &controls).await?;
    Ok(response::empty(200))
}

/// DeleteBucketOwnershipControls; a bucket without controls is not an error.
pub async fn delete(context: &S3Context, request: &S3Request) -> HandlerResult {
    configuration::remove(context, request, ConfigKind::OWNERSHIP).await
}

/// The controls that a request to create a bucket asks for. Fails with `InvalidArgument` for a text that AWS does not know.
pub fn of_new_bucket(request: &S3Request) -> Result<Option<OwnershipControls>, S3Error> {
    let Some(text) = request.header(HEADER)? else { return Ok(None) };
    let invalid = || {
        ErrorCode::InvalidArgument
            .because(format!("Invalid {HEADER} header: {text}"))
            .with("ArgumentName", HEADER)
            .with("ArgumentValue", text)
    };
    OwnershipControls::named(text).map(Some).ok_or_else(invalid)
}

/// Sets the controls of a bucket that was just created. A bucket that has controls already keeps them: creating a bucket
/// again changes nothing. Fails when the bucket was removed meanwhile.
pub async fn set_of_new_bucket(
    context: &S3Context,
    request: &S3Request,
    controls: &OwnershipControls,
) -> Result<(), S3Error> {
    let bucket = context.created_bucket(request)?;
    if bucket.documents.contains_key(&ConfigKind::OWNERSHIP) {
        return Ok(());
    }
    configuration::keep(context, request, &bucket, ConfigKind::OWNERSHIP, controls).await
}
