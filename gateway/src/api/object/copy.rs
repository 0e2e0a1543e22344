//! CopyObject: the source is read, then written. The copy shares no bytes with its source.

use compactor::outcome::WrittenVersion;
use ingest::entry::{Attributes, ETag, EntryValue, ObjectVersion, StoredChecksum};
use ingest::name::ObjectKey;
use ingest::record::Versioning;
use query::object::FoundObject;
use s3::checksum::{ChecksumAlgorithm, etag};
use s3::error::{ErrorCode, S3Error};
use s3::names;
use s3::operation::body::UPLOAD_BYTES_MAX;
use s3::xml::XmlWriter;

use super::attributes::{attributes, wanted_checksum};
use super::read::{EarlyResponse, OpenedObject, ReadPlan, open};
use super::write::write;
use crate::api::body::{DigestSet, FinishedDigests, PayloadSink, pour};
use crate::api::conditions::{self, ReadVerdict, judge};
use crate::api::context::{BucketView, S3Context};
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult, add_version};
use crate::api::version_id::{found_name, version_ref, version_text};

/// The source that a request names.
struct CopySource {
    bucket: String,
    key: ObjectKey,
    version: Option<String>,
}

impl CopySource {
    /// The source in `x-amz-copy-source`. Fails with `InvalidArgument` unless that is a bucket and a key.
    fn of(request: &S3Request) -> Result<Self, S3Error> {
        let source = request.header("x-amz-copy-source")?.unwrap_or_default();
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

    /// The plan to read all of the source. Fails when the request's conditions on the source do not hold.
    fn plan(&self, request: &S3Request, found: &FoundObject) -> Result<ReadPlan, EarlyResponse> {
        let object = self.object(found)?;
        let etag = object.attributes.etag;
        let prefix = "x-amz-copy-source-";
        match judge(&request.parts.headers, prefix, etag, object.created.micros())? {
            ReadVerdict::Pass => Ok(ReadPlan::whole(object.attributes.size)),
            ReadVerdict::NotModified | ReadVerdict::Failed => {
                Err(S3Error::from(ErrorCode::PreconditionFailed).into())
            }
        }
    }

    fn not_found(&self) -> S3Error {
        let code =
            if self.version.is_some() { ErrorCode::NoSuchVersion } else { ErrorCode::NoSuchKey };
        S3Error::from(code).with("Key", self.key.as_str())
    }
}

/// The attributes that the request replaces; the others are the source's.
struct CopyDirectives {
    replaces_metadata: bool,
    replaces_tags: bool,
}

impl CopyDirectives {
    fn of(request: &S3Request) -> Result<Self, S3Error> {
        let replaces = |name: &str| match request.header(name)? {
            None | Some("COPY") => Ok(false),
            Some("REPLACE") => Ok(true),
            Some(_) => Err(ErrorCode::InvalidArgument.because(format!("Unknown {name}."))),
        };
        Ok(Self {
            replaces_metadata: replaces("x-amz-metadata-directive")?,
            replaces_tags: replaces("x-amz-tagging-directive")?,
        })
    }

    /// The attributes of the copy: `own` are the request's, `source` those of the source.
    fn attributes(
        &self,
        own: Attributes,
        source: &Attributes,
        digests: FinishedDigests,
    ) -> Attributes {
        let described = if self.replaces_metadata { &own } else { source };
        Attributes {
            size: source.size,
            etag: ETag { md5: digests.md5, parts: 0 },
            headers: described.headers.clone(),
            metadata: described.metadata.clone(),
            tags: if self.replaces_tags { own.tags } else { source.tags.clone() },
            checksums: match digests.checksum {
                Some((_, computed)) => vec![computed],
                None => source.checksums.iter().filter(|c| !c.is_composite).cloned().collect(),
            },
            owner: own.owner,
            ..Attributes::default()
        }
    }
}

/// CopyObject. The source is read from one snapshot. The response comes after the copy is durable and visible; an error
/// before that leaves no copy.
pub async fn copy(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    let key = request.object_key()?;
    let condition = conditions::of_write(&request.parts.headers)?;
    let source = CopySource::of(request)?;
    let BucketView { partition, bucket: from, snapshot } =
        context.copy_source_bucket(request, &source.bucket).await?;
    let version = version_ref(source.version.as_deref())?;
    let plan_of = |found: &FoundObject| source.plan(request, found);
    let OpenedObject { found, mut body, .. } =
        match open(partition, snapshot, from.id, &source.key, version, plan_of).await {
            Ok(Some(opened)) => opened,
            Ok(None) => return Err(source.not_found()),
            Err(early) => return early.into_answer(),
        };
    let copied = &source.object(&found)?.attributes;
    if copied.size > UPLOAD_BYTES_MAX {
        return Err(ErrorCode::InvalidRequest.because("The specified copy source is larger than the maximum allowable size for a copy source: 5368709120"));
    }
    let own = attributes(request)?;
    let wanted = wanted_checksum(request, "x-amz-checksum-algorithm")?;
    let directives = CopyDirectives::of(request)?;
    let changes = directives.replaces_metadata || directives.replaces_tags;
    let is_itself = from.id == bucket.id && source.key == key && source.version.is_none();
    if is_itself && !changes {
        return Err(ErrorCode::InvalidRequest.because("This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes."));
    }
    let inline_max = context.options.inline_bytes_max;
    let mut sink = PayloadSink::open(context, request, copied.size, inline_max).await?;
    let digests = DigestSet::new(wanted, false);
    let digests = pour(&mut body, copied.size, digests, &mut sink).await?;
    let payload = sink.finish().await?;
    let attributes = directives.attributes(own, copied, digests);
    let checksums = attributes.checksums.clone();
    let written = write(context, request, &bucket, &key, condition, attributes, payload).await?;
    let mut answer = response::xml(document(&written, &checksums));
    add_version(&mut answer, &written);
    if from.versioning != Versioning::Off {
        let name = version_text(found_name(&found));
        response::set(&mut answer, "x-amz-copy-source-version-id", &name);
    }
    Ok(answer)
}

/// The document that describes a copy.
fn document(written: &WrittenVersion, checksums: &[StoredChecksum]) -> String {
    let root = "CopyObjectResult";
    let mut writer = XmlWriter::new(root);
    writer.text("ETag", &etag(&written.etag.md5, written.etag.parts));
    writer.text("LastModified", &s3::time::xml(written.created.micros()));
    for checksum in checksums {
        if let Some(algorithm) = ChecksumAlgorithm::from_code(checksum.algorithm) {
            writer.text(algorithm.element(), &checksum.text());
            writer.text("ChecksumType", checksum.kind());
        }
    }
    writer.finish(root)
}
