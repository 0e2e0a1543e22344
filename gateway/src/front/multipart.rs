//! Multipart uploads.

use std::collections::BTreeMap;

use bytes::Bytes;
use compactor::lookup;
use compactor::outcome::RecordOutcome;
use compactor::state::{OpenUpload, UploadState};
use compactor::view::Snapshot;
use hyper::body::Incoming;
use ingest::entry::StoredChecksum;
use ingest::ids::{PartNumber, UploadId};
use ingest::name::ObjectKey;
use ingest::record::{CompleteUpload, CreateUpload, PutPart, RecordBody, UploadPart};
use query::listing::{ListRequest, ListStart};
use query::uploads::{self, ListedUpload, UploadItem};
use s3::checksum::{ChecksumAlgorithm, ChecksumHasher, base64, etag, parse_etag};
use s3::error::{ErrorCode, S3Error};
use s3::names::number;
use s3::xml::{self, XmlWriter};

use super::answer::{self, HandlerResult};
use super::body::{in_headers, tell_passing};
use super::bucket::{rejected, unexpected};
use super::listing::{KeyStyle, after_marker, common_prefix};
use super::object::{add_written, attributes};
use super::{BucketView, S3Request, S3Service, conditions, read_error, upload_id};

const COMPLETE_BYTES_MAX: usize = 8 << 20;
const PARTS_MAX: u16 = 10_000;
const PAGE_MAX: usize = 1000;

/// CreateMultipartUpload.
pub async fn create(front: &S3Service, asked: &S3Request) -> HandlerResult {
    let bucket = front.bucket(asked).await?;
    let key = asked.object_key()?;
    let algorithm = match asked.header("x-amz-checksum-algorithm")? {
        None => None,
        Some(name) => {
            let known = ChecksumAlgorithm::named(name).filter(|algorithm| algorithm.is_kept());
            Some(known.ok_or_else(|| {
                ErrorCode::InvalidRequest.because("Checksum algorithm provided is unsupported.")
            })?)
        }
    };
    let is_composite = match (asked.header("x-amz-checksum-type")?, algorithm) {
        (None, Some(algorithm)) => algorithm != ChecksumAlgorithm::Crc64Nvme,
        (Some("COMPOSITE"), Some(algorithm)) if algorithm != ChecksumAlgorithm::Crc64Nvme => true,
        (Some("FULL_OBJECT"), Some(algorithm)) if algorithm.combines() => false,
        (None, None) => false,
        _ => {
            return Err(ErrorCode::InvalidRequest
                .because("The checksum type cannot be used with the algorithm."));
        }
    };
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|_| S3Error::from(ErrorCode::InternalError))?;
    let upload = UploadId(id);
    let body = RecordBody::CreateUpload(CreateUpload {
        bucket: bucket.id,
        key: key.clone(),
        upload,
        attributes: attributes(asked)?,
        checksum_algorithm: algorithm.map_or(0, |algorithm| algorithm as u8),
        checksum_is_composite: is_composite,
    });
    match front.submit(asked, body).await? {
        RecordOutcome::Done => {}
        other => return Err(unexpected(&other)),
    }
    let root = "InitiateMultipartUploadResult";
    let mut writer = XmlWriter::new(root);
    writer.text("Bucket", bucket.name.as_str()).text("Key", key.as_str());
    writer.text("UploadId", &hex::encode(upload.0));
    let mut response = answer::xml(writer.finish(root));
    if let Some(algorithm) = algorithm {
        answer::set(&mut response, "x-amz-checksum-algorithm", algorithm.name());
        let kind = if is_composite { "COMPOSITE" } else { "FULL_OBJECT" };
        answer::set(&mut response, "x-amz-checksum-type", kind);
    }
    Ok(response)
}

async fn open_upload(
    snapshot: &Snapshot,
    bucket: ingest::ids::BucketId,
    key: &ObjectKey,
    id: UploadId,
) -> Result<OpenUpload, S3Error> {
    match lookup::upload(snapshot, bucket, key, id).await.map_err(read_error)? {
        Some(UploadState::Open(open)) => Ok(open),
        _ => Err(ErrorCode::NoSuchUpload.into()),
    }
}

