//! Operations on objects.

use std::ops::Range;

use compactor::outcome::{RecordOutcome, Rejection, VersionName, WrittenVersion};
use compactor::partition::WrittenPayload;
use compactor::state::BucketState;
use http::Response;
use hyper::body::Incoming;
use ingest::entry::{Attributes, ETag, EntryValue, ObjectVersion};
use ingest::ids::{ConfigVersion, Offset};
use ingest::log::ReadError;
use ingest::name::ObjectKey;
use ingest::record::{
    DeleteObject, PutObject, RecordBody, RecordPayload, SetTags, VersionRef, WriteCondition,
};
use query::object::{self, FoundObject};
use s3::checksum::{ChecksumAlgorithm, ChecksumHasher, etag};
use s3::error::{ALLOW, ErrorCode, S3Error};
use s3::headers;
use s3::names;
use s3::xml::{self, XmlElement, XmlWriter};

use super::answer::{self, HandlerResult, ResponseBody};
use super::body::{stored_checksum, tell_passing};
use super::bucket::{DOCUMENT_BYTES_MAX, rejected, unexpected};
use super::conditions::{self, ReadVerdict, judge, may_take_range};
use super::{BucketView, S3Request, S3Service, read_error};

/// User metadata: names and values together.
const METADATA_BYTES_MAX: usize = 2048;
const DELETE_BYTES_MAX: usize = 8 << 20;
const DELETE_KEYS_MAX: usize = 1000;
const TAGS_MAX: usize = 10;

/// How often a write is accepted again after the bucket's configuration has changed under it.
const TRIES: usize = 8;

/// A version id as clients see it.
pub fn version_text(version: VersionName) -> String {
    match version {
        VersionName::Null => "null".into(),
        VersionName::At(offset) => format!("{:032x}", offset.get()),
    }
}

/// The version that a request names. What this store never gave is not there.
pub fn version_ref(text: Option<&str>) -> Result<VersionRef, S3Error> {
    match text {
        None => Ok(VersionRef::Current),
        Some("null") => Ok(VersionRef::Null),
        Some(text) if text.len() == 32 => names::hex_number(text)
            .map(|offset| VersionRef::At(Offset::new(offset)))
            .ok_or_else(|| ErrorCode::NoSuchVersion.into()),
        Some("") => {
            Err(ErrorCode::InvalidArgument.because("Version id cannot be the empty string"))
        }
        Some(_) => Err(ErrorCode::InvalidArgument.because("Invalid version id specified")),
    }
}

/// What a client says of an object besides its bytes.
pub fn attributes(asked: &S3Request) -> Result<Attributes, S3Error> {
    let mut stored = Vec::new();
    for name in headers::STORED {
        let Some(mut value) = headers::stored(&asked.parts.headers, name)? else { continue };
        if name == "content-encoding" {
            let codings = value.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked");
            value = codings.collect::<Vec<_>>().join(",");
        }
        if !value.is_empty() {
            stored.push((name.to_owned(), value));
        }
    }
    let mut metadata = Vec::new();
    let mut bytes = 0;
    for header in asked.parts.headers.keys() {
        let Some(name) = header.as_str().strip_prefix(headers::METADATA) else { continue };
        // One name twice is one list, as AWS keeps it.
        let value = headers::stored(&asked.parts.headers, header.as_str())?.unwrap_or_default();
        bytes += name.len() + value.len();
        metadata.push((name.to_owned(), value));
    }
    if bytes > METADATA_BYTES_MAX {
        return Err(S3Error::from(ErrorCode::MetadataTooLarge)
            .with("Size", bytes.to_string())
            .with("MaxSizeAllowed", METADATA_BYTES_MAX.to_string()));
    }
    let tags = match asked.header("x-amz-tagging")? {
        Some(text) => check_tags(names::query(text)?)?,
        None => Vec::new(),
    };
    Ok(Attributes {
        owner: asked.user.id.clone(),
        headers: stored,
        metadata,
        tags,
        ..Attributes::default()
    })
}

