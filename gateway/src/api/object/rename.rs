//! RenameObject: another key for an object, without a copy of its bytes.

use compactor::outcome::{RecordOutcome, Rejection};
use ingest::name::ObjectKey;
use ingest::record::{CLIENT_TOKEN_BYTES_MAX, RecordBody, RenameObject};
use s3::error::{ErrorCode, S3Error};
use s3::names;
use s3::operation::RENAME_SOURCE;

use crate::api::conditions;
use crate::api::context::S3Context;
use crate::api::errors::{rejected, unexpected};
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};

/// The prefix of the headers with conditions on the source.
const PREFIX: &str = "x-amz-rename-source-";
/// The header with the client's token.
const TOKEN: &str = "x-amz-client-token";

/// RenameObject. The response comes after the change is durable and visible; both keys change in one step. Fails with
/// `NoSuchKey` without the source, with `PreconditionFailed` when a condition on either object does not hold, with
/// `NotImplemented` in a bucket that keeps versions, and with `IdempotencyParameterMismatch` for a token under which
/// another request was done. A repetition under the token of a rename that was done succeeds and changes nothing.
pub async fn rename(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    let key = request.object_key()?;
    let source = source(request, bucket.name.as_str())?;
    check_keys(&source, &key)?;
    let token = token(request)?;
    let condition = conditions::of_rename(&request.parts.headers, "")?;
    let source_condition = conditions::of_rename(&request.parts.headers, PREFIX)?;
    let body = |config| {
        RecordBody::RenameObject(RenameObject {
            bucket: bucket.id,
            config,
            key: key.clone(),
            condition,
            source: source.clone(),
            source_condition,
            token: token.clone(),
        })
    };
    match context.submit_configured(request, &bucket, body).await? {
        RecordOutcome::Written(_) => Ok(response::empty(200)),
        RecordOutcome::Rejected(Rejection::NoSuchKey) => {
            Err(S3Error::from(ErrorCode::NoSuchKey).with("Key", source.as_str()))
        }
        RecordOutcome::Rejected(Rejection::SourceConditionFailed) => {
            Err(rejected(Rejection::PreconditionFailed).with("Condition", source_header(request)))
        }
        RecordOutcome::Rejected(rejection) => Err(rejected(rejection)),
        other => Err(unexpected(&other)),
    }
}

/// The key that the source header names: the key alone, or after a slash, or after a slash, the bucket and a slash. Fails
/// with `InvalidArgument` for anything else.
fn source(request: &S3Request, bucket: &str) -> Result<ObjectKey, S3Error> {
    let text = request.header(RENAME_SOURCE)?.unwrap_or_default();
    let text = names::decode(text)?;
    let key = match text.strip_prefix('/') {
        Some(path) => {
            let in_bucket = path.strip_prefix(bucket).and_then(|rest| rest.strip_prefix('/'));
            in_bucket.unwrap_or(path)
        }
        None => text.as_str(),
    };
    ObjectKey::new(key.as_bytes().to_vec()).map_err(|_| {
        ErrorCode::InvalidArgument
            .because("The rename source must be the key of an object in the bucket.")
            .with("ArgumentName", RENAME_SOURCE)
            .with("ArgumentValue", text.as_str())
    })
}

/// Refuses keys that end with a slash, as AWS does: a client that takes such a key for a folder would find the objects in
/// it where they were. Refuses a rename that would change nothing.
fn check_keys(source: &ObjectKey, key: &ObjectKey) -> Result<(), S3Error> {
    let is_folder = |key: &ObjectKey| key.as_str().ends_with('/');
    if is_folder(source) || is_folder(key) {
        return Err(ErrorCode::InvalidRequest
            .because("RenameObject does not take keys that end with a slash: no objects but the named one are renamed."));
    }
    if source == key {
        return Err(ErrorCode::InvalidRequest
            .because("The rename source and the destination are the same object."));
    }
    Ok(())
}

/// The client's token; empty without one. Fails with `InvalidArgument` for a text that AWS refuses.
fn token(request: &S3Request) -> Result<String, S3Error> {
    let Some(token) = request.header(TOKEN)? else { return Ok(String::new()) };
    let is_good = (1..=CLIENT_TOKEN_BYTES_MAX).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_good {
        return Ok(token.to_owned());
    }
    Err(ErrorCode::InvalidArgument
        .because("A client token has 1 to 64 characters of ASCII without blanks.")
        .with("ArgumentName", TOKEN)
        .with("ArgumentValue", token))
}

/// The first header with a condition on the source.
fn source_header(request: &S3Request) -> String {
    let names = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];
    let names = names.map(|name| format!("{PREFIX}{name}"));
    let given = names.into_iter().find(|name| request.parts.headers.contains_key(name));
    given.unwrap_or_default()
}
