//! Answers a request by the operation that it is. Which one that is, and that the request asks for nothing else, is
//! decided by the table in [`s3::operation`]. What is not there yet is refused in words: a write with
//! `NotImplemented`, a read of absent configuration with what AWS says of a bucket that has none.

use http::Response;
use hyper::body::Incoming;
use s3::error::{Code, S3Error};
use s3::operation::{self, Operation, Resource, State};
use s3::xml::Writer;

use super::answer::{self, Answer};
use super::{Asked, EXPECTED_OWNER, Front, bucket, check_owner, listing, multipart, object, sql};

type Answered = Result<Response<Answer>, S3Error>;

/// Answers a request.
pub async fn route(front: &Front, asked: Asked, body: Incoming) -> Answered {
    if asked.bucket.as_deref() == Some(sql::OWN) {
        return sql::answer(front, &asked, body).await;
    }
    let resource = match (&asked.bucket, &asked.key) {
        (None, _) => Resource::Service,
        (Some(_), None) => Resource::Bucket,
        (Some(_), Some(_)) => Resource::Object,
    };
    let definition = operation::decide(&operation::Request {
        method: asked.parts.method.as_str(),
        resource,
        query: &asked.query,
        headers: &asked.parts.headers,
    })?;
    if let State::Absent(code) = definition.state {
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

        _ => Err(Code::NotImplemented.because(format!("{} is not implemented.", definition.name))),
    }
}

/// A read of configuration that a bucket, or an object that is there, does not have.
async fn absent(front: &Front, asked: &Asked, resource: Resource, code: Code) -> Answered {
    match resource {
        Resource::Object => object::must_exist(front, asked).await?,
        Resource::Service | Resource::Bucket => drop(front.sight(asked).await?),
    }
    Err(code.into())
}

/// A read of configuration whose absence is an empty document.
async fn unset(front: &Front, asked: &Asked, root: &'static str) -> Answered {
    front.sight(asked).await?;
    Ok(answer::xml(Writer::new(root).finish(root)))
}

/// GetBucketRequestPayment.
async fn payer(front: &Front, asked: &Asked) -> Answered {
    front.sight(asked).await?;
    let root = "RequestPaymentConfiguration";
    let mut writer = Writer::new(root);
    writer.text("Payer", "BucketOwner");
    Ok(answer::xml(writer.finish(root)))
}
