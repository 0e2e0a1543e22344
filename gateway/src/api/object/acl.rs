//! GetObjectAcl.

use super::find::must_exist;
use crate::api::bucket::acl;
use crate::api::context::S3Context;
use crate::api::request::S3Request;
use crate::api::response::HandlerResult;

/// GetObjectAcl: an object has the access control list of its bucket. Fails when the object does not exist.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    must_exist(context, request).await?;
    acl::get(context, request).await
}