/// The number of the part that the query names.
pub fn part_number(asked: &S3Request) -> Result<PartNumber, S3Error> {
    let text = asked.query("partNumber").unwrap_or_default();
    let number = number(text).filter(|number| (1..=PARTS_MAX).contains(number));
    number.map(PartNumber::new).ok_or_else(|| {
        ErrorCode::InvalidArgument
            .because("Part number must be an integer between 1 and 10000, inclusive")
            .with("ArgumentName", "partNumber")
            .with("ArgumentValue", text)
    })
}

/// UploadPart.
pub async fn put_part(front: &S3Service, asked: &S3Request, body: Incoming) -> HandlerResult {
    let BucketView { bucket, snapshot, .. } = front.sight(asked).await?;
    let key = asked.object_key()?;
    let upload = asked.upload()?;
    let number = part_number(asked)?;
    let open = open_upload(&snapshot, bucket.id, &key, upload).await?;
    let wanted = ChecksumAlgorithm::from_code(open.checksum_algorithm);
    // Parts always go the bulk way: the object that they become names them by extent.
    let taken = front.take_body(asked, body, 0, wanted).await?;
    let part = UploadPart {
        size: taken.size,
        md5: taken.md5,
        digest: taken.digest,
        checksum: taken.checksum.clone(),
        extents: taken.extents(),
    };
    let stream = taken.stream();
    let put = PutPart { bucket: bucket.id, key, upload, number, part, stream };
    let outcome = front.submit(asked, RecordBody::PutPart(put)).await;
    if let Some(held) = taken.held {
        held.settle(&outcome);
    }
    match outcome? {
        RecordOutcome::Done => {}
        other => return Err(unexpected(&other)),
    }
    let mut response = answer::empty(200);
    answer::set(&mut response, "etag", &etag(&taken.md5, 0));
    if let Some(checksum) = &taken.checksum
        && let Some(algorithm) = ChecksumAlgorithm::from_code(checksum.algorithm)
    {
        answer::set(&mut response, algorithm.header(), &checksum.text());
    }
    tell_passing(&mut response, taken.passing.as_ref());
    Ok(response)
}

/// AbortMultipartUpload.
pub async fn abort(front: &S3Service, asked: &S3Request) -> HandlerResult {
    let bucket = front.bucket(asked).await?;
    let key = asked.object_key()?;
    let upload = asked.upload()?;
    match front.submit(asked, RecordBody::AbortUpload { bucket: bucket.id, key, upload }).await? {
        RecordOutcome::Done => Ok(answer::empty(204)),
        other => Err(unexpected(&other)),
    }
}

/// A part that a completion names: number, MD5, and checksums where it tells any.
struct RequestedPart {
    number: PartNumber,
    md5: [u8; 16],
    checksums: Vec<(ChecksumAlgorithm, Vec<u8>)>,
}

fn read_parts(document: &Bytes) -> Result<Vec<RequestedPart>, S3Error> {
    let read = xml::read(document, "CompleteMultipartUpload")?;
    let mut named = Vec::new();
    for part in read.children.iter().filter(|child| child.name == "Part") {
        let number = part.text_of("PartNumber").and_then(|text| number(text.trim()));
        let number: u16 = number.ok_or_else(|| S3Error::from(ErrorCode::MalformedXml))?;
        let tag = part.text_of("ETag").ok_or_else(|| S3Error::from(ErrorCode::MalformedXml))?;
        let (md5, _) = parse_etag(tag).ok_or_else(|| S3Error::from(ErrorCode::InvalidPart))?;
        let mut checksums = Vec::new();
        for claim in part.children.iter().filter(|child| child.name.starts_with("Checksum")) {
            let known =
                ChecksumAlgorithm::ALL.into_iter().find(|known| known.element() == claim.name);
            let algorithm = known.ok_or_else(|| {
                ErrorCode::InvalidRequest
                    .because(format!("The checksum algorithm of {} is not supported.", claim.name))
            })?;
            checksums.push((algorithm, algorithm.parse(&claim.text)?));
        }
        named.push(RequestedPart { number: PartNumber::new(number), md5, checksums });
    }
    if named.is_empty() || named.len() > usize::from(PARTS_MAX) {
        return Err(ErrorCode::MalformedXml.into());
    }
    Ok(named)
}