fn check_tags(tags: Vec<(String, String)>) -> Result<Vec<(String, String)>, S3Error> {
    if tags.len() > TAGS_MAX {
        return Err(ErrorCode::InvalidTag.because("Object tags cannot be greater than 10"));
    }
    for (index, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > 128 {
            return Err(ErrorCode::InvalidTag.because("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > 256 {
            return Err(ErrorCode::InvalidTag.because("The TagValue you have provided is invalid"));
        }
        if tags[..index].iter().any(|(other, _)| other == key) {
            return Err(
                ErrorCode::InvalidTag.because("Cannot provide multiple Tags with the same key")
            );
        }
    }
    Ok(tags)
}

impl S3Service {
    /// Submits a write under the bucket's configuration, again when that has changed in between.
    pub async fn submit_configured(
        &self,
        asked: &S3Request,
        bucket: &BucketState,
        body: impl Fn(ConfigVersion) -> RecordBody,
    ) -> Result<RecordOutcome, S3Error> {
        let mut config = bucket.config;
        for _ in 0..TRIES {
            match self.submit(asked, body(config)).await? {
                RecordOutcome::Rejected(Rejection::Retry(newer)) => config = newer,
                outcome => return Ok(outcome),
            }
        }
        Err(ErrorCode::SlowDown.into())
    }
}

/// PutObject.
pub async fn put(front: &S3Service, asked: &S3Request, body: Incoming) -> HandlerResult {
    let bucket = front.bucket(asked).await?;
    let key = asked.object_key()?;
    let condition = conditions::of_write(&asked.parts.headers)?;
    let attributes = attributes(asked)?;
    let wanted = wanted_checksum(asked, "x-amz-sdk-checksum-algorithm")?;
    let inline_max = front.settings.inline_bytes_max;
    let taken = front.take_body(asked, body, inline_max, wanted).await?;
    let attributes = Attributes {
        size: taken.size,
        etag: ETag { md5: taken.md5, parts: 0 },
        checksums: taken.checksum.iter().cloned().collect(),
        ..attributes
    };
    let payload =
        WrittenPayload { payload: taken.payload, digest: taken.digest, guard: taken.held };
    let written = write(front, asked, &bucket, &key, condition, attributes, payload).await?;
    let mut response = answer::empty(200);
    add_written(&mut response, &written);
    if let Some(checksum) = &taken.checksum {
        add_checksum(&mut response, checksum);
    }
    tell_passing(&mut response, taken.passing.as_ref());
    Ok(response)
}

/// The checksum that a header asks for by its algorithm's name. One that is not kept with objects is none.
fn wanted_checksum(asked: &S3Request, name: &str) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    let Some(said) = asked.header(name)? else { return Ok(None) };
    let algorithm = ChecksumAlgorithm::named(said).ok_or_else(|| {
        ErrorCode::InvalidRequest.because(format!("Value for {name} header is invalid."))
    })?;
    Ok(Some(algorithm).filter(|algorithm| algorithm.is_kept()))
}

async fn write(
    front: &S3Service,
    asked: &S3Request,
    bucket: &BucketState,
    key: &ObjectKey,
    condition: WriteCondition,
    attributes: Attributes,
    payload: WrittenPayload,
) -> Result<WrittenVersion, S3Error> {
    let WrittenPayload { payload, digest, guard } = payload;
    let put = |config| {
        RecordBody::PutObject(PutObject {
            bucket: bucket.id,
            config,
            key: key.clone(),
            condition,
            attributes: attributes.clone(),
            digest,
            payload: payload.clone(),
        })
    };
    let outcome = front.submit_configured(asked, bucket, put).await;
    if let Some(guard) = guard {
        guard.settle(&outcome);
    }
    match outcome? {
        RecordOutcome::Written(written) => Ok(written),
        RecordOutcome::Rejected(rejection) => Err(rejected(rejection)),
        other => Err(unexpected(&other)),
    }
}

/// The headers that tell what was written.
pub fn add_written(response: &mut Response<ResponseBody>, written: &WrittenVersion) {
    answer::set(response, "etag", &etag(&written.etag.md5, written.etag.parts));
    add_version(response, written);
}

/// Version `null` has nothing to tell: neither without versioning nor where it is suspended.
fn add_version(response: &mut Response<ResponseBody>, written: &WrittenVersion) {
    if !written.is_null {
        answer::set(response, "x-amz-version-id", &version_text(name_of(written)));
    }
}

/// The written version's name.
pub fn name_of(written: &WrittenVersion) -> VersionName {
    if written.is_null { VersionName::Null } else { VersionName::At(written.version) }
}

fn add_checksum(response: &mut Response<ResponseBody>, checksum: &ingest::entry::StoredChecksum) {
    let Some(algorithm) = ChecksumAlgorithm::from_code(checksum.algorithm) else { return };
    answer::set(response, algorithm.header(), &checksum.text());
    answer::set(response, "x-amz-checksum-type", checksum.kind());
}

/// Why a read ends without an object.
enum EarlyResponse {
    Read(ReadError),
    S3(S3Error),
    NotModified(ETag),
}

impl From<ReadError> for EarlyResponse {
    fn from(error: ReadError) -> Self {
        EarlyResponse::Read(error)
    }
}

fn version_name(found: &FoundObject) -> VersionName {
    if found.statement.is_null() { VersionName::Null } else { VersionName::At(found.version) }
}

/// The object, or why there is none to show.
fn object_of<'a>(asked: &S3Request, found: &'a FoundObject) -> Result<&'a ObjectVersion, S3Error> {
    match &found.statement {
        EntryValue::Object(object) => Ok(object),
        EntryValue::Marker { created, .. } => {
            let code = if asked.query("versionId").is_some() {
                ErrorCode::MethodNotAllowed
            } else {
                ErrorCode::NoSuchKey
            };
            let error = S3Error::from(code);
            // A marker can be removed by its version, and nothing else be done with it.
            let error = if code == ErrorCode::MethodNotAllowed {
                error.with(ALLOW, "DELETE")
            } else {
                error
            };
            Err(error
                .with("DeleteMarker", "true")
                .with("VersionId", version_text(version_name(found)))
                .with("LastModified", s3::time::http(created.micros())))
        }
        EntryValue::Tombstone | EntryValue::NullTombstone => Err(ErrorCode::NoSuchKey.into()),
    }
}

