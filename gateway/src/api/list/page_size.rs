//! The number of items that a request wants on a page, and the range of keys that it wants listed.

use bytes::Bytes;
use ingest::ids::BucketId;
use query::listing::{ListRequest, ListStart};
use s3::error::{ErrorCode, S3Error};
use s3::names::number;

use crate::api::request::S3Request;

/// The largest number of items on a page; a request that wants more gets this number.
const PAGE_MAX: usize = 1000;

fn max_keys(request: &S3Request) -> Result<usize, S3Error> {
    let Some(text) = request.query("max-keys").filter(|text| !text.is_empty()) else {
        return Ok(PAGE_MAX);
    };
    let parsed: Option<i64> = number(text).filter(|max| (0..=i64::from(i32::MAX)).contains(max));
    let max = parsed.ok_or_else(|| {
        ErrorCode::InvalidArgument
            .because("Argument maxKeys must be an integer between 0 and 2147483647")
            .with("ArgumentName", "maxKeys")
            .with("ArgumentValue", text)
    })?;
    Ok((max as usize).min(PAGE_MAX))
}

/// The request's prefix, delimiter and page size, from a place on. Fails with `InvalidArgument` for a `max-keys` that is
/// not a number from 0 to 2147483647.
pub fn list_request(
    request: &S3Request,
    bucket: BucketId,
    from: ListStart,
) -> Result<ListRequest, S3Error> {
    let bytes =
        |name: &str| Bytes::copy_from_slice(request.query(name).unwrap_or_default().as_bytes());
    Ok(ListRequest {
        bucket,
        prefix: bytes("prefix"),
        delimiter: bytes("delimiter"),
        from,
        max: max_keys(request)?,
    })
}

/// The page size that the text of a parameter or header of uploads or parts stands for. Fails with `InvalidArgument` for
/// any text but a number; an empty text counts as none.
pub fn page_size(name: &str, text: Option<&str>) -> Result<usize, S3Error> {
    match text.filter(|text| !text.is_empty()) {
        None => Ok(PAGE_MAX),
        Some(text) => number::<usize>(text).map(|max| max.min(PAGE_MAX)).ok_or_else(|| {
            ErrorCode::InvalidArgument
                .because(format!("Provided {name} not an integer or within integer range"))
        }),
    }
}
