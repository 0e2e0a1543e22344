//! Operations on objects.

use iam::Action;

use super::body::{BodyKind, DELETE_BYTES_MAX, UPLOAD_BYTES_MAX};
use super::definition::S3Resource::{Bucket, Object};
use super::definition::{OperationDefinition, delete, get, head, post, put};
use super::groups::{
    ATTRIBUTES, BODY, CONDITIONS, COPY, COPY_FROM, DOCUMENT, OVERRIDES, PART, READ,
    READ_CONDITIONS, RENAME, SELECT, STORED, VERSION,
};
use super::name::Operation;
use super::required_action::ActionTarget::{Bucket as OnBucket, CopySource, EachKey};
use super::required_action::{COPY_SOURCE, RequiredAction};
use crate::headers;

/// The actions that a read of an object's bytes or headers requires.
const READ_OBJECT: &[RequiredAction] = &[
    RequiredAction::of_latest(Action::GetObject),
    RequiredAction::of_version(Action::GetObjectVersion),
];

/// The actions that a new object requires. Headers that set more than the object require more.
pub(super) const STORE_OBJECT: &[RequiredAction] = &[
    RequiredAction::always(Action::PutObject),
    RequiredAction::with_acl(Action::PutObjectAcl),
    RequiredAction::with_header("x-amz-tagging", Action::PutObjectTagging),
    RequiredAction::with_header("x-amz-object-lock-mode", Action::PutObjectRetention),
    RequiredAction::with_header("x-amz-object-lock-legal-hold", Action::PutObjectLegalHold),
];

const COPY_OBJECT: &[RequiredAction] = &[
    RequiredAction::of_latest(Action::GetObject).on(CopySource),
    RequiredAction::of_version(Action::GetObjectVersion).on(CopySource),
    STORE_OBJECT[0],
    STORE_OBJECT[1],
    STORE_OBJECT[2],
    STORE_OBJECT[3],
    STORE_OBJECT[4],
];

/// The headers that a form's fields stand for, besides those that every operation obeys.
const FORM: &[&str] = &["content-md5", headers::CHECKSUM, "x-amz-sdk-checksum-algorithm"];

const BYPASS: RequiredAction = RequiredAction::with_header(
    "x-amz-bypass-governance-retention",
    Action::BypassGovernanceRetention,
);

/// The rows, in the order of the page.
pub(super) const ROWS: &[OperationDefinition] = &[
    put(Operation::PutObject, Object)
        .headers(&[CONDITIONS, STORED, BODY])
        .requires(STORE_OBJECT)
        .payload(UPLOAD_BYTES_MAX)
        .served(),
    post(Operation::PostObject, Bucket)
        .headers(&[STORED, FORM])
        .requires(STORE_OBJECT)
        .form(UPLOAD_BYTES_MAX)
        .served(),
    get(Operation::GetObject, Object)
        .parameters(&[OVERRIDES, VERSION, PART])
        .headers(&[READ_CONDITIONS, READ])
        .requires(READ_OBJECT)
        .served(),
    head(Operation::HeadObject, Object)
        .parameters(&[OVERRIDES, VERSION, PART])
        .headers(&[READ_CONDITIONS, READ])
        .requires(READ_OBJECT)
        .served(),
    get(Operation::GetObjectAttributes, Object)
        .selected_by(&["attributes"])
        .parameters(&[VERSION])
        .headers(&[READ_CONDITIONS, ATTRIBUTES])
        .requires(&[
            RequiredAction::of_latest(Action::GetObject),
            RequiredAction::of_latest(Action::GetObjectAttributes),
            RequiredAction::of_version(Action::GetObjectVersion),
            RequiredAction::of_version(Action::GetObjectVersionAttributes),
        ])
        .served(),
    get(Operation::GetObjectTorrent, Object)
        .selected_by(&["torrent"])
        .requires(&[RequiredAction::always(Action::GetObjectTorrent)]),
    put(Operation::CopyObject, Object)
        .selected_by_header(COPY_SOURCE)
        .headers(&[CONDITIONS, COPY_FROM, COPY, STORED])
        .requires(COPY_OBJECT)
        .served(),
    put(Operation::RenameObject, Object)
        .selected_by(&["renameObject"])
        .headers(&[READ_CONDITIONS, RENAME])
        .requires(&[RequiredAction::always(Action::CreateSession).on(OnBucket)])
        .served(),
    delete(Operation::DeleteObject, Object)
        .parameters(&[VERSION])
        .headers(&[CONDITIONS])
        .requires(&[
            RequiredAction::of_latest(Action::DeleteObject),
            RequiredAction::of_version(Action::DeleteObjectVersion),
            BYPASS,
        ])
        .served(),
    post(Operation::DeleteObjects, Bucket)
        .selected_by(&["delete"])
        .headers(&[DOCUMENT])
        .requires(&[
            RequiredAction::of_latest(Action::DeleteObject).on(EachKey),
            RequiredAction::of_version(Action::DeleteObjectVersion).on(EachKey),
            BYPASS.on(EachKey),
        ])
        .document(DELETE_BYTES_MAX)
        .served(),
    post(Operation::RestoreObject, Object)
        .selected_by(&["restore"])
        .parameters(&[VERSION])
        .requires(&[RequiredAction::always(Action::RestoreObject)])
        .unread(BodyKind::Xml),
    post(Operation::SelectObjectContent, Object)
        .selected_by(&["select"])
        .parameters(&[SELECT])
        .requires(&[RequiredAction::always(Action::GetObject)])
        .unread(BodyKind::Xml),
    post(Operation::WriteGetObjectResponse, Bucket)
        .requires(&[RequiredAction::always(Action::WriteGetObjectResponse)])
        .unread(BodyKind::Payload)
        .of_service("s3-object-lambda"),
];