fn not_found(asked: &S3Request) -> S3Error {
    let code = if asked.query("versionId").is_some() {
        ErrorCode::NoSuchVersion
    } else {
        ErrorCode::NoSuchKey
    };
    S3Error::from(code).with("Key", asked.key.clone().unwrap_or_default())
}

/// GetObject and HeadObject.
pub async fn get(front: &S3Service, asked: &S3Request, is_head: bool) -> HandlerResult {
    let BucketView { partition, bucket, snapshot } = front.sight(asked).await?;
    let key = asked.object_key()?;
    let version = version_ref(asked.query("versionId"))?;
    let mut chosen: Option<(Range<u64>, bool, Option<u16>)> = None;
    let choose = |found: &FoundObject| -> Result<Range<u64>, EarlyResponse> {
        let object = object_of(asked, found).map_err(EarlyResponse::S3)?;
        let attributes = &object.attributes;
        let verdict = judge(&asked.parts.headers, "", attributes.etag, object.created.micros());
        match verdict.map_err(EarlyResponse::S3)? {
            ReadVerdict::Pass => {}
            ReadVerdict::NotModified => return Err(EarlyResponse::NotModified(attributes.etag)),
            ReadVerdict::Failed => {
                return Err(EarlyResponse::S3(ErrorCode::PreconditionFailed.into()));
            }
        }
        let (range, is_part, parts) = choose_range(asked, object).map_err(EarlyResponse::S3)?;
        chosen = Some((range.clone(), is_part, parts));
        // HEAD needs no byte of the payload.
        Ok(if is_head { 0..0 } else { range })
    };
    let opened = if is_head {
        match object::lookup(snapshot, bucket.id, &key, version).await {
            Ok(Some(found)) => {
                let mut choose = choose;
                choose(&found).map(|_| Some((found, object::ObjectBody::Whole(None))))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error.into()),
        }
    } else {
        object::get(partition, snapshot, bucket.id, &key, version, choose).await
    };
    let (found, body) = match opened {
        Ok(Some(opened)) => opened,
        Ok(None) => return Err(not_found(asked)),
        Err(EarlyResponse::Read(error)) => return Err(read_error(error)),
        Err(EarlyResponse::S3(error)) => return Err(error),
        Err(EarlyResponse::NotModified(tag)) => {
            let mut response = answer::empty(304);
            answer::set(&mut response, "etag", &etag(&tag.md5, tag.parts));
            return Ok(response);
        }
    };
    let object = object_of(asked, &found)?;
    let (range, is_part, parts) = chosen.unwrap_or((0..object.attributes.size, false, None));
    let len = range.end - range.start;
    let body = if is_head { ResponseBody::Head(len) } else { stream(body, len).await? };
    let mut response = Response::new(body);
    describe(&mut response, asked, &bucket, object, version_name(&found))?;
    answer::set(&mut response, "content-length", &len.to_string());
    if is_part {
        *response.status_mut() = http::StatusCode::PARTIAL_CONTENT;
        let last = range.end.saturating_sub(1);
        let text = format!("bytes {}-{last}/{}", range.start, object.attributes.size);
        answer::set(&mut response, "content-range", &text);
    }
    if let Some(parts) = parts {
        answer::set(&mut response, "x-amz-mp-parts-count", &parts.to_string());
    }
    Ok(response)
}