/// The named parts as they were uploaded; refused where one is not there, or has not the checksum that is claimed
/// for it.
fn find_parts<'a>(
    named: &[RequestedPart],
    parts: &'a BTreeMap<PartNumber, UploadPart>,
) -> Result<Vec<&'a UploadPart>, S3Error> {
    let invalid = || S3Error::from(ErrorCode::InvalidPart);
    let find = |named: &RequestedPart| {
        let part = parts.get(&named.number).ok_or_else(invalid)?;
        for (algorithm, claimed) in &named.checksums {
            let stored = part.checksum.as_ref();
            let is_same = match stored.filter(|stored| stored.algorithm == *algorithm as u8) {
                Some(stored) => stored.digest == claimed[..],
                // The digests that bind every part in the log are of two more kinds.
                None if *algorithm == ChecksumAlgorithm::Crc64Nvme => {
                    part.digest.to_be_bytes() == claimed[..]
                }
                None => *algorithm == ChecksumAlgorithm::Md5 && part.md5 == claimed[..],
            };
            if !is_same {
                return Err(invalid());
            }
        }
        Ok(part)
    };
    named.iter().map(find).collect()
}

/// The whole object's checksum from its parts'; refused when a part has none. None for an upload that was announced
/// without one.
fn whole_checksum(
    open: &OpenUpload,
    parts: &[&UploadPart],
) -> Result<Option<StoredChecksum>, S3Error> {
    let Some(algorithm) = ChecksumAlgorithm::from_code(open.checksum_algorithm) else {
        return Ok(None);
    };
    let mut over_parts = ChecksumHasher::new(algorithm);
    let mut combined: Option<Vec<u8>> = None;
    for part in parts {
        let checksum = part.checksum.as_ref().filter(|c| c.algorithm == algorithm as u8);
        let Some(checksum) = checksum else { return Err(ErrorCode::InvalidPart.into()) };
        over_parts.update(&checksum.digest);
        combined = match combined {
            None => Some(checksum.digest.to_vec()),
            Some(before) => algorithm.combine(&before, &checksum.digest, part.size),
        };
    }
    let digest = if open.checksum_is_composite {
        let mut digest = over_parts.finish();
        digest.extend_from_slice(&(parts.len() as u16).to_le_bytes());
        digest
    } else {
        combined.ok_or_else(|| S3Error::from(ErrorCode::InvalidPart))?
    };
    Ok(Some(StoredChecksum {
        algorithm: algorithm as u8,
        is_composite: open.checksum_is_composite,
        digest: digest.into(),
    }))
}

/// CRC-64/NVME of all parts together, which their digests in the log give whatever the upload was announced with.
fn whole_crc64(parts: &[&UploadPart]) -> Option<Vec<u8>> {
    let mut combined: Option<Vec<u8>> = None;
    for part in parts {
        let digest = part.digest.to_be_bytes();
        combined = match combined {
            None => Some(digest.to_vec()),
            Some(before) => {
                Some(ChecksumAlgorithm::Crc64Nvme.combine(&before, &digest, part.size)?)
            }
        };
    }
    combined
}

