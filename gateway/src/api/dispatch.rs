//! One match from operation to handler.
//!
//! The table in [`s3::operation`] decides which operation a request is, and that the request asks for nothing else. A
//! write that is not served is refused with `NotImplemented`; a read of configuration that a bucket does not have gets
//! the error that S3 has for it.

use s3::error::ErrorCode;
use s3::operation::{Operation, OperationDefinition, OperationSupport};

use super::bucket::{self, configuration};
use super::context::S3Context;
use super::request::{RequestBody, S3Request};
use super::response::HandlerResult;
use super::{list, multipart, object};

/// Calls the handler of an operation. Fails with `NotImplemented` for an operation without a handler.
pub async fn dispatch(
    context: &S3Context,
    definition: &OperationDefinition,
    request: &S3Request,
    body: RequestBody,
) -> HandlerResult {
    if let OperationSupport::Absent(code) = definition.state {
        return configuration::absent(context, request, definition.resource, code).await;
    }
    match definition.operation {
        Operation::ListBuckets => list::buckets::list(context, request).await,

        Operation::CreateBucket => bucket::create::create(context, request, body).await,
        Operation::HeadBucket => bucket::head::head(context, request).await,
        Operation::DeleteBucket => bucket::delete::delete(context, request).await,
        Operation::GetBucketLocation => bucket::location::get(context, request).await,
        Operation::GetBucketVersioning => bucket::versioning::get(context, request).await,
        Operation::PutBucketVersioning => bucket::versioning::put(context, request, body).await,
        Operation::GetBucketTagging => bucket::tagging::get(context, request).await,
        Operation::PutBucketTagging => bucket::tagging::put(context, request, body).await,
        Operation::DeleteBucketTagging => bucket::tagging::delete(context, request).await,
        Operation::GetBucketAcl => bucket::acl::get(context, request).await,
        Operation::GetBucketLogging => configuration::logging(context, request).await,
        Operation::GetBucketNotificationConfiguration => {
            bucket::notification::get(context, request).await
        }
        Operation::PutBucketNotificationConfiguration => {
            bucket::notification::put(context, request, body).await
        }
        Operation::ListenBucketNotification => bucket::listen::listen(context, request).await,
        Operation::GetBucketAccelerateConfiguration => {
            configuration::acceleration(context, request).await
        }
        Operation::GetBucketRequestPayment => configuration::payer(context, request).await,
        Operation::ListObjects | Operation::ListObjectsV2 => {
            list::objects::list(context, request).await
        }
        Operation::ListObjectVersions => list::versions::list(context, request).await,
        Operation::ListMultipartUploads => list::uploads::list(context, request).await,
        Operation::DeleteObjects => object::delete_many::delete(context, request, body).await,

        Operation::GetObject => object::get::get(context, request).await,
        Operation::HeadObject => object::get::head(context, request).await,
        Operation::GetObjectAttributes => object::get_attributes::get(context, request).await,
        Operation::PutObject => object::put::put(context, request, body).await,
        // A form without a signature in its head never comes here.
        Operation::PostObject => object::post::signed(request),
        // On the heap: the futures of copies are the largest, and would be moved with every request.
        Operation::CopyObject => Box::pin(object::copy::copy(context, request)).await,
        Operation::RenameObject => object::rename::rename(context, request).await,
        Operation::DeleteObject => object::delete::delete(context, request).await,
        Operation::GetObjectTagging => object::tagging::get(context, request).await,
        Operation::PutObjectTagging => object::tagging::put(context, request, body).await,
        Operation::DeleteObjectTagging => object::tagging::delete(context, request).await,
        Operation::GetObjectAcl => object::acl::get(context, request).await,

        Operation::CreateMultipartUpload => multipart::create::create(context, request).await,
        Operation::UploadPart => multipart::part::put(context, request, body).await,
        Operation::UploadPartCopy => Box::pin(multipart::part_copy::copy(context, request)).await,
        Operation::CompleteMultipartUpload => {
            multipart::complete::complete(context, request, body).await
        }
        Operation::AbortMultipartUpload => multipart::abort::abort(context, request).await,
        Operation::ListParts => list::parts::list(context, request).await,

        _ => dispatch_configuration(context, definition, request, body).await,
    }
}

/// The same for the configuration of buckets.
async fn dispatch_configuration(
    context: &S3Context,
    definition: &OperationDefinition,
    request: &S3Request,
    body: RequestBody,
) -> HandlerResult {
    match definition.operation {
        Operation::GetBucketCors => bucket::cors::get(context, request).await,
        Operation::PutBucketCors => bucket::cors::put(context, request, body).await,
        Operation::DeleteBucketCors => bucket::cors::delete(context, request).await,
        Operation::GetBucketOwnershipControls => bucket::ownership::get(context, request).await,
        Operation::PutBucketOwnershipControls => {
            bucket::ownership::put(context, request, body).await
        }
        Operation::DeleteBucketOwnershipControls => {
            bucket::ownership::delete(context, request).await
        }
        Operation::GetBucketWebsite => bucket::website::get(context, request).await,
        Operation::PutBucketWebsite => bucket::website::put(context, request, body).await,
        Operation::DeleteBucketWebsite => bucket::website::delete(context, request).await,
        Operation::PutBucketLogging => configuration::put_logging(context, request, body).await,
        Operation::PutBucketAccelerateConfiguration => {
            configuration::put_acceleration(context, request, body).await
        }
        Operation::PutBucketRequestPayment => {
            configuration::put_payer(context, request, body).await
        }
        _ => {
            Err(ErrorCode::NotImplemented
                .because(format!("{} is not implemented.", definition.name)))
        }
    }
}