/// The bytes that a read asks for, whether they are a part of all, and the number of parts where a part
/// was asked for by number.
fn choose_range(
    asked: &S3Request,
    object: &ObjectVersion,
) -> Result<(Range<u64>, bool, Option<u16>), S3Error> {
    let attributes = &object.attributes;
    let size = attributes.size;
    let range = asked.header("range")?;
    if asked.query("partNumber").is_some() {
        if range.is_some() {
            return Err(ErrorCode::InvalidRequest
                .because("Cannot specify both Range header and partNumber query parameter"));
        }
        let number = super::multipart::part_number(asked)?.get();
        let refused = || {
            S3Error::from(ErrorCode::InvalidRange)
                .with("ActualPartCount", attributes.etag.parts.to_string())
        };
        if attributes.parts.is_empty() {
            return if number == 1 { Ok((0..size, size > 0, None)) } else { Err(refused()) };
        }
        let mut start = 0;
        for (index, part) in attributes.parts.iter().enumerate() {
            if index + 1 == usize::from(number) {
                return Ok((start..start + part.size, true, Some(attributes.etag.parts)));
            }
            start += part.size;
        }
        return Err(refused());
    }
    let headers = &asked.parts.headers;
    let range = match range {
        Some(_) if !may_take_range(headers, attributes.etag, object.created.micros())? => None,
        range => range,
    };
    Ok(match conditions::range(range, size)? {
        Some(range) => (range, true, None),
        None => (0..size, false, None),
    })
}

/// A body to send: small ones whole; large ones piece by piece, the first piece read before the headers
/// leave, so that damage at the beginning is an error and not a broken connection.
async fn stream(body: object::ObjectBody, len: u64) -> Result<ResponseBody, S3Error> {
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
                tracing::error!(%error, "a read failed on the way; the connection is reset");
                Err(std::io::Error::other(error.to_string()))
            }
        }
    });
    let pieces = futures::StreamExt::chain(futures::stream::iter([Ok(first)]), rest);
    Ok(ResponseBody::Stream(Box::pin(pieces), len))
}

