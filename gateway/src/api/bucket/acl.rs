//! GetBucketAcl.

use s3::document::{AccessControlList, AccessControlPolicy, Grant, Grantee, Owner};

use crate::api::context::S3Context;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};

/// GetBucketAcl: the owner has full control and is the only grantee. Fails when the bucket does not exist or belongs to
/// another user.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_read(request).await?.bucket;
    let id = bucket.owner.clone();
    let owner = Owner { display_name: context.display_name(&id).to_owned(), id };
    let grantee = Grantee::user(owner.clone());
    let grants = vec![Grant { grantee, permission: "FULL_CONTROL" }];
    let access_control_list = AccessControlList { grants };
    response::document(&AccessControlPolicy { owner, access_control_list })
}
