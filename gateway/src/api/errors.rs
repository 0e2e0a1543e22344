//! The S3 error for every error and rejection of the layers below.

use compactor::outcome::{RecordOutcome, Rejection};
use compactor::partition::{PayloadError, SubmitError};
use ingest::bulk::BulkError;
use ingest::log::{AppendError, ReadError};
use s3::error::{ALLOW, ErrorCode, S3Error};

/// The S3 error for a read that failed. A corruption's message has the file and the position, so
/// that the owner of the object learns what happened to it.
pub fn read_error(error: ReadError) -> S3Error {
    match error {
        ReadError::Corrupt(corruption) => ErrorCode::InternalError.because(corruption.to_string()),
        other => ErrorCode::ServiceUnavailable.because(other.to_string()),
    }
}

/// The S3 error for a write without an outcome. `SlowDown` and `ServiceUnavailable` may be retried; after some of the
/// latter the write may have been done.
pub fn submit_error(error: SubmitError) -> S3Error {
    match error {
        SubmitError::Unreadable(error) => read_error(error),
        SubmitError::Overloaded
        | SubmitError::NotDone
        | SubmitError::Append(AppendError::Full { .. }) => {
            ErrorCode::SlowDown.because(error.to_string())
        }
        SubmitError::TooLarge(_) => ErrorCode::InvalidRequest.because(error.to_string()),
        SubmitError::NotNow(_)
        | SubmitError::Append(_)
        | SubmitError::Stopped(_)
        | SubmitError::Quarantined(_) => ErrorCode::ServiceUnavailable.because(error.to_string()),
    }
}

/// The S3 error for payload that could not be written. Nothing refers to the bytes that were.
pub fn payload_error(error: PayloadError) -> S3Error {
    match error {
        PayloadError::Bulk(error @ BulkError::Full { .. }) => {
            ErrorCode::SlowDown.because(error.to_string())
        }
        PayloadError::Append(error @ AppendError::Full { .. }) => {
            ErrorCode::SlowDown.because(error.to_string())
        }
        PayloadError::Bulk(BulkError::WrongLength { .. }) => ErrorCode::IncompleteBody.into(),
        error => ErrorCode::ServiceUnavailable.because(error.to_string()),
    }
}

/// The S3 error for an outcome other than the success that the operation expects: that of its rejection, or
/// `InternalError` for an outcome that the operation never has.
pub fn unexpected(outcome: &RecordOutcome) -> S3Error {
    match outcome {
        RecordOutcome::Rejected(rejection) => rejected(*rejection),
        other => {
            ErrorCode::InternalError.because(format!("an outcome that was not expected: {other:?}"))
        }
    }
}

/// The S3 error for a record that was rejected when it was applied.
pub fn rejected(rejection: Rejection) -> S3Error {
    let code = match rejection {
        Rejection::NoSuchBucket => ErrorCode::NoSuchBucket,
        Rejection::BucketAlreadyOwned => ErrorCode::BucketAlreadyOwnedByYou,
        Rejection::BucketExists => ErrorCode::BucketAlreadyExists,
        Rejection::BucketNotEmpty => ErrorCode::BucketNotEmpty,
        Rejection::BucketWritten => ErrorCode::OperationAborted,
        Rejection::PreconditionFailed | Rejection::SourceConditionFailed => {
            ErrorCode::PreconditionFailed
        }
        Rejection::NoSuchKey => ErrorCode::NoSuchKey,
        Rejection::NoSuchVersion => ErrorCode::NoSuchVersion,
        Rejection::IsDeleteMarker => ErrorCode::MethodNotAllowed,
        Rejection::NoSuchUpload => ErrorCode::NoSuchUpload,
        Rejection::InvalidPart => ErrorCode::InvalidPart,
        Rejection::InvalidPartOrder => ErrorCode::InvalidPartOrder,
        Rejection::EntityTooSmall => ErrorCode::EntityTooSmall,
        Rejection::ConfigurationTooLarge => ErrorCode::EntityTooLarge,
        Rejection::ConfigurationMalformed => ErrorCode::MalformedXml,
        Rejection::KeepsVersions => ErrorCode::NotImplemented,
        Rejection::TokenReused => ErrorCode::IdempotencyParameterMismatch,
        Rejection::Retry(_)
        | Rejection::WrongEpoch
        | Rejection::SequenceGap
        | Rejection::Expired
        | Rejection::PayloadMissing
        | Rejection::StaleLease
        | Rejection::StaleCut => ErrorCode::ServiceUnavailable,
    };
    match rejection {
        Rejection::IsDeleteMarker => S3Error::from(code)
            .with(ALLOW, "DELETE")
            .with("ResourceType", "DeleteMarker")
            .with("DeleteMarker", "true"),
        Rejection::KeepsVersions => code.because(
            "Objects of a bucket whose versioning is enabled or suspended are not renamed.",
        ),
        _ => code.into(),
    }
}
