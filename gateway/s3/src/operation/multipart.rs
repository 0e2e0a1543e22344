//! Operations on multipart uploads.

use iam::Action;

use super::body::{COMPLETE_BYTES_MAX, UPLOAD_BYTES_MAX};
use super::definition::S3Resource::{Bucket, Object};
use super::definition::{OperationDefinition, delete, get, post, put};
use super::groups::{
    BODY, COMPLETE, CONDITIONS, COPY_FROM, COPY_RANGE, DOCUMENT, PART, PARTS, STORED, UPLOAD,
    UPLOADS,
};
use super::name::Operation;
use super::object::STORE_OBJECT;
use super::required_action::ActionTarget::CopySource;
use super::required_action::{COPY_SOURCE, RequiredAction};

/// The rows, in the order of the page.
pub(super) const ROWS: &[OperationDefinition] = &[
    post(Operation::CreateMultipartUpload, Object)
        .selected_by(&["uploads"])
        .headers(&[STORED, UPLOAD])
        .requires(STORE_OBJECT)
        .served(),
    put(Operation::UploadPart, Object)
        .selected_by(&["uploadId"])
        .parameters(&[PART])
        .headers(&[BODY])
        .requires(&[RequiredAction::always(Action::PutObject)])
        .payload(UPLOAD_BYTES_MAX)
        .served(),
    put(Operation::UploadPartCopy, Object)
        .selected_by(&["uploadId"])
        .selected_by_header(COPY_SOURCE)
        .parameters(&[PART])
        .headers(&[COPY_FROM, COPY_RANGE])
        .requires(&[
            RequiredAction::of_latest(Action::GetObject).on(CopySource),
            RequiredAction::of_version(Action::GetObjectVersion).on(CopySource),
            RequiredAction::always(Action::PutObject),
        ])
        .served(),
    post(Operation::CompleteMultipartUpload, Object)
        .selected_by(&["uploadId"])
        .headers(&[CONDITIONS, COMPLETE, DOCUMENT])
        .requires(&[RequiredAction::always(Action::PutObject)])
        .document(COMPLETE_BYTES_MAX)
        .served(),
    delete(Operation::AbortMultipartUpload, Object)
        .selected_by(&["uploadId"])
        .requires(&[RequiredAction::always(Action::AbortMultipartUpload)])
        .served(),
    get(Operation::ListParts, Object)
        .selected_by(&["uploadId"])
        .parameters(&[PARTS])
        .requires(&[RequiredAction::always(Action::ListMultipartUploadParts)])
        .served(),
    get(Operation::ListMultipartUploads, Bucket)
        .selected_by(&["uploads"])
        .parameters(&[UPLOADS])
        .requires(&[RequiredAction::always(Action::ListBucketMultipartUploads)])
        .served(),
];
