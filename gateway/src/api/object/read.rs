//! Reading an object's bytes: a plan made from its attributes, and the body that the plan opens.

use std::ops::Range;

use compactor::view::Snapshot;
use ingest::entry::{ETag, ObjectVersion};
use ingest::ids::BucketId;
use ingest::log::ReadError;
use ingest::name::ObjectKey;
use ingest::record::VersionRef;
use query::object::{FoundObject, ObjectBody};
use s3::checksum::etag;
use s3::error::{ErrorCode, S3Error};

use crate::api::conditions::{self, ReadVerdict, judge, may_take_range};
use crate::api::errors::read_error;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};
use crate::server::partition_handle::PartitionHandle;

/// The bytes of an object that a request reads.
pub struct ReadPlan {
    /// The bytes.
    pub range: Range<u64>,
    /// True when the response says which bytes these are (206), even if they are all.
    pub is_partial: bool,
    /// The number of the object's parts, where the request names a part by its number.
    pub parts: Option<u16>,
}

impl ReadPlan {
    /// All bytes of an object.
    pub fn whole(size: u64) -> Self {
        Self { range: 0..size, is_partial: false, parts: None }
    }

    /// The number of bytes.
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The bytes that a request's range or part number names. A range that is not well-formed, or that `If-Range` makes
    /// void, means all bytes. Fails with `InvalidRange` for bytes or a part that the object does not have.
    pub fn of(request: &S3Request, object: &ObjectVersion) -> Result<Self, S3Error> {
        let attributes = &object.attributes;
        let size = attributes.size;
        let range = request.header("range")?;
        if request.query("partNumber").is_some() {
            if range.is_some() {
                return Err(ErrorCode::InvalidRequest
                    .because("Cannot specify both Range header and partNumber query parameter"));
            }
            let number = request.part_number()?.get();
            let refused = || {
                S3Error::from(ErrorCode::InvalidRange)
                    .with("ActualPartCount", attributes.etag.parts.to_string())
            };
            if attributes.parts.is_empty() {
                return if number == 1 {
                    Ok(Self { range: 0..size, is_partial: size > 0, parts: None })
                } else {
                    Err(refused())
                };
            }
            let mut start = 0;
            for (index, part) in attributes.parts.iter().enumerate() {
                if index + 1 == usize::from(number) {
                    return Ok(Self {
                        range: start..start + part.size,
                        is_partial: true,
                        parts: Some(attributes.etag.parts),
                    });
                }
                start += part.size;
            }
            return Err(refused());
        }
        let headers = &request.parts.headers;
        let range = match range {
            Some(_) if !may_take_range(headers, attributes.etag, object.created.micros())? => None,
            range => range,
        };
        Ok(match conditions::range(range, size)? {
            Some(range) => Self { range, is_partial: true, parts: None },
            None => Self::whole(size),
        })
    }
}

/// The response of a read that ends without an object's bytes.
pub enum EarlyResponse {
    /// An error of the store.
    Read(ReadError),
    /// An error that the client caused.
    S3(S3Error),
    /// The client has this version already.
    NotModified(ETag),
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
            EarlyResponse::NotModified(tag) => {
                let mut answer = response::empty(304);
                response::set(&mut answer, "etag", &etag(&tag.md5, tag.parts));
                Ok(answer)
            }
        }
    }
}

/// Fails with the response of a read whose conditions do not hold for an object.
pub fn check_conditions(request: &S3Request, object: &ObjectVersion) -> Result<(), EarlyResponse> {
    let etag = object.attributes.etag;
    match judge(&request.parts.headers, "", etag, object.created.micros())? {
        ReadVerdict::Pass => Ok(()),
        ReadVerdict::NotModified => Err(EarlyResponse::NotModified(etag)),
        ReadVerdict::Failed => Err(S3Error::from(ErrorCode::PreconditionFailed).into()),
    }
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
