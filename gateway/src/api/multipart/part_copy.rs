//! UploadPartCopy.

use std::ops::Range;

use s3::checksum::etag;
use s3::document::CopyPartResult;
use s3::error::{ErrorCode, S3Error};
use s3::names::number;

use super::part_place::PartPlace;
use crate::api::body;
use crate::api::context::S3Context;
use crate::api::object::copy_source::CopySource;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult, checksum_elements};

/// The header that names the bytes of the source; all without it.
const RANGE: &str = "x-amz-copy-source-range";

/// UploadPartCopy: stores bytes of an object as a part. The part shares no bytes with its source, is durable before the
/// response, and replaces an earlier part of its number. Fails, before a byte is read, with `NoSuchUpload` unless the
/// upload is open, and as CopyObject does for its source.
pub async fn copy(context: &S3Context, request: &S3Request) -> HandlerResult {
    let place = PartPlace::of(context, request).await?;
    let source = CopySource::of(request)?;
    let range = request.header(RANGE)?;
    let mut from = source.open(context, request, |size| source_range(range, size)).await?;
    let (bytes, len, wanted) = (&mut from.body, from.len, place.algorithm);
    let copied = body::copy_payload(context, request, bytes, len, place.target, wanted).await?;
    let (part, created) = place.store(context, request, copied).await?;
    let mut answer = response::document(&CopyPartResult {
        last_modified: s3::time::xml(created.micros()),
        etag: etag(&part.md5, 0),
        checksums: checksum_elements(&part.checksum),
    })?;
    from.add_version(&mut answer);
    Ok(answer)
}

/// The bytes that a range names in a source of `size` bytes. Fails with `InvalidArgument` for any other form than
/// `bytes=first-last`, and with `InvalidRange` for bytes that the source does not have: a part that is shorter than its
/// client expects would be a hole in the object.
fn source_range(text: Option<&str>, size: u64) -> Result<Range<u64>, S3Error> {
    let Some(text) = text else { return Ok(0..size) };
    let parse = |text: &str| {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        Some((number::<u64>(first)?, number::<u64>(last)?))
    };
    let (first, last) = parse(text).filter(|(first, last)| first <= last).ok_or_else(|| {
        ErrorCode::InvalidArgument
            .because("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
            .with("ArgumentName", RANGE)
            .with("ArgumentValue", text)
    })?;
    if last >= size {
        return Err(ErrorCode::InvalidRange
            .because(format!("Range specified is not valid for source object of size: {size}"))
            .with("RangeRequested", text)
            .with("ActualObjectSize", size.to_string()));
    }
    Ok(first..last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_a_source_has_both_ends_inside() {
        assert_eq!(source_range(None, 10), Ok(0..10));
        assert_eq!(source_range(None, 0), Ok(0..0));
        assert_eq!(source_range(Some("bytes=0-0"), 10), Ok(0..1));
        assert_eq!(source_range(Some("bytes=3-9"), 10), Ok(3..10));
        let code = |text| source_range(Some(text), 10).unwrap_err().code;
        for form in [
            "0-2",
            "bytes=0",
            "bytes=2-",
            "bytes=-2",
            "bytes=3-2",
            "bytes=0-2,4-5",
            "bytes=a-b",
            "bytes=+0-2",
            "bytes=0-99999999999999999999",
            "bytes= 0-2",
            "",
        ] {
            assert_eq!(code(form), ErrorCode::InvalidArgument, "{form}");
        }
        assert_eq!(code("bytes=0-10"), ErrorCode::InvalidRange);
        assert_eq!(code("bytes=0-18446744073709551615"), ErrorCode::InvalidRange);
        assert_eq!(source_range(Some("bytes=0-0"), 0).unwrap_err().code, ErrorCode::InvalidRange);
    }
}
