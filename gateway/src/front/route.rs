//! Answers a request by the operation that it is. Which one that is, and that the request asks for nothing else, is
//! decided by the table in [`s3::operation`]. What is not there yet is refused in words: a write with
//! `NotImplemented`, a read of absent configuration with what AWS says of a bucket that has none.

use hyper::body::Incoming;
use s3::error::ErrorCode;
use s3::operation::{self, Operation, OperationSupport, S3Resource};
use s3::xml::XmlWriter;

use super::answer::{self, HandlerResult};
use super::{
    EXPECTED_OWNER, S3Request, S3Service, bucket, check_owner, listing, multipart, object, sql,
};

/// Answers a request.
pub async fn route(front: &S3Service, asked: S3Request, body: Incoming) -> HandlerResult {
    if asked.bucket.as_deref() == Some(sql::OWN) {
        return sql::answer(front, &asked, body).await;
    }
    let resource = match (&asked.bucket, &asked.key) {
        (None, _) => S3Resource::Service,
        (Some(_), None) => S3Resource::Bucket,
        (Some(_), Some(_)) => S3Resource::Object,
    };
    let definition = operation::decide(&operation::RequestParts {
        method: asked.parts.method.as_str(),
        resource,
        query: &asked.query,
        headers: &asked.parts.headers,
    })?;
    if let OperationSupport::Absent(code) = definition.state {
        return absent(front, &asked, resource, code).await;
    }
    let asked = &asked;
    match definition.operation {
        Operation::ListBuckets => {
            check_owner(asked, EXPECTED_OWNER, &asked.user.id)?;
            bucket::list(front, asked).await
        }

        Operation::CreateBucket => {
            check_owner(asked, EXPECTED_OWNER, &asked.user.id)?;
            bucket::create(front, asked, body).await
        }
        Operation::HeadBucket => bucket::head(front, asked).await,
        Operation::DeleteBucket => bucket::delete(front, asked).await,
        Operation::GetBucketLocation => bucket::location(front, asked).await,
        Operation::GetBucketVersioning => bucket::versioning(front, asked).await,
        Operation::PutBucketVersioning => bucket::set_versioning(front, asked, body).await,
        Operation::GetBucketAcl => bucket::acl(front, asked).await,
        Operation::GetBucketLogging => unset(front, asked, "BucketLoggingStatus").await,
        Operation::GetBucketNotificationConfiguration => {
            unset(front, asked, "NotificationConfiguration").await
        }
        Operation::GetBucketAccelerateConfiguration => {
            unset(front, asked, "AccelerateConfiguration").await
        }
        Operation::GetBucketRequestPayment => payer(front, asked).await,
        Operation::ListObjects | Operation::ListObjectsV2 => listing::objects(front, asked).await,
        Operation::ListObjectVersions => listing::versions(front, asked).await,
        Operation::ListMultipartUploads => multipart::list_uploads(front, asked).await,
        Operation::DeleteObjects => object::delete_many(front, asked, body).await,

        Operation::GetObject => object::get(front, asked, false).await,
        Operation::HeadObject => object::get(front, asked, true).await,
        Operation::PutObject => object::put(front, asked, body).await,
        // On the heap: the largest, it would be moved with every request.
        Operation::CopyObject => Box::pin(object::copy(front, asked)).await,
        Operation::DeleteObject => object::delete(front, asked).await,
        Operation::GetObjectTagging => object::tags(front, asked).await,
        Operation::PutObjectTagging => object::set_tags(front, asked, body).await,
        Operation::DeleteObjectTagging => object::delete_tags(front, asked).await,
        Operation::GetObjectAcl => {
            object::must_exist(front, asked).await?;
            bucket::acl(front, asked).await
        }

        Operation::CreateMultipartUpload => multipart::create(front, asked).await,
        Operation::UploadPart => multipart::put_part(front, asked, body).await,
        Operation::CompleteMultipartUpload => multipart::complete(front, asked, body).await,
        Operation::AbortMultipartUpload => multipart::abort(front, asked).await,
        Operation::ListParts => multipart::list_parts(front, asked).await,

        _ => {
            Err(ErrorCode::NotImplemented
                .because(format!("{} is not implemented.", definition.name)))
        }
    }
}

/// A read of configuration that a bucket, or an object that is there, does not have.
async fn absent(
    front: &S3Service,
    asked: &S3Request,
    resource: S3Resource,
    code: ErrorCode,
) -> HandlerResult {
    match resource {
        S3Resource::Object => object::must_exist(front, asked).await?,
        S3Resource::Service | S3Resource::Bucket => drop(front.sight(asked).await?),
    }
    Err(code.into())
}

/// A read of configuration whose absence is an empty document.
async fn unset(front: &S3Service, asked: &S3Request, root: &'static str) -> HandlerResult {
    front.sight(asked).await?;
    Ok(answer::xml(XmlWriter::new(root).finish(root)))
}

/// GetBucketRequestPayment.
async fn payer(front: &S3Service, asked: &S3Request) -> HandlerResult {
    front.sight(asked).await?;
    let root = "RequestPaymentConfiguration";
    let mut writer = XmlWriter::new(root);
    writer.text("Payer", "BucketOwner");
    Ok(answer::xml(writer.finish(root)))
}
