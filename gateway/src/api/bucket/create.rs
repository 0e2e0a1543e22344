//! CreateBucket.

use compactor::outcome::{RecordOutcome, Rejection};
use ingest::name::BucketName;
use ingest::record::{CreateBucket, RecordBody};
use s3::document::CreateBucketConfiguration;
use s3::error::{ErrorCode, S3Error};
use s3::operation::body::DOCUMENT_BYTES_MAX;
use s3::{names, xml};

use super::ownership;
use crate::api::access;
use crate::api::body;
use crate::api::context::S3Context;
use crate::api::errors::unexpected;
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::{self, HandlerResult};

/// The region whose location constraint is empty, and where creating a bucket again succeeds.
const FIRST_REGION: &str = "us-east-1";

/// CreateBucket. The bucket is durable and visible before the response. Creating a bucket again succeeds for its owner in
/// us-east-1, as at AWS, and fails with `BucketAlreadyOwnedByYou` in other regions; it fails for anybody else.
pub async fn create(context: &S3Context, request: &S3Request, body: RequestBody) -> HandlerResult {
    access::check_without_bucket(request)?;
    let name = request.bucket.clone().unwrap_or_default();
    names::check_bucket(&name)?;
    let document = body::take_document(context, request, body, DOCUMENT_BYTES_MAX).await?;
    let options = &context.options;
    let region = location(&options.region, |region| options.has_location(region), &document)?;
    let ownership = ownership::of_new_bucket(request)?;
    let valid = BucketName::new(name.clone().into_bytes());
    let valid = valid.map_err(|_| S3Error::from(ErrorCode::InvalidBucketName))?;
    let create = CreateBucket { name: valid, owner: request.user.id.clone(), region };
    let outcome = context.submit(request, RecordBody::CreateBucket(create)).await?;
    let is_first_region = context.options.region == FIRST_REGION;
    match outcome {
        RecordOutcome::BucketCreated(_) => {}
        RecordOutcome::Rejected(Rejection::BucketAlreadyOwned) if is_first_region => {}
        RecordOutcome::Rejected(Rejection::BucketAlreadyOwned) => {
            return Err(S3Error::from(ErrorCode::BucketAlreadyOwnedByYou).with("BucketName", name));
        }
        RecordOutcome::Rejected(Rejection::BucketExists) => {
            return Err(S3Error::from(ErrorCode::BucketAlreadyExists).with("BucketName", name));
        }
        other => return Err(unexpected(&other)),
    }
    // A record of its own: without the controls the bucket means the same, and a request that is repeated sets them.
    if let Some(controls) = ownership {
        ownership::set_of_new_bucket(context, request, &controls).await?;
    }
    let mut answer = response::empty(200);
    response::set(&mut answer, "location", &format!("/{name}"));
    Ok(answer)
}

/// The location constraint of a request's document; empty without one. `own` is the region of the server, and `is_here` is
/// true for a region in which the server makes buckets. Fails with `IllegalLocationConstraint` for another region, and with
/// `InvalidLocationConstraint` for a text that is none.
fn location(own: &str, is_here: impl Fn(&str) -> bool, document: &[u8]) -> Result<String, S3Error> {
    if document.is_empty() {
        return Ok(String::new());
    }
    let read: CreateBucketConfiguration = xml::read(document)?;
    // A bucket without its tags or of another kind is not the bucket that the client wants.
    if read.location.is_some() || read.bucket.is_some() || read.tags.is_some() {
        return Err(ErrorCode::NotImplemented
            .because("Tags and kinds of a new bucket are not implemented."));
    }
    let region = read.location_constraint.unwrap_or_default();
    if region.is_empty() || is_here(&region) || region == "EU" && own == "eu-west-1" {
        return Ok(region);
    }
    if !names::is_region(&region) {
        return Err(
            S3Error::from(ErrorCode::InvalidLocationConstraint).with("LocationConstraint", region)
        );
    }
    Err(ErrorCode::IllegalLocationConstraint.because(format!(
        "The {region} location constraint is incompatible for the region specific endpoint this request was sent to."
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_made_in_the_region_of_the_server() {
        let of = |own: &str, region: &str| {
            let document = format!(
                "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            );
            let is_here = |region: &str| region == own || region == FIRST_REGION;
            location(own, is_here, document.as_bytes()).map_err(|error| error.code)
        };
        let illegal = Err(ErrorCode::IllegalLocationConstraint);
        let invalid = Err(ErrorCode::InvalidLocationConstraint);
        for (own, region, wanted) in [
            ("us-east-1", "", Ok(String::new())),
            ("us-east-1", "us-east-1", Ok("us-east-1".into())),
            ("us-east-1", "eu-west-1", illegal.clone()),
            ("us-east-1", "us-gov-west-1", illegal.clone()),
            ("us-east-1", "EU", invalid.clone()),
            ("us-east-1", "nowhere", invalid.clone()),
            ("us-east-1", "us-east-1 ", invalid.clone()),
            ("eu-west-1", "EU", Ok("EU".into())),
            ("eu-west-1", "eu-west-1", Ok("eu-west-1".into())),
            ("eu-west-1", "eu-west-2", illegal),
            ("my home", "my home", Ok("my home".into())),
            ("my home", "my_home", invalid),
        ] {
            assert_eq!(of(own, region), wanted, "{region} at {own}");
        }
        let without = |document: &[u8]| location("us-east-1", |_| false, document);
        assert_eq!(without(b""), Ok(String::new()));
        assert!(without(b"<CreateBucketConfiguration/>").is_ok());
        assert!(without(b"<CreateBucket/>").is_err());
    }
}
