//! The length, digests and checksums that a request announces for its body, and their verification.

use s3::checksum::{ChecksumAlgorithm, parse_content_md5};
use s3::error::{ErrorCode, S3Error};
use s3::headers;
use s3::names::number;
use s3::operation::body::UPLOAD_BYTES_MAX;
use s3::parsed_names::{CONTENT_MD5, TRAILER};
use s3::sigv4::PayloadHash;

use super::digests::{DigestSet, FinishedDigests};
use crate::api::request::S3Request;

/// Returns true for a body whose length only its end tells: sent in chunks of HTTP, and not in chunks of S3, whose decoded
/// length AWS wants to know.
pub fn is_of_unknown_length(request: &S3Request) -> bool {
    let headers = &request.parts.headers;
    !request.verified.payload.is_chunked()
        && headers.contains_key("transfer-encoding")
        && !headers.contains_key("content-length")
}

/// The length that a request declares for its decoded body. Fails with `MissingContentLength` without one.
pub fn declared_len(request: &S3Request) -> Result<u64, S3Error> {
    let name = if request.verified.payload.is_chunked() {
        "x-amz-decoded-content-length"
    } else {
        "content-length"
    };
    let text =
        request.header(name)?.ok_or_else(|| S3Error::from(ErrorCode::MissingContentLength))?;
    number(text.trim())
        .ok_or_else(|| ErrorCode::InvalidArgument.because(format!("{name} is not a number")))
}

/// The error for a payload of more bytes than one request may have.
pub fn too_large(len: u64) -> S3Error {
    S3Error::from(ErrorCode::EntityTooLarge)
        .with("ProposedSize", len.to_string())
        .with("MaxSizeAllowed", UPLOAD_BYTES_MAX.to_string())
}

/// The digests that a request announces for its body.
pub struct BodyExpectation {
    content_md5: Option<[u8; 16]>,
    checksum: Option<AnnouncedChecksum>,
    /// SHA-256, where the request's signature covers the body so.
    sha256: Option<[u8; 32]>,
}

impl BodyExpectation {
    /// The digests that a request announces. Fails for a header that cannot be read, for an unknown algorithm, and for more
    /// than one checksum.
    pub fn of(request: &S3Request) -> Result<Self, S3Error> {
        Self::with(request, &in_headers(request)?)
    }

    /// The digests that a completion announces for its document. Its checksum headers describe the object that it makes;
    /// one of an unknown algorithm is still an error.
    pub fn of_completion(request: &S3Request) -> Result<Self, S3Error> {
        in_headers(request)?;
        Self::with(request, &[])
    }

    fn with(request: &S3Request, given: &[(ChecksumAlgorithm, &str)]) -> Result<Self, S3Error> {
        let content_md5 = request.header(&CONTENT_MD5)?.map(parse_content_md5).transpose()?;
        let checksum = announced(request, given)?;
        let sha256 = match request.verified.payload {
            PayloadHash::Sha256(expected) => Some(expected),
            _ => None,
        };
        Ok(Self { content_md5, checksum, sha256 })
    }

    /// The digests to compute for a body; `wanted` is the checksum's algorithm where the request announces none.
    pub fn digests(&self, wanted: Option<ChecksumAlgorithm>) -> DigestSet {
        let algorithm = self.checksum.as_ref().map(|(algorithm, _)| *algorithm).or(wanted);
        DigestSet::new(algorithm, self.sha256.is_some())
    }

    /// Compares the digests of the whole body with those that were announced, in headers or trailers. Fails for the first
    /// that differs, and for a trailer that was not announced.
    pub fn verify(
        &self,
        digests: &FinishedDigests,
        trailers: &[(String, String)],
    ) -> Result<(), S3Error> {
        if digests.sha256.as_deref() != self.sha256.as_ref().map(|expected| expected.as_slice()) {
            return Err(ErrorCode::XAmzContentSha256Mismatch.into());
        }
        if self.content_md5.is_some_and(|expected| expected != digests.md5) {
            return Err(ErrorCode::BadDigest.into());
        }
        check_trailers(self.checksum.as_ref(), trailers)?;
        match (&self.checksum, &digests.checksum) {
            (Some(announced), Some((_, computed))) => {
                verify_checksum(announced, trailers, &computed.digest)
            }
            _ => Ok(()),
        }
    }
}