/// The headers that tell what an object is.
fn describe(
    response: &mut Response<ResponseBody>,
    asked: &S3Request,
    bucket: &BucketState,
    object: &ObjectVersion,
    version: VersionName,
) -> Result<(), S3Error> {
    let attributes = &object.attributes;
    answer::set(response, "etag", &etag(&attributes.etag.md5, attributes.etag.parts));
    answer::set(response, "last-modified", &s3::time::http(object.created.micros()));
    answer::set(response, "accept-ranges", "bytes");
    answer::set(response, "content-type", "binary/octet-stream");
    for (name, value) in &attributes.headers {
        if let Some(name) = headers::STORED.into_iter().find(|known| known == name) {
            answer::set(response, name, value);
        }
    }
    for name in headers::STORED {
        let parameter = format!("response-{name}");
        if let Some(value) = asked.query(&parameter) {
            check_override(&parameter, value)?;
            answer::set(response, name, value);
        }
    }
    for (name, value) in &attributes.metadata {
        let name = http::HeaderName::try_from(format!("x-amz-meta-{name}"));
        let value = http::HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().append(name, value);
        }
    }
    if !attributes.tags.is_empty() {
        answer::set(response, "x-amz-tagging-count", &attributes.tags.len().to_string());
    }
    if bucket.versioning != ingest::record::Versioning::Off {
        answer::set(response, "x-amz-version-id", &version_text(version));
    }
    let mode = asked.header("x-amz-checksum-mode")?;
    let wants = mode.is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"));
    if wants && asked.header("range")?.is_none() {
        attributes.checksums.iter().for_each(|checksum| add_checksum(response, checksum));
    }
    Ok(())
}

/// Refuses a header that an answer cannot carry: HTTP has no characters beyond Latin-1, and no line ends.
fn check_override(parameter: &str, value: &str) -> Result<(), S3Error> {
    if http::HeaderValue::from_str(value).is_ok() && value.chars().all(|c| c <= '\u{ff}') {
        return Ok(());
    }
    Err(ErrorCode::InvalidArgument
        .because("Header value cannot be represented using ISO-8859-1.")
        .with("ArgumentName", parameter)
        .with("ArgumentValue", value))
}

fn delete_body(
    bucket: &BucketState,
    key: &ObjectKey,
    version: VersionRef,
    condition: WriteCondition,
) -> impl Fn(ConfigVersion) -> RecordBody {
    let (bucket, key) = (bucket.id, key.clone());
    move |config| {
        RecordBody::DeleteObject(DeleteObject {
            bucket,
            config,
            key: key.clone(),
            version,
            condition,
        })
    }
}

/// DeleteObject.
pub async fn delete(front: &S3Service, asked: &S3Request) -> HandlerResult {
    let bucket = front.bucket(asked).await?;
    let key = asked.object_key()?;
    let version = version_ref(asked.query("versionId"))?;
    let condition = conditions::of_write(&asked.parts.headers)?;
    let body = delete_body(&bucket, &key, version, condition);
    match front.submit_configured(asked, &bucket, body).await? {
        RecordOutcome::Deleted(deleted) => {
            let mut response = answer::empty(204);
            if deleted.is_marker {
                answer::set(&mut response, "x-amz-delete-marker", "true");
            }
            if let Some(version) = deleted.version {
                answer::set(&mut response, "x-amz-version-id", &version_text(version));
            }
            Ok(response)
        }
        RecordOutcome::Rejected(rejection) => Err(rejected(rejection)),
        other => Err(unexpected(&other)),
    }
}

/// DeleteObjects.
pub async fn delete_many(front: &S3Service, asked: &S3Request, body: Incoming) -> HandlerResult {
    let bucket = front.bucket(asked).await?;
    let document = front.take_document(asked, body, DELETE_BYTES_MAX).await?;
    let read = xml::read(&document, "Delete")?;
    let is_quiet = read.text_of("Quiet").is_some_and(|quiet| quiet.trim() == "true");
    let objects: Vec<&XmlElement> =
        read.children.iter().filter(|child| child.name == "Object").collect();
    if objects.is_empty() || objects.len() > DELETE_KEYS_MAX {
        return Err(ErrorCode::MalformedXml.into());
    }
    // All at once: they share a few group commits.
    let deletions = objects.iter().map(|object| async {
        let key = object.text_of("Key").unwrap_or_default().to_owned();
        let version = object.text_of("VersionId").map(str::to_owned);
        let outcome = delete_one(front, asked, &bucket, &key, object).await;
        (key, version, outcome)
    });
    let deleted = futures::future::join_all(deletions).await;
    let root = "DeleteResult";
    let mut writer = XmlWriter::new(root);
    for (key, version, outcome) in deleted {
        match outcome {
            Ok(_) if is_quiet => {}
            Ok(deleted) => {
                writer.begin("Deleted").text("Key", &key);
                if let Some(version) = &version {
                    writer.text("VersionId", version);
                }
                if deleted.is_marker {
                    writer.text("DeleteMarker", "true");
                    if let Some(marker) = deleted.version {
                        writer.text("DeleteMarkerVersionId", &version_text(marker));
                    }
                }
                writer.end("Deleted");
            }
            Err(error) => {
                writer.begin("Error").text("Key", &key);
                if let Some(version) = &version {
                    writer.text("VersionId", version);
                }
                writer.text("Code", error.code.text()).text("Message", &error.message).end("Error");
            }
        }
    }
    Ok(answer::xml(writer.finish(root)))
}