/// Compares what headers say of the whole object with what it becomes.
fn check_claims(
    asked: &S3Request,
    checksum: Option<&StoredChecksum>,
    parts: &[&UploadPart],
) -> Result<(), S3Error> {
    if let Some(said) = asked.header("x-amz-mp-object-size")? {
        let size: u64 = parts.iter().map(|part| part.size).sum();
        if number(said) != Some(size) {
            return Err(ErrorCode::InvalidRequest.because(format!(
                "The provided 'x-amz-mp-object-size' header value {said} does not match what was computed: {size}"
            )));
        }
    }
    if let Some(said) = asked.header("x-amz-checksum-type")? {
        // Without an algorithm an upload is as good as one with CRC64NVME, which is always of the whole.
        let kind = checksum.map_or("FULL_OBJECT", StoredChecksum::kind);
        if said != kind {
            return Err(ErrorCode::InvalidRequest.because(format!(
                "The upload was created with the checksum type {kind}, not with {said}."
            )));
        }
    }
    for (algorithm, claimed) in in_headers(asked)? {
        let is_same = match checksum {
            Some(checksum) if checksum.algorithm == algorithm as u8 => {
                let whole = checksum.text();
                // Some clients leave the number of parts out.
                let digest = whole.split_once('-').filter(|_| checksum.is_composite);
                claimed == whole || digest.is_some_and(|(digest, _)| claimed == digest)
            }
            _ if algorithm == ChecksumAlgorithm::Crc64Nvme => {
                whole_crc64(parts).is_some_and(|digest| claimed == base64(&digest))
            }
            _ => {
                return Err(ErrorCode::InvalidRequest.because(format!(
                    "The upload was not created with the checksum algorithm {}.",
                    algorithm.name()
                )));
            }
        };
        if !is_same {
            return Err(ErrorCode::BadDigest.into());
        }
    }
    Ok(())
}

/// CompleteMultipartUpload.
pub async fn complete(front: &S3Service, asked: &S3Request, body: Incoming) -> HandlerResult {
    let BucketView { bucket, snapshot, .. } = front.sight(asked).await?;
    let key = asked.object_key()?;
    let upload = asked.upload()?;
    let condition = conditions::of_write(&asked.parts.headers)?;
    // A checksum of the whole object may come in a header; the body itself has none.
    let document = take_plain_document(front, asked, body).await?;
    let state = lookup::upload(&snapshot, bucket.id, &key, upload).await.map_err(read_error)?;
    let named = read_parts(&document)?;
    let checksum = match state {
        None => return Err(ErrorCode::NoSuchUpload.into()),
        Some(UploadState::Open(open)) if named.is_sorted_by(|a, b| a.number < b.number) => {
            let found = lookup::parts(&snapshot, upload, PartNumber::ZERO, usize::MAX).await;
            let found = found.map_err(read_error)?.into_iter();
            let parts: BTreeMap<PartNumber, UploadPart> =
                found.map(|(n, _, part)| (n, part)).collect();
            let parts = find_parts(&named, &parts)?;
            let checksum = whole_checksum(&open, &parts)?;
            check_claims(asked, checksum.as_ref(), &parts)?;
            checksum
        }
        // Parts out of order are refused by the fold. Completed already: it knows whether these are the same parts.
        Some(UploadState::Open(_) | UploadState::Completed { .. }) => None,
    };
    let parts: Vec<(PartNumber, [u8; 16])> =
        named.iter().map(|part| (part.number, part.md5)).collect();
    let completion = |config| {
        RecordBody::CompleteUpload(CompleteUpload {
            bucket: bucket.id,
            config,
            key: key.clone(),
            upload,
            parts: parts.clone(),
            condition,
            checksum: checksum.clone(),
        })
    };
    let written = match front.submit_configured(asked, &bucket, completion).await? {
        RecordOutcome::Written(written) => written,
        RecordOutcome::Rejected(rejection) => return Err(rejected(rejection)),
        other => return Err(unexpected(&other)),
    };
    let root = "CompleteMultipartUploadResult";
    let mut writer = XmlWriter::new(root);
    let host = asked.header("host")?.unwrap_or_default();
    let path = s3::names::encode_path(key.as_str());
    writer.text("Location", &format!("http://{host}/{}/{path}", bucket.name));
    writer.text("Bucket", bucket.name.as_str()).text("Key", key.as_str());
    writer.text("ETag", &etag(&written.etag.md5, written.etag.parts));
    if let Some(checksum) = &checksum
        && let Some(algorithm) = ChecksumAlgorithm::from_code(checksum.algorithm)
    {
        writer.text(algorithm.element(), &checksum.text());
        writer.text("ChecksumType", checksum.kind());
    }
    let mut response = answer::xml(writer.finish(root));
    add_written(&mut response, &written);
    Ok(response)
}

