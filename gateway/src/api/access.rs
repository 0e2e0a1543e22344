//! Access of a request to its resources: every action that its operation requires must be allowed.
//!
//! The table of operations says which actions are required on which target, and `iam` decides each of them.

use http::HeaderName;
use iam::{BucketResource, Decision, RequestContext, Resource, ResourceLevel, authorize};
use s3::error::{ErrorCode, S3Error};
use s3::operation::{ActionTarget, COPY_SOURCE, RequiredAction};
use s3::parsed_names::EXPECTED_OWNER;

use super::request::S3Request;
use crate::users::principal;

/// The header that names the owner of the copy's source whom the client expects.
static SOURCE_EXPECTED_OWNER: HeaderName =
    HeaderName::from_static("x-amz-source-expected-bucket-owner");

/// The resources of a request that are checked together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestSide {
    /// The bucket of the request's path, and the object in it. Keys that a document names count as objects in it.
    Own,
    /// The source of a copy.
    Source,
}

/// The key that is checked together with its bucket, and the side of the request that names both.
#[derive(Clone, Copy, Debug)]
pub struct CheckedObject<'a> {
    /// The side.
    pub side: RequestSide,
    /// The key; empty for an operation on a bucket.
    pub key: &'a str,
}

impl<'a> CheckedObject<'a> {
    /// The key of the request's path.
    pub fn own(request: &'a S3Request) -> Self {
        Self { side: RequestSide::Own, key: request.key.as_deref().unwrap_or_default() }
    }
}

impl RequestSide {
    fn has(self, target: ActionTarget) -> bool {
        (self == RequestSide::Source) == (target == ActionTarget::CopySource)
    }

    fn expected_owner(self, request: &S3Request) -> Result<Option<&str>, S3Error> {
        request.header(match self {
            RequestSide::Own => &EXPECTED_OWNER,
            RequestSide::Source => &SOURCE_EXPECTED_OWNER,
        })
    }

    fn has_version(self, request: &S3Request) -> Result<bool, S3Error> {
        Ok(match self {
            RequestSide::Own => request.query("versionId").is_some(),
            RequestSide::Source => {
                request.header(COPY_SOURCE)?.is_some_and(|source| source.contains("?versionId="))
            }
        })
    }
}

/// Checks every action that the request's operation requires on one side of it. `bucket` is as the handler reads it,
/// without an owner where it does not exist; then the operation itself answers that it is missing.
///
/// Fails with `AccessDenied` when one action is denied, and for an operation that requires no action on this side:
/// access without a rule is never granted.
pub fn check(
    request: &S3Request,
    object: CheckedObject<'_>,
    bucket: BucketResource<'_>,
) -> Result<(), S3Error> {
    let CheckedObject { side, key } = object;
    let has_version = side.has_version(request)?;
    let applies = |required: &&RequiredAction| {
        side.has(required.target) && required.applies(has_version, &request.parts.headers)
    };
    let actions = request.operation.map_or(&[][..], |operation| operation.actions);
    let mut is_checked = false;
    for required in actions.iter().filter(applies) {
        let resource = match required.action.level() {
            ResourceLevel::Service => Resource::Service,
            ResourceLevel::Bucket => Resource::Bucket(bucket),
            ResourceLevel::Object => Resource::Object { bucket, key },
        };
        decide(request, side, required, &resource)?;
        is_checked = true;
    }
    if is_checked { Ok(()) } else { Err(ErrorCode::AccessDenied.into()) }
}

/// Checks every action that the request's operation requires on the service as a whole, or on a bucket that the
/// operation makes.
pub fn check_without_bucket(request: &S3Request) -> Result<(), S3Error> {
    let name = request.bucket.as_deref().unwrap_or_default();
    check(request, CheckedObject::own(request), BucketResource { name, owner: None })
}

fn decide(
    request: &S3Request,
    side: RequestSide,
    required: &RequiredAction,
    resource: &Resource<'_>,
) -> Result<(), S3Error> {
    let context = RequestContext { expected_owner: side.expected_owner(request)? };
    match authorize(&principal(&request.user), required.action, resource, &context) {
        Decision::Allow => Ok(()),
        Decision::Deny(reason) => {
            let (action, reason) = (required.action.name(), reason.text());
            tracing::debug!(request = request.id, action, reason, "an action is denied");
            Err(ErrorCode::AccessDenied.into())
        }
    }
}