async fn delete_one(
    front: &S3Service,
    asked: &S3Request,
    bucket: &BucketState,
    key: &str,
    object: &XmlElement,
) -> Result<compactor::outcome::DeletedVersion, S3Error> {
    if object.child("LastModifiedTime").is_some() || object.child("Size").is_some() {
        return Err(
            ErrorCode::NotImplemented.because("Deletes by time or size are not implemented.")
        );
    }
    let key = ObjectKey::new(key.as_bytes().to_vec())
        .map_err(|_| S3Error::from(ErrorCode::MalformedXml))?;
    let version = version_ref(object.text_of("VersionId"))?;
    let condition = match object.text_of("ETag") {
        None => WriteCondition::Always,
        Some("*") => WriteCondition::IfPresent,
        Some(text) => match s3::checksum::parse_etag(text) {
            Some((md5, parts)) => WriteCondition::IfMatch(ETag { md5, parts }),
            None => return Err(ErrorCode::PreconditionFailed.into()),
        },
    };
    let body = delete_body(bucket, &key, version, condition);
    match front.submit_configured(asked, bucket, body).await? {
        RecordOutcome::Deleted(deleted) => Ok(deleted),
        RecordOutcome::Rejected(rejection) => Err(rejected(rejection)),
        other => Err(unexpected(&other)),
    }
}

