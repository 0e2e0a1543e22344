//! Reading an object's bytes: a plan made from its attributes, and the body that the plan opens.

use std::ops::Range;

use compactor::view::Snapshot;
use http::Response;
use http::header::RANGE;
use ingest::entry::{ObjectVersion, StoredChecksum};
use ingest::ids::BucketId;
use ingest::log::ReadError;
use ingest::name::ObjectKey;
use ingest::record::VersionRef;
use query::object::{FoundObject, ObjectBody};
use s3::checksum::etag;
use s3::error::{ErrorCode, S3Error};

use crate::api::authentication::now;
use crate::api::conditions::{self, ReadVerdict, judge, may_take_range};
use crate::api::errors::read_error;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult, ResponseBody};
use crate::server::partition_handle::PartitionHandle;

/// The bytes of an object that a request reads.
pub struct ReadPlan {
    /// The bytes.
    pub range: Range<u64>,
    /// True when the response says which bytes these are (206), even if they are all.
    pub is_partial: bool,
    /// The part that the request names by its number.
    pub part: Option<ReadPart>,
}

/// The part of an object that a request reads.
pub struct ReadPart {
    /// The number of the object's parts; `None` for an object that was written in one piece.
    pub count: Option<u16>,
    /// The checksum of the part's bytes, if it is known.
    pub checksum: Option<StoredChecksum>,
}

impl ReadPlan {
    /// All bytes of an object.
    pub fn whole(size: u64) -> Self {
        Self { range: 0..size, is_partial: false, part: None }
    }

    /// The number of bytes.
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The bytes that a request's range or part number names. A range that is not well-formed, or that `If-Range` makes
    /// void, means all bytes. Fails with `InvalidRange` for bytes that the object does not have, and with
    /// `InvalidPartNumber` for such a part.
    pub fn of(request: &S3Request, object: &ObjectVersion) -> Result<Self, S3Error> {
        let attributes = &object.attributes;
        let size = attributes.size;
        let range = request.header(&RANGE)?;
        if request.query("partNumber").is_some() {
            if range.is_some() {
                return Err(ErrorCode::InvalidRequest
                    .because("Cannot specify both Range header and partNumber query parameter"));
            }
            return Self::of_part(request.part_number()?.get(), object);
        }
        let headers = &request.parts.headers;
        let range = match range {
            Some(_) if !may_take_range(headers, attributes.etag, object.created.micros())? => None,
            range => range,
        };
        Ok(match conditions::range(range, size)? {
            Some(range) => Self { range, is_partial: true, part: None },
            None => Self::whole(size),
        })
    }

    /// The bytes of a part. An object that was written in one piece has one. Parts are counted from 1 on, whatever
    /// their numbers in the upload were.
    fn of_part(number: u16, object: &ObjectVersion) -> Result<Self, S3Error> {
        let attributes = &object.attributes;
        let (size, parts) = (attributes.size, &attributes.parts);
        if number == 1 && parts.is_empty() {
            let checksum = object.checksums().first().cloned();
            let part = Some(ReadPart { count: None, checksum });
            return Ok(Self { range: 0..size, is_partial: size > 0, part });
        }
        let before = usize::from(number) - 1;
        let Some(part) = parts.get(before) else {
            return Err(S3Error::from(ErrorCode::InvalidPartNumber)
                .with("ActualPartCount", parts.len().max(1).to_string())
                .with("PartNumberRequested", number.to_string()));
        };
        let start: u64 = parts[..before].iter().map(|part| part.size).sum();
        let count = Some(attributes.etag.parts);
        Ok(Self {
            range: start..start + part.size,
            is_partial: part.size > 0,
            part: Some(ReadPart { count, checksum: part.checksum.clone() }),
        })
    }
}

/// The response of a read that ends without an object's bytes.
pub enum EarlyResponse {
    /// An error of the store.
    Read(ReadError),
    /// An error that the client caused.
    S3(S3Error),
    /// The client has this object already.
    NotModified(Box<ObjectVersion>),
}

impl From<ReadError> for EarlyResponse {
    fn from(error: ReadError) -> Self {
        EarlyResponse::Read(error)
    }
}

impl From<S3Error> for EarlyResponse {
    fn from(error: S3Error) -> Self {
        EarlyResponse::S3(error)
    }
}

impl EarlyResponse {
    /// The response, or the error that becomes one.
    pub fn into_answer(self) -> HandlerResult {
        match self {
            EarlyResponse::Read(error) => Err(read_error(error)),
            EarlyResponse::S3(error) => Err(error),
            EarlyResponse::NotModified(object) => Ok(not_modified(&object)),
        }
    }
}

/// The response to a client that has the object already: the headers of the object's response by which a cache is kept
/// (RFC 9110, 15.4.5).
fn not_modified(object: &ObjectVersion) -> Response<ResponseBody> {
    let mut answer = response::empty(304);
    let tag = object.attributes.etag;
    response::set(&mut answer, "etag", &etag(&tag.md5, tag.parts));
    response::set(&mut answer, "last-modified", &s3::time::http(object.created.micros()));
    for name in ["cache-control", "expires"] {
        if let Some(value) = object.attributes.header(name) {
            response::set(&mut answer, name, value);
        }
    }
    answer
}

/// Fails with the response of a read whose conditions do not hold for an object.
pub fn check_conditions(request: &S3Request, object: &ObjectVersion) -> Result<(), EarlyResponse> {
    match judged(request, "", object)? {
        ReadVerdict::Pass => Ok(()),
        ReadVerdict::NotModified => Err(EarlyResponse::NotModified(Box::new(object.clone()))),
        ReadVerdict::Failed(condition) => {
            Err(S3Error::from(ErrorCode::PreconditionFailed).with("Condition", condition).into())
        }
    }
}

/// Evaluates the conditions of a read whose headers have a prefix, as [`judge`] does. Fails for a header that cannot be
/// read.
pub fn judged(
    request: &S3Request,
    prefix: &str,
    object: &ObjectVersion,
) -> Result<ReadVerdict, S3Error> {
    let (etag, created) = (object.attributes.etag, object.created.micros());
    judge(&request.parts.headers, prefix, etag, created, now())
}

/// A version whose bytes are open.
pub struct OpenedObject {
    /// The version.
    pub found: FoundObject,
    /// The bytes that were chosen.
    pub plan: ReadPlan,
    /// The bytes, verified as they are read.
    pub body: ObjectBody,
}

/// Finds a version in a snapshot, plans the read and opens the bytes; `None` when there is no such version. `plan_of` is
/// called again when the version must be looked up again, so it must be pure. Fails with the error of `plan_of`, before
/// any byte is read.
pub async fn open(
    partition: PartitionHandle<'_>,
    snapshot: Snapshot,
    bucket: BucketId,
    key: &ObjectKey,
    version: VersionRef,
    plan_of: impl Fn(&FoundObject) -> Result<ReadPlan, EarlyResponse>,
) -> Result<Option<OpenedObject>, EarlyResponse> {
    let mut planned = None;
    let range_of = |found: &FoundObject| -> Result<Range<u64>, EarlyResponse> {
        Ok(planned.insert(plan_of(found)?).range.clone())
    };
    let opened = partition.open_object(snapshot, bucket, key, version, range_of).await?;
    Ok(opened.zip(planned).map(|((found, body), plan)| OpenedObject { found, plan, body }))
}
