//! The parts that a completion names, compared with those that were uploaded.

use std::collections::BTreeMap;

use bytes::Bytes;
use compactor::apply::StoreRules;
use ingest::ids::PartNumber;
use ingest::record::UploadPart;
use s3::checksum::{ChecksumAlgorithm, etag, parse_etag};
use s3::document::{CompleteMultipartUpload, CompletedPart, ElementText};
use s3::error::{ErrorCode, S3Error};
use s3::xml;

use crate::api::request::PARTS_MAX;

/// The parts of an upload by their numbers.
pub type UploadedParts = BTreeMap<PartNumber, UploadPart>;

/// A part that a completion names: number, MD5, and the checksums that the client states.
pub struct RequestedPart {
    /// The part's number.
    pub number: PartNumber,
    /// The MD5 in the entity tag that the client states.
    pub md5: [u8; 16],
    /// The checksums that the client states.
    pub checksums: Vec<(ChecksumAlgorithm, Vec<u8>)>,
}

/// The parts that a completion names, in the order of the document. Fails with `MalformedXml` for a document without parts
/// or with more than 10000.
pub fn read_parts(document: &Bytes) -> Result<Vec<RequestedPart>, S3Error> {
    let read: CompleteMultipartUpload = xml::read(document)?;
    let named: Vec<RequestedPart> =
        read.parts.iter().map(requested_part).collect::<Result<_, _>>()?;
    if named.is_empty() || named.len() > usize::from(PARTS_MAX) {
        return Err(ErrorCode::MalformedXml.into());
    }
    Ok(named)
}

fn requested_part(part: &CompletedPart) -> Result<RequestedPart, S3Error> {
    let (md5, _) = parse_etag(&part.etag).ok_or_else(|| S3Error::from(ErrorCode::InvalidPart))?;
    let claims = part.others.iter().filter(|(name, _)| name.starts_with("Checksum"));
    let checksum = |(name, text): (&String, &ElementText)| {
        let known = ChecksumAlgorithm::ALL.into_iter().find(|known| known.element() == name);
        let algorithm = known.ok_or_else(|| {
            ErrorCode::InvalidRequest
                .because(format!("The checksum algorithm of {name} is not supported."))
        })?;
        Ok((algorithm, algorithm.parse(text.0.as_deref().unwrap_or_default())?))
    };
    let checksums = claims.map(checksum).collect::<Result<_, S3Error>>()?;
    Ok(RequestedPart { number: PartNumber::new(part.part_number), md5, checksums })
}

/// The named parts as they were uploaded. Fails with `InvalidPart`, which names the part, when one is missing or has
/// another entity tag or checksum than the client states.
pub fn find_parts<'a>(
    named: &[RequestedPart],
    parts: &'a UploadedParts,
) -> Result<Vec<&'a UploadPart>, S3Error> {
    let find = |named: &RequestedPart| {
        let invalid = || {
            S3Error::from(ErrorCode::InvalidPart)
                .with("PartNumber", named.number.to_string())
                .with("ETag", etag(&named.md5, 0))
        };
        let part = parts.get(&named.number).filter(|part| part.md5 == named.md5);
        let part = part.ok_or_else(invalid)?;
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

/// The error for the first of the named parts that is smaller than a part may be, unless it is the last. Called after the
/// fold has refused the completion.
pub fn too_small(named: &[RequestedPart], parts: &UploadedParts) -> S3Error {
    let min = StoreRules::default().part_bytes_min;
    let error = S3Error::from(ErrorCode::EntityTooSmall);
    let mut found = named.iter().filter_map(|named| parts.get_key_value(&named.number));
    match found.find(|(_, part)| part.size < min) {
        None => error,
        Some((number, part)) => error
            .with("ProposedSize", part.size.to_string())
            .with("MinSizeAllowed", min.to_string())
            .with("PartNumber", number.to_string())
            .with("ETag", etag(&part.md5, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Mutator, rounds};

    #[test]
    fn mutated_completions_are_refused_or_name_parts_within_bounds() {
        let tag = "0123456789abcdef0123456789abcdef";
        let part = format!(
            "<Part><PartNumber>1</PartNumber><ETag>\"{tag}\"</ETag><ChecksumCRC32>NSRBwg==</ChecksumCRC32></Part>"
        );
        let document =
            |parts: &str| format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let seeds = [document(&part), document(&part.repeat(3)), document("")];
        let mut mutator = Mutator::new(43);
        let mut accepted = 0;
        for _ in 0..rounds(20_000) {
            let bytes = Bytes::from(mutator.mutated(&seeds));
            if let Ok(parts) = read_parts(&bytes) {
                assert!(!parts.is_empty() && parts.len() <= bytes.len() / tag.len());
                let _ = find_parts(&parts, &BTreeMap::new());
                accepted += 1;
            }
        }
        assert!(accepted > 100, "the mutations are too coarse: {accepted} passed");
    }
}