/// CopyObject: the source is read, then written; it shares no bytes.
pub async fn copy(front: &S3Service, asked: &S3Request) -> HandlerResult {
    let bucket = front.bucket(asked).await?;
    let key = asked.object_key()?;
    let condition = conditions::of_write(&asked.parts.headers)?;
    let source = asked.header("x-amz-copy-source")?.unwrap_or_default();
    let (path, version) = match source.split_once("?versionId=") {
        Some((path, version)) => (path, Some(version)),
        None => (source, None),
    };
    let path = names::decode(path)?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let invalid = || {
        ErrorCode::InvalidArgument
            .because("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    };
    let (source_bucket, source_key) = path.split_once('/').ok_or_else(invalid)?;
    let BucketView { partition: source_partition, bucket: from, snapshot } =
        front.source_sight(asked, source_bucket).await?;
    let source_key = ObjectKey::new(source_key.as_bytes().to_vec()).map_err(|_| invalid())?;
    let whole = |found: &FoundObject| -> Result<Range<u64>, EarlyResponse> {
        let object = match &found.statement {
            EntryValue::Object(object) => object,
            _ if version.is_some() => {
                return Err(EarlyResponse::S3(ErrorCode::InvalidRequest.because("The source of a copy request may not specifically refer to a delete marker by version id.")));
            }
            _ => return Err(EarlyResponse::S3(ErrorCode::NoSuchKey.into())),
        };
        let prefix = "x-amz-copy-source-";
        let attributes = &object.attributes;
        let verdict = judge(&asked.parts.headers, prefix, attributes.etag, object.created.micros());
        match verdict.map_err(EarlyResponse::S3)? {
            ReadVerdict::Pass => Ok(0..attributes.size),
            ReadVerdict::NotModified | ReadVerdict::Failed => {
                Err(EarlyResponse::S3(ErrorCode::PreconditionFailed.into()))
            }
        }
    };
    let found =
        object::get(source_partition, snapshot, from.id, &source_key, version_ref(version)?, whole)
            .await;
    let (found, mut bytes) = match found {
        Ok(Some(found)) => found,
        Ok(None) => {
            let code =
                if version.is_some() { ErrorCode::NoSuchVersion } else { ErrorCode::NoSuchKey };
            return Err(S3Error::from(code).with("Key", source_key.as_str()));
        }
        Err(EarlyResponse::Read(error)) => return Err(read_error(error)),
        Err(EarlyResponse::S3(error)) => return Err(error),
        Err(EarlyResponse::NotModified(_)) => return Err(ErrorCode::PreconditionFailed.into()),
    };
    let EntryValue::Object(object) = &found.statement else {
        return Err(ErrorCode::NoSuchKey.into());
    };
    let source = object.attributes.as_ref();
    if source.size > super::body::UPLOAD_BYTES_MAX {
        return Err(ErrorCode::InvalidRequest.because("The specified copy source is larger than the maximum allowable size for a copy source: 5368709120"));
    }
    let own = attributes(asked)?;
    let wanted = wanted_checksum(asked, "x-amz-checksum-algorithm")?;
    let replaces = |name: &str| match asked.header(name)? {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(ErrorCode::InvalidArgument.because(format!("Unknown {name}."))),
    };
    let replaces_metadata = replaces("x-amz-metadata-directive")?;
    let replaces_tags = replaces("x-amz-tagging-directive")?;
    if from.id == bucket.id
        && source_key == key
        && !replaces_metadata
        && !replaces_tags
        && version.is_none()
    {
        return Err(ErrorCode::InvalidRequest.because("This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes."));
    }
    let mut md5 = s3::checksum::Md5Hasher::default();
    let mut hasher = wanted.map(ChecksumHasher::new);
    let payload = if source.size <= front.settings.inline_bytes_max {
        let all = bytes.collect().await.map_err(read_error)?;
        md5.update(&all);
        hasher.iter_mut().for_each(|hasher| hasher.update(&all));
        let digest = super::body::crc64(&all);
        WrittenPayload { payload: RecordPayload::Inline(all), digest, guard: None }
    } else {
        let upload = front.partition_of(asked).begin_payload(source.size).await;
        let mut upload = upload.map_err(super::body::payload_error)?;
        while let Some(piece) = bytes.next().await.map_err(read_error)? {
            md5.update(&piece);
            hasher.iter_mut().for_each(|hasher| hasher.update(&piece));
            upload.write(piece).await.map_err(super::body::payload_error)?;
        }
        upload.finish().await.map_err(super::body::payload_error)?
    };
    let described = if replaces_metadata { &own } else { source };
    let copied = Attributes {
        size: source.size,
        etag: ETag { md5: md5.finish(), parts: 0 },
        owner: own.owner.clone(),
        headers: described.headers.clone(),
        metadata: described.metadata.clone(),
        tags: if replaces_tags { own.tags.clone() } else { source.tags.clone() },
        checksums: match hasher {
            Some(hasher) => vec![stored_checksum(hasher)],
            None => source.checksums.iter().filter(|c| !c.is_composite).cloned().collect(),
        },
        parts: Vec::new(),
    };
    let checksums = copied.checksums.clone();
    let written = write(front, asked, &bucket, &key, condition, copied, payload).await?;
    let root = "CopyObjectResult";
    let mut writer = XmlWriter::new(root);
    writer.text("ETag", &etag(&written.etag.md5, written.etag.parts));
    writer.text("LastModified", &s3::time::xml(written.created.micros()));
    for checksum in &checksums {
        if let Some(algorithm) = ChecksumAlgorithm::from_code(checksum.algorithm) {
            writer.text(algorithm.element(), &checksum.text());
            writer.text("ChecksumType", checksum.kind());
        }
    }
    let mut response = answer::xml(writer.finish(root));
    add_version(&mut response, &written);
    if from.versioning != ingest::record::Versioning::Off {
        let name = version_text(version_name(&found));
        answer::set(&mut response, "x-amz-copy-source-version-id", &name);
    }
    Ok(response)
}

/// Refuses a request for an object, or a version of one, that is not there.
pub async fn must_exist(front: &S3Service, asked: &S3Request) -> Result<(), S3Error> {
    let BucketView { bucket, snapshot, .. } = front.sight(asked).await?;
    let key = asked.object_key()?;
    let version = version_ref(asked.query("versionId"))?;
    let found = object::lookup(snapshot, bucket.id, &key, version).await;
    let found = found.map_err(read_error)?.ok_or_else(|| not_found(asked))?;
    object_of(asked, &found).map(|_| ())
}

/// GetObjectTagging.
pub async fn tags(front: &S3Service, asked: &S3Request) -> HandlerResult {
    let BucketView { bucket, snapshot, .. } = front.sight(asked).await?;
    let key = asked.object_key()?;
    let version = version_ref(asked.query("versionId"))?;
    let found = object::lookup(snapshot, bucket.id, &key, version).await;
    let found = found.map_err(read_error)?.ok_or_else(|| not_found(asked))?;
    let object = object_of(asked, &found)?;
    let root = "Tagging";
    let mut writer = XmlWriter::new(root);
    writer.begin("TagSet");
    for (name, value) in &object.attributes.tags {
        writer.begin("Tag").text("Key", name).text("Value", value).end("Tag");
    }
    writer.end("TagSet");
    let mut response = answer::xml(writer.finish(root));
    if bucket.versioning != ingest::record::Versioning::Off {
        answer::set(&mut response, "x-amz-version-id", &version_text(version_name(&found)));
    }
    Ok(response)
}

async fn change_tags(
    front: &S3Service,
    asked: &S3Request,
    tags: Vec<(String, String)>,
    status: u16,
) -> HandlerResult {
    let bucket = front.bucket(asked).await?;
    let key = asked.object_key()?;
    let version = version_ref(asked.query("versionId"))?;
    let set = SetTags { bucket: bucket.id, key, version, tags };
    match front.submit(asked, RecordBody::SetTags(set)).await? {
        RecordOutcome::Changed(version) => {
            let mut response = answer::empty(status);
            if bucket.versioning != ingest::record::Versioning::Off {
                answer::set(&mut response, "x-amz-version-id", &version_text(version));
            }
            Ok(response)
        }
        RecordOutcome::Rejected(rejection) => Err(rejected(rejection)),
        other => Err(unexpected(&other)),
    }
}

/// PutObjectTagging.
pub async fn set_tags(front: &S3Service, asked: &S3Request, body: Incoming) -> HandlerResult {
    let document = front.take_document(asked, body, DOCUMENT_BYTES_MAX).await?;
    let read = xml::read(&document, "Tagging")?;
    let set = read.child("TagSet").ok_or_else(|| S3Error::from(ErrorCode::MalformedXml))?;
    let mut tags = Vec::new();
    for tag in &set.children {
        let (Some(key), Some(value)) = (tag.text_of("Key"), tag.text_of("Value")) else {
            return Err(ErrorCode::MalformedXml.into());
        };
        tags.push((key.to_owned(), value.to_owned()));
    }
    change_tags(front, asked, check_tags(tags)?, 200).await
}

/// DeleteObjectTagging.
pub async fn delete_tags(front: &S3Service, asked: &S3Request) -> HandlerResult {
    change_tags(front, asked, Vec::new(), 204).await
}

#[cfg(test)]
mod tests {
    use ingest::entry::StoredChecksum;

    use super::*;

    #[test]
    fn algorithms_have_one_name_and_one_number() {
        for code in 0..=u8::MAX {
            let stored = StoredChecksum {
                algorithm: code,
                is_composite: false,
                digest: bytes::Bytes::new(),
            };
            assert_eq!(
                stored.name(),
                ChecksumAlgorithm::from_code(code).map(ChecksumAlgorithm::name),
                "{code}"
            );
        }
    }
}
