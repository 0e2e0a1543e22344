//! The attributes that a client gives to an object besides its bytes.

use ingest::entry::Attributes;
use s3::checksum::ChecksumAlgorithm;
use s3::error::{ErrorCode, S3Error};
use s3::headers;
use s3::names;

use crate::api::request::S3Request;
use crate::api::tag_set::{self, Tagged};

/// The largest user metadata in bytes, names and values together.
const METADATA_BYTES_MAX: usize = 2048;

/// The attributes that a request gives to an object besides its bytes: stored headers, metadata, tags, and the
/// requester as owner. Fails for a header that cannot be stored, for metadata beyond 2 KiB, and for invalid tags.
pub fn attributes(request: &S3Request) -> Result<Attributes, S3Error> {
    let mut stored = Vec::new();
    for name in headers::STORED {
        let Some(mut value) = headers::stored(&request.parts.headers, name)? else { continue };
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
    for header in request.parts.headers.keys() {
        let Some(name) = header.as_str().strip_prefix(headers::METADATA) else { continue };
        // One name twice is one list, as AWS keeps it.
        let value = headers::stored(&request.parts.headers, header.as_str())?.unwrap_or_default();
        bytes += name.len() + value.len();
        metadata.push((name.to_owned(), value));
    }
    if bytes > METADATA_BYTES_MAX {
        return Err(S3Error::from(ErrorCode::MetadataTooLarge)
            .with("Size", bytes.to_string())
            .with("MaxSizeAllowed", METADATA_BYTES_MAX.to_string()));
    }
    let tags = match request.header("x-amz-tagging")? {
        Some(text) => tag_set::check(names::query(text)?, Tagged::Object)?,
        None => Vec::new(),
    };
    Ok(Attributes {
        owner: request.user.id.clone(),
        headers: stored,
        metadata,
        tags,
        ..Attributes::default()
    })
}

/// The algorithm that a header names for a checksum to compute; `None` also for an algorithm that is not stored with
/// objects. Fails with `InvalidRequest` for an unknown name.
pub fn wanted_checksum(
    request: &S3Request,
    name: &str,
) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    let Some(said) = request.header(name)? else { return Ok(None) };
    let algorithm = ChecksumAlgorithm::named(said).ok_or_else(|| {
        ErrorCode::InvalidRequest.because(format!("Value for {name} header is invalid."))
    })?;
    Ok(Some(algorithm).filter(|algorithm| algorithm.is_kept()))
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
