//! GetObject and HeadObject.

use compactor::outcome::VersionName;
use compactor::state::BucketState;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED, RANGE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use ingest::entry::{ObjectVersion, StorageClass, StoredChecksum};
use ingest::record::Versioning;
use query::object::{FoundObject, ObjectBody};
use s3::checksum::etag;
use s3::encoded_word::encoded_word;
use s3::error::{ErrorCode, S3Error};
use s3::headers;
use s3::operation::Operation;
use s3::parsed_names::{CHECKSUM_MODE, CHECKSUM_TYPE};

use super::attributes::REDIRECT_LOCATION;
use super::find::{find, not_found, object_of};
use super::read::{EarlyResponse, OpenedObject, ReadPlan, check_conditions, open};
use crate::api::context::{BucketView, S3Context};
use crate::api::errors::read_error;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult, ResponseBody, add_checksum};
use crate::api::version_id::{found_name, version_ref, version_text};

/// The content type of an object for which the client gave none.
const DEFAULT_TYPE: HeaderValue = HeaderValue::from_static("binary/octet-stream");

/// GetObject. The first bytes are read and verified before the response begins; a later error resets the connection, so
/// that a client never takes a part for the whole.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    let BucketView { partition, bucket, snapshot } = context.bucket_for_read(request).await?;
    let key = request.object_key()?;
    let version = version_ref(request.query("versionId"))?;
    let plan_of = |found: &FoundObject| plan(request, found);
    match open(partition, snapshot, bucket.id, &key, version, plan_of).await {
        Ok(Some(OpenedObject { found, plan, body })) => {
            let body = stream(body, plan.len()).await?;
            answer(request, &bucket, &found, &plan, body)
        }
        Ok(None) => Err(not_found(request)),
        Err(early) => early.into_answer(),
    }
}

/// HeadObject: as GetObject, without reading a byte of the payload.
pub async fn head(context: &S3Context, request: &S3Request) -> HandlerResult {
    let view = context.bucket_for_read(request).await?;
    let bucket = view.bucket.clone();
    let found = find(view, request).await?;
    match plan(request, &found) {
        Ok(plan) => answer(request, &bucket, &found, &plan, ResponseBody::Head(plan.len())),
        Err(early) => early.into_answer(),
    }
}

/// The bytes to answer with. Fails for a delete marker, when a condition of the request does not hold, and for a range or
/// part that the object does not have.
fn plan(request: &S3Request, found: &FoundObject) -> Result<ReadPlan, EarlyResponse> {
    let object = object_of(request, found)?;
    check_conditions(request, object)?;
    Ok(ReadPlan::of(request, object)?)
}

/// The response for an object: its headers, and those of the range.
fn answer(
    request: &S3Request,
    bucket: &BucketState,
    found: &FoundObject,
    plan: &ReadPlan,
    body: ResponseBody,
) -> HandlerResult {
    let object = object_of(request, found)?;
    let mut answer = response::with_body(body);
    describe(&mut answer, request, bucket, object, found_name(found))?;
    add_checksums(&mut answer, request, object, plan)?;
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(plan.len()));
    if plan.is_partial {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = plan.range.end.saturating_sub(1);
        let text = format!("bytes {}-{last}/{}", plan.range.start, object.attributes.size);
        response::set(&mut answer, "content-range", &text);
    }
    if let Some(parts) = plan.part.as_ref().and_then(|part| part.count) {
        response::set(&mut answer, "x-amz-mp-parts-count", &parts.to_string());
    }
    Ok(answer)
}

/// The body of a response of `len` bytes. The first piece is read before the headers are sent, so that damage at the
/// beginning is an error response and not a broken connection.
async fn stream(body: ObjectBody, len: u64) -> Result<ResponseBody, S3Error> {
    let mut body = body;
    let first = body.next().await.map_err(read_error)?;
    let Some(first) = first else { return Ok(ResponseBody::Whole(None)) };
    if first.len() as u64 == len {
        return Ok(ResponseBody::Whole(Some(first)));
    }
    let rest = futures::stream::try_unfold(body, |mut body| async move {
        match body.next().await {
            Ok(Some(bytes)) => Ok(Some((bytes, body))),
            Ok(None) => Ok(None),
            Err(error) => {
                let operation = Operation::GetObject.name();
                tracing::error!(operation, %error, "a read failed on the way; the connection is reset");
                Err(std::io::Error::other(error.to_string()))
            }
        }
    });
    let pieces = futures::StreamExt::chain(futures::stream::iter([Ok(first)]), rest);
    Ok(ResponseBody::Stream(Box::pin(pieces), len))
}

