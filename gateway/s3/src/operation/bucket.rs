//! Operations on buckets as a whole, and listings.

use iam::Action;

use super::body::DOCUMENT_BYTES_MAX;
use super::definition::S3Resource::{Bucket, Service};
use super::definition::{OperationDefinition, delete, get, head, put};
use super::groups::{
    BUCKETS, DIRECTORY_BUCKETS, DOCUMENT, MARKER, OWNERSHIP, PAGE, PAGE_V2, VERSIONS,
};
use super::name::Operation;
use super::required_action::RequiredAction;

/// The rows, in the order of the page.
pub(super) const ROWS: &[OperationDefinition] = &[
    put(Operation::CreateBucket, Bucket)
        .headers(&[DOCUMENT, OWNERSHIP])
        .requires(&[
            RequiredAction::always(Action::CreateBucket),
            RequiredAction::with_acl(Action::PutBucketAcl),
            RequiredAction::with_header(
                "x-amz-bucket-object-lock-enabled",
                Action::PutBucketObjectLockConfiguration,
            ),
            RequiredAction::with_header(
                "x-amz-bucket-object-lock-enabled",
                Action::PutBucketVersioning,
            ),
            RequiredAction::with_header(
                "x-amz-object-ownership",
                Action::PutBucketOwnershipControls,
            ),
        ])
        .document(DOCUMENT_BYTES_MAX)
        .served(),
    delete(Operation::DeleteBucket, Bucket)
        .requires(&[RequiredAction::always(Action::DeleteBucket)])
        .served(),
    head(Operation::HeadBucket, Bucket)
        .requires(&[RequiredAction::always(Action::ListBucket)])
        .served(),
    get(Operation::GetBucketLocation, Bucket)
        .selected_by(&["location"])
        .requires(&[RequiredAction::always(Action::GetBucketLocation)])
        .served(),
    get(Operation::CreateSession, Bucket)
        .selected_by(&["session"])
        .requires(&[RequiredAction::always(Action::CreateSession)]),
    get(Operation::ListBuckets, Service)
        .parameters(&[BUCKETS])
        .requires(&[RequiredAction::always(Action::ListAllMyBuckets)])
        .served(),
    get(Operation::ListDirectoryBuckets, Service)
        .parameters(&[DIRECTORY_BUCKETS])
        .requires(&[RequiredAction::always(Action::ListAllMyDirectoryBuckets)])
        .of_service("s3express"),
    get(Operation::ListObjects, Bucket)
        .parameters(&[PAGE, MARKER])
        .requires(&[RequiredAction::always(Action::ListBucket)])
        .served(),
    get(Operation::ListObjectsV2, Bucket)
        .selected_by(&["list-type"])
        .parameters(&[PAGE, PAGE_V2])
        .requires(&[RequiredAction::always(Action::ListBucket)])
        .served(),
    get(Operation::ListObjectVersions, Bucket)
        .selected_by(&["versions"])
        .parameters(&[PAGE, VERSIONS])
        .requires(&[RequiredAction::always(Action::ListBucketVersions)])
        .served(),
];
