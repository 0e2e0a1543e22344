//! The checksum of an object that is made of parts.

use compactor::state::OpenUpload;
use ingest::entry::StoredChecksum;
use ingest::record::UploadPart;
use s3::checksum::{ChecksumAlgorithm, ChecksumHasher};
use s3::error::{ErrorCode, S3Error};
use s3::names::number;

use crate::api::body::in_headers;
use crate::api::request::S3Request;

/// The whole object's checksum, computed from the checksums of its parts. Fails with `InvalidPart` when a part has
/// none; `None` for an upload that was begun without an algorithm.
pub fn whole_checksum(
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

/// CRC-64/NVME of all parts together: the checksum that clients see of an object whose upload was begun without an
/// algorithm. Every part has this digest in its record, so it never fails; `None` without parts.
pub fn whole_crc64(parts: &[&UploadPart]) -> Option<StoredChecksum> {
    let (first, others) = parts.split_first()?;
    let join = |before: Vec<u8>, part: &&UploadPart| {
        let digest = part.digest.to_be_bytes();
        ChecksumAlgorithm::Crc64Nvme.combine(&before, &digest, part.size)
    };
    let digest = others.iter().try_fold(first.digest.to_be_bytes().to_vec(), join)?;
    let algorithm = StoredChecksum::CRC64_NVME;
    Some(StoredChecksum { algorithm, is_composite: false, digest: digest.into() })
}

/// Compares size, checksum type and checksum in the request's headers with those of the object. Fails for the first
/// that differs.
pub fn check_claims(
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
                whole_crc64(parts).is_some_and(|whole| claimed == whole.text())
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
