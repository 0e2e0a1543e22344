//! Places at which a page of a list begins: markers and continuation tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use query::listing::ListStart;
use s3::error::{ErrorCode, S3Error};

/// A continuation token: kind, key, and a checksum by which a changed token is recognised as an error.
pub fn token(from: &ListStart) -> String {
    let (kind, key) = match from {
        ListStart::Start => (b's', &[][..]),
        ListStart::After(key) | ListStart::AfterVersion(key, _) => (b'k', key.as_ref()),
        ListStart::AfterPrefix(prefix) => (b'p', prefix.as_ref()),
    };
    let mut bytes = vec![1, kind];
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn parse_token(text: &str) -> Result<ListStart, S3Error> {
    let parse = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let key = Bytes::copy_from_slice(body.get(2..)?);
        match (crc32c::crc32c(body).to_le_bytes() == *crc, &body[..2]) {
            (true, [1, b'k']) => Some(ListStart::After(key)),
            (true, [1, b'p']) => Some(ListStart::AfterPrefix(key)),
            _ => None,
        }
    };
    parse().ok_or_else(|| {
        ErrorCode::InvalidArgument.because("The continuation token provided is incorrect")
    })
}

/// The place after a marker. A marker that ends like a common prefix means the place after every key below it.
pub fn after_marker(marker: &str, prefix: &str, delimiter: &str) -> ListStart {
    if marker.is_empty() {
        return ListStart::Start;
    }
    let key = Bytes::copy_from_slice(marker.as_bytes());
    let is_prefix = !delimiter.is_empty()
        && marker.strip_prefix(prefix).is_some_and(|rest| {
            rest.find(delimiter) == Some(rest.len().wrapping_sub(delimiter.len()))
        });
    if is_prefix { ListStart::AfterPrefix(key) } else { ListStart::After(key) }
}
