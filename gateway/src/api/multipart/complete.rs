//! CompleteMultipartUpload.

use bytes::Bytes;
use compactor::lookup;
use compactor::outcome::{RecordOutcome, WrittenVersion};
use compactor::state::{BucketState, OpenUpload, UploadState};
use ingest::entry::StoredChecksum;
use ingest::ids::PartNumber;
use ingest::name::ObjectKey;
use ingest::record::{CompleteUpload, RecordBody, UploadPart};
use s3::checksum::{ChecksumAlgorithm, ChecksumHasher, base64, etag, parse_etag};
use s3::error::{ErrorCode, S3Error};
use s3::names::number;
use s3::xml::{self, XmlWriter};
use std::collections::BTreeMap;

use crate::api::body::{self, in_headers};
use crate::api::conditions;
use crate::api::context::{BucketView, S3Context};
use crate::api::errors::{read_error, rejected, unexpected};
use crate::api::request::{PARTS_MAX, RequestBody, S3Request};
use crate::api::response::{self, HandlerResult, add_written};

const COMPLETE_BYTES_MAX: usize = 8 << 20;

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
    request: &S3Request,
    checksum: Option<&StoredChecksum>,
    parts: &[&UploadPart],
) -> Result<(), S3Error> {
    if let Some(said) = request.header("x-amz-mp-object-size")? {
        let size: u64 = parts.iter().map(|part| part.size).sum();
        if number(said) != Some(size) {
            return Err(ErrorCode::InvalidRequest.because(format!(
                "The provided 'x-amz-mp-object-size' header value {said} does not match what was computed: {size}"
            )));
        }
    }
    if let Some(said) = request.header("x-amz-checksum-type")? {
        // Without an algorithm an upload is as good as one with CRC64NVME, which is always of the whole.
        let kind = checksum.map_or("FULL_OBJECT", StoredChecksum::kind);
        if said != kind {
            return Err(ErrorCode::InvalidRequest.because(format!(
                "The upload was created with the checksum type {kind}, not with {said}."
            )));
        }
    }
    for (algorithm, claimed) in in_headers(request)? {
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
pub async fn complete(
    context: &S3Context,
    request: &S3Request,
    body: RequestBody,
) -> HandlerResult {
    let BucketView { bucket, snapshot, .. } = context.bucket_for_read(request).await?;
    let key = request.object_key()?;
    let upload = request.upload()?;
    let condition = conditions::of_write(&request.parts.headers)?;
    let document = body::take_completion(context, request, body, COMPLETE_BYTES_MAX).await?;
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
            check_claims(request, checksum.as_ref(), &parts)?;
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
    let written = match context.submit_configured(request, &bucket, completion).await? {
        RecordOutcome::Written(written) => written,
        RecordOutcome::Rejected(rejection) => return Err(rejected(rejection)),
        other => return Err(unexpected(&other)),
    };
    let host = request.header("host")?.unwrap_or_default();
    let text = result(host, &bucket, &key, &written, checksum.as_ref());
    let mut answer = response::xml(text);
    add_written(&mut answer, &written);
    Ok(answer)
}

/// The document that describes the object that was made.
fn result(
    host: &str,
    bucket: &BucketState,
    key: &ObjectKey,
    written: &WrittenVersion,
    checksum: Option<&StoredChecksum>,
) -> String {
    let root = "CompleteMultipartUploadResult";
    let mut writer = XmlWriter::new(root);
    let path = s3::names::encode_path(key.as_str());
    writer.text("Location", &format!("http://{host}/{}/{path}", bucket.name));
    writer.text("Bucket", bucket.name.as_str()).text("Key", key.as_str());
    writer.text("ETag", &etag(&written.etag.md5, written.etag.parts));
    if let Some(checksum) = checksum
        && let Some(algorithm) = ChecksumAlgorithm::from_code(checksum.algorithm)
    {
        writer.text(algorithm.element(), &checksum.text());
        writer.text("ChecksumType", checksum.kind());
    }
    writer.finish(root)
}