/// A checksum's algorithm, and its value unless that comes in a trailer.
type AnnouncedChecksum = (ChecksumAlgorithm, Option<Vec<u8>>);

/// The checksums in a request's headers, not decoded. Fails with `InvalidRequest` for a header of an unknown algorithm.
pub fn in_headers(request: &S3Request) -> Result<Vec<(ChecksumAlgorithm, &str)>, S3Error> {
    let mut found = Vec::new();
    for name in request.parts.headers.keys().map(http::HeaderName::as_str) {
        if !headers::is_checksum(name) {
            continue;
        }
        let algorithm = ChecksumAlgorithm::with_header(name).ok_or_else(|| {
            ErrorCode::InvalidRequest
                .because(format!("The checksum algorithm of {name} is not supported."))
        })?;
        found.push((algorithm, request.header(name)?.unwrap_or_default()));
    }
    Ok(found)
}

/// The algorithm of the checksum that comes in a trailer; `None` without an announcement. Fails with `InvalidRequest` for any
/// other trailer.
fn in_trailer(request: &S3Request) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    let Some(trailer) = request.header(&TRAILER)? else { return Ok(None) };
    let algorithm = ChecksumAlgorithm::with_header(&trailer.trim().to_ascii_lowercase());
    let unknown = || {
        ErrorCode::InvalidRequest
            .because("The value specified in the x-amz-trailer header is not supported")
    };
    algorithm.map(Some).ok_or_else(unknown)
}

/// Fails with `InvalidRequest` for a checksum, in a header or announced for a trailer, of another algorithm than `wanted`.
pub fn check_algorithm(request: &S3Request, wanted: ChecksumAlgorithm) -> Result<(), S3Error> {
    let in_headers = in_headers(request)?.into_iter().map(|(algorithm, _)| algorithm);
    let other = in_headers.chain(in_trailer(request)?).find(|given| *given != wanted);
    let Some(other) = other else { return Ok(()) };
    Err(ErrorCode::InvalidRequest.because(format!(
        "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
        wanted.name().to_ascii_lowercase(),
        other.name().to_ascii_lowercase(),
    )))
}

/// The checksum that the client announces: its algorithm, and its value if that is in a header.
fn announced(
    request: &S3Request,
    given: &[(ChecksumAlgorithm, &str)],
) -> Result<Option<AnnouncedChecksum>, S3Error> {
    let several = || {
        ErrorCode::InvalidRequest.because(
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    };
    let in_header = match *given {
        [] => None,
        [(algorithm, text)] => Some((algorithm, Some(algorithm.parse(text)?))),
        _ => return Err(several()),
    };
    let Some(algorithm) = in_trailer(request)? else { return Ok(in_header) };
    if in_header.is_some() {
        return Err(several());
    }
    Ok(Some((algorithm, None)))
}

/// Refuses trailers with checksums other than the announced one, which nobody would verify, and one that comes twice.
fn check_trailers(
    announced: Option<&AnnouncedChecksum>,
    trailers: &[(String, String)],
) -> Result<(), S3Error> {
    let wanted = match announced {
        Some((algorithm, None)) => algorithm.header(),
        _ => "",
    };
    let mut came = trailers.iter().filter(|(name, _)| headers::is_checksum(name));
    let is_wrong = came.next().is_some_and(|(name, _)| name != wanted) || came.next().is_some();
    if is_wrong { Err(ErrorCode::MalformedTrailer.into()) } else { Ok(()) }
}

/// Compares a computed checksum with the one that the client sent in a header or trailer.
fn verify_checksum(
    (algorithm, in_header): &AnnouncedChecksum,
    trailers: &[(String, String)],
    computed: &[u8],
) -> Result<(), S3Error> {
    let is_same = match in_header {
        Some(expected) => expected == computed,
        None => {
            let trailer = trailers.iter().find(|(name, _)| name == algorithm.header());
            let (_, text) = trailer.ok_or_else(|| {
                ErrorCode::MalformedTrailer.because("The announced checksum trailer did not come.")
            })?;
            algorithm.parse(text)? == computed
        }
    };
    if is_same {
        return Ok(());
    }
    let name = algorithm.name();
    Err(ErrorCode::BadDigest
        .because(format!("The {name} you specified did not match the calculated checksum.")))
}
