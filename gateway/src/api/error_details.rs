//! The elements of error documents that follow from the request, as AWS sends them.
//!
//! A handler adds the elements that only the handler knows. The others are added here for every operation, so that one
//! error has the same elements wherever the error occurs.

use s3::error::{ErrorCode, S3Error};
use s3::operation::OperationDefinition;

use super::request::S3Request;

/// Adds the elements that AWS's document of an error has besides code and message, where they follow from the request.
/// An element that the error has already is never replaced.
pub fn with_details(error: S3Error, request: &S3Request) -> S3Error {
    let key = || request.key.clone();
    let query = |name: &str| request.query(name).map(str::to_owned);
    match error.code {
        ErrorCode::NoSuchBucket => add(error, "BucketName", request.bucket.clone()),
        ErrorCode::NoSuchKey => add(error, "Key", key()),
        ErrorCode::NoSuchVersion => add(add(error, "Key", key()), "VersionId", query("versionId")),
        ErrorCode::NoSuchUpload | ErrorCode::InvalidPart | ErrorCode::InvalidPartOrder => {
            add(error, "UploadId", query("uploadId"))
        }
        ErrorCode::MethodNotAllowed => {
            let method = request.parts.method.as_str().to_owned();
            let resource = request.operation.map(|operation| operation.resource.name());
            let error = add(error, "Method", Some(method));
            add(error, "ResourceType", resource.map(str::to_owned))
        }
        ErrorCode::PreconditionFailed => {
            let is_write = request.operation.is_some_and(OperationDefinition::is_write);
            let condition = if is_write { write_condition(request) } else { None };
            add(error, "Condition", condition.map(str::to_owned))
        }
        _ => error,
    }
}

/// The condition of a write: that on the entity tag, if there are several.
fn write_condition(request: &S3Request) -> Option<&'static str> {
    let conditions = [
        ("if-match", "If-Match"),
        ("if-none-match", "If-None-Match"),
        ("if-modified-since", "If-Modified-Since"),
        ("if-unmodified-since", "If-Unmodified-Since"),
    ];
    let is_given = |(name, _): &(&str, &str)| request.parts.headers.contains_key(*name);
    conditions.into_iter().find(is_given).map(|(_, name)| name)
}

/// Adds an element, unless there is no value or the error has the element already.
fn add(error: S3Error, name: &'static str, value: Option<String>) -> S3Error {
    match value {
        Some(value) if error.extra.iter().all(|(known, _)| *known != name) => {
            error.with(name, value)
        }
        _ => error,
    }
}