/// Adds the headers that describe an object, and those that the query overrides.
fn describe(
    answer: &mut Response<ResponseBody>,
    request: &S3Request,
    bucket: &BucketState,
    object: &ObjectVersion,
    version: VersionName,
) -> Result<(), S3Error> {
    let attributes = &object.attributes;
    response::set(answer, ETAG, &etag(&attributes.etag.md5, attributes.etag.parts));
    response::set(answer, LAST_MODIFIED, &s3::time::http(object.created.micros()));
    answer.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if attributes.header("content-type").is_none() {
        answer.headers_mut().insert(CONTENT_TYPE, DEFAULT_TYPE);
    }
    for (name, value) in &attributes.headers {
        if let Some(name) = headers::STORED.into_iter().find(|known| known == name) {
            response::set(answer, name, value);
        }
    }
    for name in [StorageClass::HEADER, REDIRECT_LOCATION] {
        if let Some(value) = attributes.header(name) {
            response::set(answer, name, value);
        }
    }
    add_overrides(answer, request)?;
    for (name, value) in &attributes.metadata {
        let name = HeaderName::try_from(format!("x-amz-meta-{name}"));
        let value = HeaderValue::from_str(&encoded_word(value));
        if let (Ok(name), Ok(value)) = (name, value) {
            answer.headers_mut().append(name, value);
        }
    }
    if !attributes.tags.is_empty() {
        response::set(answer, "x-amz-tagging-count", &attributes.tags.len().to_string());
    }
    if bucket.versioning != Versioning::Off {
        response::set(answer, "x-amz-version-id", &version_text(version));
    }
    Ok(())
}

/// Adds the checksums of the bytes that are sent, if the request wants them: those of the object, or that of the part.
/// The type is the object's in both cases. A range has none.
fn add_checksums(
    answer: &mut Response<ResponseBody>,
    request: &S3Request,
    object: &ObjectVersion,
    plan: &ReadPlan,
) -> Result<(), S3Error> {
    let mode = request.header(&CHECKSUM_MODE)?;
    if !mode.is_some_and(|mode| mode.eq_ignore_ascii_case("enabled")) {
        return Ok(());
    }
    let checksums = object.checksums();
    match &plan.part {
        Some(part) => {
            let Some(checksum) = &part.checksum else { return Ok(()) };
            add_checksum(answer, checksum);
            let kind = checksums.first().map_or("FULL_OBJECT", StoredChecksum::kind);
            response::set(answer, &CHECKSUM_TYPE, kind);
        }
        None if request.header(&RANGE)?.is_none() => {
            checksums.iter().for_each(|checksum| add_checksum(answer, checksum));
        }
        None => {}
    }
    Ok(())
}

/// Sets the headers that the query overrides. Fails for a value that no header can have.
fn add_overrides(answer: &mut Response<ResponseBody>, request: &S3Request) -> Result<(), S3Error> {
    for (parameter, value) in &request.query {
        let Some(name) = parameter.strip_prefix("response-") else { continue };
        let Some(name) = headers::STORED.into_iter().find(|known| *known == name) else { continue };
        check_override(parameter, value)?;
        response::set(answer, name, value);
    }
    Ok(())
}

/// Fails for an override that a response header cannot carry: HTTP has no characters beyond Latin-1 and no line ends.
fn check_override(parameter: &str, value: &str) -> Result<(), S3Error> {
    if HeaderValue::from_str(value).is_ok() && value.chars().all(|c| c <= '\u{ff}') {
        return Ok(());
    }
    Err(ErrorCode::InvalidArgument
        .because("Header value cannot be represented using ISO-8859-1.")
        .with("ArgumentName", parameter)
        .with("ArgumentValue", value))
}
