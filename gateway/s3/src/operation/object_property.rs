//! Operations on the properties of objects: access control lists, tags, locks, annotations, encryption.

use iam::Action;

use crate::error::ErrorCode;

use super::body::{BodyKind, DOCUMENT_BYTES_MAX};
use super::definition::S3Resource::Object;
use super::definition::{OperationDefinition, delete, get, put};
use super::groups::{ANNOTATION, ANNOTATIONS, DOCUMENT, TOKEN, VERSION};
use super::name::Operation;
use super::required_action::RequiredAction;

/// The rows, in the order of the page.
pub(super) const ROWS: &[OperationDefinition] = &[
    get(Operation::GetObjectAcl, Object)
        .selected_by(&["acl"])
        .parameters(&[VERSION])
        .requires(&[
            RequiredAction::of_latest(Action::GetObjectAcl),
            RequiredAction::of_version(Action::GetObjectVersionAcl),
        ])
        .served(),
    put(Operation::PutObjectAcl, Object)
        .selected_by(&["acl"])
        .parameters(&[VERSION])
        .requires(&[
            RequiredAction::of_latest(Action::PutObjectAcl),
            RequiredAction::of_version(Action::PutObjectVersionAcl),
        ])
        .unread(BodyKind::Xml),
    get(Operation::GetObjectTagging, Object)
        .selected_by(&["tagging"])
        .parameters(&[VERSION])
        .requires(&[
            RequiredAction::of_latest(Action::GetObjectTagging),
            RequiredAction::of_version(Action::GetObjectVersionTagging),
        ])
        .served(),
    put(Operation::PutObjectTagging, Object)
        .selected_by(&["tagging"])
        .parameters(&[VERSION])
        .headers(&[DOCUMENT])
        .requires(&[
            RequiredAction::of_latest(Action::PutObjectTagging),
            RequiredAction::of_version(Action::PutObjectVersionTagging),
        ])
        .document(DOCUMENT_BYTES_MAX)
        .served(),
    delete(Operation::DeleteObjectTagging, Object)
        .selected_by(&["tagging"])
        .parameters(&[VERSION])
        .requires(&[
            RequiredAction::of_latest(Action::DeleteObjectTagging),
            RequiredAction::of_version(Action::DeleteObjectVersionTagging),
        ])
        .served(),
    get(Operation::GetObjectLegalHold, Object)
        .selected_by(&["legal-hold"])
        .parameters(&[VERSION])
        .requires(&[RequiredAction::always(Action::GetObjectLegalHold)])
        .absent(ErrorCode::NoSuchObjectLockConfiguration),
    put(Operation::PutObjectLegalHold, Object)
        .selected_by(&["legal-hold"])
        .parameters(&[VERSION])
        .requires(&[RequiredAction::always(Action::PutObjectLegalHold)])
        .unread(BodyKind::Xml),
    get(Operation::GetObjectRetention, Object)
        .selected_by(&["retention"])
        .parameters(&[VERSION])
        .requires(&[RequiredAction::always(Action::GetObjectRetention)])
        .absent(ErrorCode::NoSuchObjectLockConfiguration),
    put(Operation::PutObjectRetention, Object)
        .selected_by(&["retention"])
        .parameters(&[VERSION])
        .requires(&[
            RequiredAction::always(Action::PutObjectRetention),
            RequiredAction::with_header(
                "x-amz-bypass-governance-retention",
                Action::BypassGovernanceRetention,
            ),
        ])
        .unread(BodyKind::Xml),
    get(Operation::GetObjectAnnotation, Object)
        .selected_by(&["annotation", "annotationName"])
        .parameters(&[VERSION])
        .requires(&[RequiredAction::always(Action::GetObjectAnnotation)]),
    put(Operation::PutObjectAnnotation, Object)
        .selected_by(&["annotation"])
        .parameters(&[VERSION, ANNOTATION])
        .requires(&[RequiredAction::always(Action::PutObjectAnnotation)])
        .unread(BodyKind::Payload),
    delete(Operation::DeleteObjectAnnotation, Object)
        .selected_by(&["annotation"])
        .parameters(&[VERSION, ANNOTATION])
        .requires(&[RequiredAction::always(Action::DeleteObjectAnnotation)]),
    get(Operation::ListObjectAnnotations, Object)
        .selected_by(&["annotation"])
        .parameters(&[VERSION, TOKEN, ANNOTATIONS])
        .requires(&[RequiredAction::always(Action::ListObjectAnnotations)]),
    put(Operation::UpdateObjectEncryption, Object)
        .selected_by(&["encryption"])
        .parameters(&[VERSION])
        .requires(&[RequiredAction::always(Action::UpdateObjectEncryption)])
        .unread(BodyKind::Xml),
];
