//! The attributes that a client gives to an object besides its bytes.

use ingest::entry::{Attributes, StorageClass};
use s3::checksum::ChecksumAlgorithm;
use s3::error::{ErrorCode, S3Error};
use s3::headers;
use s3::parsed_names::{STORAGE_CLASS, TAGGING};

use crate::api::request::S3Request;
use crate::api::tag_set;

/// The largest user metadata in bytes, names and values together.
const METADATA_BYTES_MAX: usize = 2048;

/// The coding of a body on its way, which is not the object's.
const AWS_CHUNKED: &str = "aws-chunked";
/// The header with the place to which a website redirects requests for an object.
pub const REDIRECT_LOCATION: &str = "x-amz-website-redirect-location";
/// The longest such place in bytes.
const REDIRECT_BYTES_MAX: usize = 2048;

/// The attributes that a request gives to an object besides its bytes: stored headers, metadata, tags, and the
/// requester as owner. Fails for a header that cannot be stored, for metadata beyond 2 KiB, and for invalid tags.
pub fn attributes(request: &S3Request) -> Result<Attributes, S3Error> {
    let mut stored = Vec::new();
    for name in headers::STORED {
        let Some(mut value) = headers::stored(&request.parts.headers, name)? else { continue };
        if name == "content-encoding" && value.contains(AWS_CHUNKED) {
            let codings = value.split(',').map(str::trim).filter(|coding| *coding != AWS_CHUNKED);
            value = codings.collect::<Vec<_>>().join(", ");
        }
        if !value.is_empty() {
            stored.push((name.to_owned(), value));
        }
    }
    if let Some(class) = storage_class(request)? {
        stored.push((StorageClass::HEADER.to_owned(), class.name().to_owned()));
    }
    if let Some(location) = redirect_location(request)? {
        stored.push((REDIRECT_LOCATION.to_owned(), location.to_owned()));
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
    let tags = match request.header(&TAGGING)? {
        Some(text) => tag_set::of_header(text)?,
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

/// The storage class that a request sets; `None` for `STANDARD`. The class was checked with the request's other headers,
/// so an unknown one is an error only of this server.
fn storage_class(request: &S3Request) -> Result<Option<StorageClass>, S3Error> {
    let Some(name) = request.header(&STORAGE_CLASS)? else { return Ok(None) };
    let class = StorageClass::named(name).ok_or_else(|| {
        S3Error::from(ErrorCode::InvalidStorageClass).with("StorageClassRequested", name)
    })?;
    Ok(Some(class).filter(|class| *class != StorageClass::Standard))
}

/// The place to which a website redirects requests for the object. Fails with `InvalidRedirectLocation` for another text
/// than a path or an HTTP URL, and for more than 2 KiB.
fn redirect_location(request: &S3Request) -> Result<Option<&str>, S3Error> {
    let Some(location) = request.header(REDIRECT_LOCATION)? else { return Ok(None) };
    if location.is_empty() {
        return Err(ErrorCode::InvalidRedirectLocation.into());
    }
    if !["/", "http://", "https://"].iter().any(|start| location.starts_with(start)) {
        return Err(ErrorCode::InvalidRedirectLocation.because(
            "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
        ));
    }
    if location.len() > REDIRECT_BYTES_MAX {
        return Err(ErrorCode::InvalidRedirectLocation
            .because("The length of website redirect location cannot exceed 2,048 characters."));
    }
    Ok(Some(location))
}

/// The algorithm that a header names for a checksum to compute; `None` without the header. Fails with `InvalidRequest`
/// for an unknown name.
pub fn wanted_checksum(
    request: &S3Request,
    name: &str,
) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    let Some(said) = request.header(name)? else { return Ok(None) };
    let algorithm = ChecksumAlgorithm::named(said).ok_or_else(|| {
        ErrorCode::InvalidRequest.because(format!("Value for {name} header is invalid."))
    })?;
    Ok(Some(algorithm))
}

#[cfg(test)]
mod tests {
    use ingest::entry::StoredChecksum;

    use super::*;

    #[test]
    fn storage_classes_have_one_name() {
        assert_eq!(StorageClass::ALL.map(StorageClass::name), headers::STORAGE_CLASSES);
    }

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