/// The document of a completion. Its `x-amz-checksum-` headers speak of the object, not of the document.
async fn take_plain_document(
    front: &S3Service,
    asked: &S3Request,
    body: Incoming,
) -> Result<Bytes, S3Error> {
    let mut parts = asked.parts.clone();
    for algorithm in ChecksumAlgorithm::ALL {
        parts.headers.remove(algorithm.header());
    }
    let plain = S3Request {
        id: asked.id.clone(),
        user: asked.user.clone(),
        verified: asked.verified.clone(),
        parts,
        query: Vec::new(),
        bucket: None,
        key: None,
    };
    front.take_document(&plain, body, COMPLETE_BYTES_MAX).await
}

fn page_size(asked: &S3Request, name: &str) -> Result<usize, S3Error> {
    match asked.query(name).filter(|text| !text.is_empty()) {
        None => Ok(PAGE_MAX),
        Some(text) => number::<usize>(text).map(|max| max.min(PAGE_MAX)).ok_or_else(|| {
            ErrorCode::InvalidArgument
                .because(format!("Provided {name} not an integer or within integer range"))
        }),
    }
}

/// ListParts.
pub async fn list_parts(front: &S3Service, asked: &S3Request) -> HandlerResult {
    let BucketView { bucket, snapshot, .. } = front.sight(asked).await?;
    let key = asked.object_key()?;
    let upload = asked.upload()?;
    let open = open_upload(&snapshot, bucket.id, &key, upload).await?;
    let max = page_size(asked, "max-parts")?;
    let marker = asked.query("part-number-marker").filter(|text| !text.is_empty()).unwrap_or("0");
    let parsed: Option<u32> = number(marker).filter(|marker| *marker <= i32::MAX as u32);
    let marker = parsed.ok_or_else(|| {
        ErrorCode::InvalidArgument
            .because("Argument part-number-marker must be an integer between 0 and 2147483647")
            .with("ArgumentName", "part-number-marker")
            .with("ArgumentValue", marker)
    })?;
    let after = u16::try_from(marker).unwrap_or(u16::MAX);
    let from = PartNumber::new(after.saturating_add(1));
    let mut parts = lookup::parts(&snapshot, upload, from, max + 1).await.map_err(read_error)?;
    // A page of no parts ends the listing, as one of no keys does.
    let is_truncated = max > 0 && parts.len() > max;
    parts.truncate(max);
    let root = "ListPartsResult";
    let mut writer = XmlWriter::new(root);
    writer.text("Bucket", bucket.name.as_str()).text("Key", key.as_str());
    writer.text("UploadId", &hex::encode(upload.0));
    owners(&mut writer, front, &open.attributes.owner);
    writer.text("StorageClass", "STANDARD").raw("PartNumberMarker", marker);
    if let Some((last, ..)) = parts.last() {
        writer.raw("NextPartNumberMarker", last);
    }
    writer.raw("MaxParts", max).raw("IsTruncated", is_truncated);
    tell_algorithm(&mut writer, &open);
    for (number, created, part) in &parts {
        writer.begin("Part").raw("PartNumber", number);
        writer.text("LastModified", &s3::time::xml(created.micros()));
        writer.text("ETag", &etag(&part.md5, 0)).raw("Size", part.size);
        if let Some(checksum) = &part.checksum
            && let Some(algorithm) = ChecksumAlgorithm::from_code(checksum.algorithm)
        {
            writer.text(algorithm.element(), &checksum.text());
        }
        writer.end("Part");
    }
    Ok(answer::xml(writer.finish(root)))
}

