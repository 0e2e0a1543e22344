//! CreateBucket.

use compactor::outcome::{RecordOutcome, Rejection};
use ingest::name::BucketName;
use ingest::record::{CreateBucket, RecordBody};
use s3::document::CreateBucketConfiguration;
use s3::error::{ErrorCode, S3Error};
use s3::operation::body::DOCUMENT_BYTES_MAX;
use s3::xml;

use crate::api::access;
use crate::api::body;
use crate::api::context::S3Context;
use crate::api::errors::unexpected;
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::{self, HandlerResult};

/// CreateBucket. The bucket is durable and visible before the response. Creating a bucket again succeeds for its owner
/// and fails for anybody else.
pub async fn create(context: &S3Context, request: &S3Request, body: RequestBody) -> HandlerResult {
    access::check_without_bucket(request)?;
    let name = request.bucket.clone().unwrap_or_default();
    s3::names::check_bucket(&name)?;
    let document = body::take_document(context, request, body, DOCUMENT_BYTES_MAX).await?;
    let region = if document.is_empty() {
        String::new()
    } else {
        let read: CreateBucketConfiguration = xml::read(&document)?;
        // A bucket without its tags or of another kind is not the bucket that the client wants.
        if read.location.is_some() || read.bucket.is_some() || read.tags.is_some() {
            return Err(ErrorCode::NotImplemented
                .because("Tags and kinds of a new bucket are not implemented."));
        }
        read.location_constraint.unwrap_or_default()
    };
    let is_here = region.is_empty() || region == context.options.region || region == "us-east-1";
    if !is_here {
        return Err(
            S3Error::from(ErrorCode::InvalidLocationConstraint).with("LocationConstraint", region)
        );
    }
    let valid = BucketName::new(name.clone().into_bytes());
    let valid = valid.map_err(|_| S3Error::from(ErrorCode::InvalidBucketName))?;
    let create = CreateBucket { name: valid, owner: request.user.id.clone(), region };
    let outcome = context.submit(request, RecordBody::CreateBucket(create)).await?;
    match outcome {
        // Creating one's own bucket again succeeds in us-east-1, and so everywhere here.
        RecordOutcome::BucketCreated(_)
        | RecordOutcome::Rejected(Rejection::BucketAlreadyOwned) => {
            let mut answer = response::empty(200);
            response::set(&mut answer, "location", &format!("/{name}"));
            Ok(answer)
        }
        RecordOutcome::Rejected(Rejection::BucketExists) => {
            Err(S3Error::from(ErrorCode::BucketAlreadyExists).with("BucketName", name))
        }
        other => Err(unexpected(&other)),
    }
}
