//! The source of a copy: its name in the request, its conditions, and its bytes.

use std::ops::Range;
use std::sync::Arc;

use compactor::outcome::VersionName;
use compactor::state::BucketState;
use http::Response;
use ingest::entry::{EntryValue, ObjectVersion};
use ingest::name::ObjectKey;
use ingest::record::Versioning;
use query::object::{FoundObject, ObjectBody};
use s3::error::{ErrorCode, S3Error};
use s3::names;
use s3::operation::COPY_SOURCE;
use s3::operation::body::UPLOAD_BYTES_MAX;

use super::read::{EarlyResponse, OpenedObject, ReadPlan, judged, open};
use crate::api::conditions::ReadVerdict;
use crate::api::context::{BucketView, S3Context};
use crate::api::errors::read_error;
use crate::api::request::S3Request;
use crate::api::response::{self, ResponseBody};
use crate::api::version_id::{found_name, version_ref, version_text};

/// The prefix of the headers with conditions on the source.
const PREFIX: &str = "x-amz-copy-source-";

/// The source that a request names.
pub struct CopySource {
    /// The bucket's name, not validated.
    pub bucket: String,
    /// The key.
    pub key: ObjectKey,
    /// The version's id, not validated; `None` for the current version.
    pub version: Option<String>,
}

/// A source whose bytes are open. Holds no snapshot, which a long copy would keep from being freed.
pub struct OpenedSource {
    /// The source's bucket.
    pub bucket: Arc<BucketState>,
    /// The object.
    pub object: ObjectVersion,
    /// The bytes that were chosen, verified as they are read.
    pub body: ObjectBody,
    /// The number of these bytes.
    pub len: u64,
    version: VersionName,
}

impl CopySource {
    /// The source in `x-amz-copy-source`. Fails with `InvalidArgument` unless that is a bucket and a key.
    pub fn of(request: &S3Request) -> Result<Self, S3Error> {
        let source = request.header(COPY_SOURCE)?.unwrap_or_default();
        let (path, version) = match source.split_once("?versionId=") {
            Some((path, version)) => (path, Some(version.to_owned())),
            None => (source, None),
        };
        let path = names::decode(path)?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        let invalid = || {
            ErrorCode::InvalidArgument.because(
                "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            )
        };
        let (bucket, key) = path.split_once('/').ok_or_else(invalid)?;
        let key = ObjectKey::new(key.as_bytes().to_vec()).map_err(|_| invalid())?;
        Ok(Self { bucket: bucket.to_owned(), key, version })
    }

    /// Opens the bytes of the source that `range_of` chooses from its size, out of one snapshot. Fails before any byte is
    /// read: when the requester may not read the source, when it is missing or a delete marker, when a condition of the
    /// request does not hold, with the error of `range_of`, and for more than 5 GiB.
    pub async fn open(
        &self,
        context: &S3Context,
        request: &S3Request,
        range_of: impl Fn(u64) -> Result<Range<u64>, S3Error>,
    ) -> Result<OpenedSource, S3Error> {
        let BucketView { partition, bucket, snapshot } =
            context.copy_source_bucket(request, &self.bucket, self.key.as_str()).await?;
        let version = version_ref(self.version.as_deref())?;
        let plan_of = |found: &FoundObject| {
            let object = self.object(found)?;
            self.check_conditions(request, object)?;
            Ok(plan(range_of(object.attributes.size)?)?)
        };
        match open(partition, snapshot, bucket.id, &self.key, version, plan_of).await {
            Ok(Some(OpenedObject { found, plan, body })) => {
                let object = self.object(&found)?.clone();
                Ok(OpenedSource {
                    bucket,
                    object,
                    body,
                    len: plan.len(),
                    version: found_name(&found),
                })
            }
            Ok(None) => Err(self.not_found()),
            Err(EarlyResponse::Read(error)) => Err(read_error(error)),
            Err(EarlyResponse::S3(error)) => Err(error),
            Err(EarlyResponse::NotModified(_)) => Err(ErrorCode::PreconditionFailed.into()),
        }
    }

    /// The object of a version that was found. Fails for a delete marker.
    fn object<'a>(&self, found: &'a FoundObject) -> Result<&'a ObjectVersion, S3Error> {
        match &found.statement {
            EntryValue::Object(object) => Ok(object),
            _ if self.version.is_some() => Err(ErrorCode::InvalidRequest.because(
                "The source of a copy request may not specifically refer to a delete marker by version id.",
            )),
            _ => Err(ErrorCode::NoSuchKey.into()),
        }
    }

    fn check_conditions(&self, request: &S3Request, object: &ObjectVersion) -> Result<(), S3Error> {
        match judged(request, PREFIX, object)? {
            ReadVerdict::Pass => Ok(()),
            ReadVerdict::NotModified | ReadVerdict::Failed(_) => {
                let names =
                    ["if-none-match", "if-modified-since", "if-match", "if-unmodified-since"];
                let names = names.map(|name| format!("{PREFIX}{name}"));
                let given = names.into_iter().find(|name| request.parts.headers.contains_key(name));
                let error = S3Error::from(ErrorCode::PreconditionFailed);
                Err(error.with("Condition", given.unwrap_or_default()))
            }
        }
    }

    fn not_found(&self) -> S3Error {
        let code =
            if self.version.is_some() { ErrorCode::NoSuchVersion } else { ErrorCode::NoSuchKey };
        S3Error::from(code).with("Key", self.key.as_str())
    }
}

/// The plan to read a range of the source. Fails for more bytes than one request may store.
fn plan(range: Range<u64>) -> Result<ReadPlan, S3Error> {
    let plan = ReadPlan { range, is_partial: false, part: None };
    if plan.len() > UPLOAD_BYTES_MAX {
        return Err(ErrorCode::InvalidRequest.because(format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: {UPLOAD_BYTES_MAX}"
        )));
    }
    Ok(plan)
}

impl OpenedSource {
    /// Adds the version id of the source, unless its bucket never had versioning.
    pub fn add_version(&self, answer: &mut Response<ResponseBody>) {
        if self.bucket.versioning != Versioning::Off {
            let name = version_text(self.version);
            response::set(answer, "x-amz-copy-source-version-id", &name);
        }
    }
}