/// ListMultipartUploads.
pub async fn list_uploads(front: &S3Service, asked: &S3Request) -> HandlerResult {
    let BucketView { bucket, snapshot, .. } = front.sight(asked).await?;
    let style = KeyStyle::of(asked)?;
    let max = page_size(asked, "max-uploads")?;
    let prefix = asked.query("prefix").unwrap_or_default();
    let delimiter = asked.query("delimiter").unwrap_or_default();
    let key_marker = asked.query("key-marker").unwrap_or_default();
    let id_marker = asked.query("upload-id-marker").unwrap_or_default();
    let after = match id_marker {
        "" => None,
        text => Some(upload_id(text).ok_or_else(|| {
            ErrorCode::InvalidArgument
                .because("Invalid uploadId marker")
                .with("ArgumentName", "upload-id-marker")
                .with("ArgumentValue", text)
        })?),
    };
    let request = ListRequest {
        bucket: bucket.id,
        prefix: Bytes::copy_from_slice(prefix.as_bytes()),
        delimiter: Bytes::copy_from_slice(delimiter.as_bytes()),
        // With an id the marker is an upload's key, even where it looks like a common prefix.
        from: match after {
            Some(_) => ListStart::After(Bytes::copy_from_slice(key_marker.as_bytes())),
            None => after_marker(key_marker, prefix, delimiter),
        },
        max,
    };
    let page = uploads::uploads(&snapshot, &request, after).await.map_err(read_error)?;
    let root = "ListMultipartUploadsResult";
    let mut writer = XmlWriter::new(root);
    writer.text("Bucket", bucket.name.as_str());
    style.text(&mut writer, "KeyMarker", key_marker.as_bytes());
    writer.text("UploadIdMarker", id_marker);
    style.text(&mut writer, "Prefix", prefix.as_bytes());
    if !delimiter.is_empty() {
        style.text(&mut writer, "Delimiter", delimiter.as_bytes());
    }
    match page.listed.last().filter(|_| page.is_truncated) {
        Some(UploadItem::Upload(upload)) => {
            style.text(&mut writer, "NextKeyMarker", &upload.key);
            writer.text("NextUploadIdMarker", &hex::encode(upload.id.0));
        }
        Some(UploadItem::Prefix(common)) => {
            style.text(&mut writer, "NextKeyMarker", common);
            writer.text("NextUploadIdMarker", "");
        }
        None => {}
    }
    style.tell(&mut writer);
    writer.raw("MaxUploads", max).raw("IsTruncated", page.is_truncated);
    for listed in &page.listed {
        match listed {
            UploadItem::Upload(upload) => tell_upload(&mut writer, &style, front, upload),
            UploadItem::Prefix(common) => common_prefix(&mut writer, &style, common),
        }
    }
    Ok(answer::xml(writer.finish(root)))
}

fn tell_upload(writer: &mut XmlWriter, style: &KeyStyle, front: &S3Service, upload: &ListedUpload) {
    let open = &upload.open;
    writer.begin("Upload");
    style.text(writer, "Key", &upload.key);
    writer.text("UploadId", &hex::encode(upload.id.0));
    owners(writer, front, &open.attributes.owner);
    writer.text("StorageClass", "STANDARD");
    writer.text("Initiated", &s3::time::xml(open.created.micros()));
    tell_algorithm(writer, open);
    writer.end("Upload");
}

/// Whose an upload is: whoever began it owns what it becomes.
fn owners(writer: &mut XmlWriter, front: &S3Service, id: &str) {
    for who in ["Initiator", "Owner"] {
        writer.begin(who).text("ID", id).text("DisplayName", front.users.display_name(id)).end(who);
    }
}

/// The checksums that an upload was announced with.
fn tell_algorithm(writer: &mut XmlWriter, open: &OpenUpload) {
    if let Some(algorithm) = ChecksumAlgorithm::from_code(open.checksum_algorithm) {
        let kind = if open.checksum_is_composite { "COMPOSITE" } else { "FULL_OBJECT" };
        writer.text("ChecksumAlgorithm", algorithm.name()).text("ChecksumType", kind);
    }
}
