//! Taking bodies: counted, hashed, verified, and written where they belong while they come.
//!
//! Nothing is believed before the end: a body that is shorter or longer than declared, has another
//! checksum or a broken chunk signature leaves nothing that anything refers to.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use compactor::partition::{PayloadError, PayloadGuard, PayloadWriter};
use futures::FutureExt;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming};
use ingest::bulk::BulkError;
use ingest::entry::{Extent, StoredChecksum};
use ingest::log::AppendError;
use ingest::record::{RecordPayload, StreamRef};
use s3::checksum::{ChecksumAlgorithm, ChecksumHasher, Md5Hasher, base64, parse_content_md5};
use s3::chunked::ChunkedDecoder;
use s3::error::{ErrorCode, S3Error};
use s3::headers;
use s3::names::number;
use s3::sigv4::PayloadHash;
use std::sync::Arc;

use super::answer::{self, ResponseBody};
use super::digests::{BodyDigests, DigestSet};
use super::{S3Request, S3Service};
use crate::server::connections::ConnectionHandle;
use crate::server::pace::ClientPace;

/// The largest single upload, and the largest part: 5 GiB.
pub const UPLOAD_BYTES_MAX: u64 = 5 << 30;
/// A body longer than this is digested beside its way to the disk.
const BESIDE_BYTES: u64 = 1 << 20;
/// A document must have come before its client was waited for this long, however it keeps up.
const DOCUMENT_TIME: Duration = Duration::from_secs(120);

/// A body that was taken and verified.
pub struct ReceivedBody {
    /// Length in bytes.
    pub size: u64,
    /// MD5.
    pub md5: [u8; 16],
    /// CRC-64/NVME.
    pub digest: u64,
    /// The checksum that the client sent, or that was asked for, if it is of a kind that is kept.
    pub checksum: Option<StoredChecksum>,
    /// The checksum that the client sent, if it is of a kind that is not kept.
    pub passing: Option<VerifiedChecksum>,
    /// Where it is.
    pub payload: RecordPayload,
    /// Keeps what is beside the record until the outcome is known.
    pub held: Option<PayloadGuard>,
}

impl ReceivedBody {
    /// The payload's extents; none when it is empty.
    pub fn extents(&self) -> Arc<[Extent]> {
        match &self.payload {
            RecordPayload::Bulk(extents) => extents.clone(),
            RecordPayload::Inline(_) | RecordPayload::Stream(_) => Arc::new([]),
        }
    }

    /// The stream that the payload came through the log in, if it did.
    pub fn stream(&self) -> Option<StreamRef> {
        match &self.payload {
            RecordPayload::Stream(stream) => Some(*stream),
            RecordPayload::Inline(_) | RecordPayload::Bulk(_) => None,
        }
    }
}

/// The pieces of a body, as they come off the wire.
struct ReceivedPieces {
    body: Incoming,
    connection: Option<Arc<ConnectionHandle>>,
    /// How the client keeps up.
    pace: ClientPace,
    /// How much longer the client is waited for in all; without bound where a body may be large.
    left: Duration,
    decoder: Option<ChunkedDecoder>,
    ready: std::collections::VecDeque<Bytes>,
    trailers: Vec<(String, String)>,
    ended: bool,
}

impl ReceivedPieces {
    fn new(asked: &S3Request, body: Incoming, len: u64, stall: Duration) -> Self {
        let is_chunked = asked.verified.payload.is_chunked();
        let decoder = is_chunked.then(|| ChunkedDecoder::new(asked.verified.clone(), len));
        let connection = asked.parts.extensions.get::<Arc<ConnectionHandle>>().cloned();
        Self {
            body,
            connection,
            pace: ClientPace::new(stall),
            left: Duration::MAX,
            decoder,
            ready: Default::default(),
            trailers: Vec::new(),
            ended: false,
        }
    }

    /// The next frame.
    async fn frame(&mut self) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, S3Error> {
        // A frame that has come already costs no look at the clock.
        let frame = match self.body.frame().now_or_never() {
            Some(frame) => frame,
            None => self.wait_for_frame().await?,
        };
        if frame.is_none() || self.body.is_end_stream() {
            self.connection.iter().for_each(|connection| connection.body_ended());
        }
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        self.pace.moved(data.map_or(0, Bytes::len));
        Ok(frame)
    }

    /// Waits for the next frame, as long as the client keeps up.
    async fn wait_for_frame(
        &mut self,
    ) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, S3Error> {
        let began = Instant::now();
        let left = self.pace.left().min(self.left);
        self.connection.iter().for_each(|connection| connection.waits());
        let frame = tokio::time::timeout(left, self.body.frame()).await;
        let waited = began.elapsed();
        self.pace.waited(waited);
        self.left = self.left.saturating_sub(waited);
        let frame = frame.map_err(|_| S3Error::from(ErrorCode::RequestTimeout))?;
        self.connection.iter().for_each(|connection| connection.came());
        Ok(frame)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Ok(Some(bytes));
            }
            if self.ended {
                return Ok(None);
            }
            match self.frame().await? {
                None => {
                    self.ended = true;
                    if let Some(decoder) = self.decoder.take() {
                        self.trailers = decoder.finish()?;
                    }
                }
                Some(Err(_)) => return Err(ErrorCode::IncompleteBody.into()),
                Some(Ok(frame)) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    match &mut self.decoder {
                        Some(decoder) => {
                            let mut out = Vec::new();
                            decoder.feed(bytes, &mut out)?;
                            self.ready.extend(out);
                        }
                        None => self.ready.push_back(bytes),
                    }
                }
            }
        }
    }
}

/// The length that the client declares for what it stores.
fn declared_len(asked: &S3Request) -> Result<u64, S3Error> {
    let name = if asked.verified.payload.is_chunked() {
        "x-amz-decoded-content-length"
    } else {
        "content-length"
    };
    let text = asked.header(name)?.ok_or_else(|| S3Error::from(ErrorCode::MissingContentLength))?;
    number(text.trim())
        .ok_or_else(|| ErrorCode::InvalidArgument.because(format!("{name} is not a number")))
}

/// A checksum that was verified and is not kept: its algorithm and its digest.
pub type VerifiedChecksum = (ChecksumAlgorithm, Vec<u8>);

/// Tells the client that a checksum that is not kept was verified.
pub fn tell_passing(response: &mut Response<ResponseBody>, passing: Option<&VerifiedChecksum>) {
    if let Some((algorithm, digest)) = passing {
        answer::set(response, algorithm.header(), &base64(digest));
    }
}

/// A checksum's algorithm, and its value unless that comes in a trailer.
type AnnouncedChecksum = (ChecksumAlgorithm, Option<Vec<u8>>);

/// The checksum over all of an object, as it is stored.
pub fn stored_checksum(hasher: ChecksumHasher) -> StoredChecksum {
    StoredChecksum {
        algorithm: hasher.algorithm() as u8,
        is_composite: false,
        digest: hasher.finish().into(),
    }
}

/// The checksums that stand in headers. A header of an algorithm that nobody knows is refused.
pub fn in_headers(asked: &S3Request) -> Result<Vec<(ChecksumAlgorithm, &str)>, S3Error> {
    let mut found = Vec::new();
    for name in asked.parts.headers.keys().map(http::HeaderName::as_str) {
        if !headers::is_checksum(name) {
            continue;
        }
        let algorithm = ChecksumAlgorithm::with_header(name).ok_or_else(|| {
            ErrorCode::InvalidRequest
                .because(format!("The checksum algorithm of {name} is not supported."))
        })?;
        found.push((algorithm, asked.header(name)?.unwrap_or_default()));
    }
    Ok(found)
}

/// The checksum that the client announces: its algorithm, and its value if that is in a header.
fn announced(asked: &S3Request) -> Result<Option<AnnouncedChecksum>, S3Error> {
    let several = || {
        ErrorCode::InvalidRequest.because(
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    };
    let given = in_headers(asked)?;
    let in_header = match given[..] {
        [] => None,
        [(algorithm, text)] => Some((algorithm, Some(algorithm.parse(text)?))),
        _ => return Err(several()),
    };
    let Some(trailer) = asked.header("x-amz-trailer")? else { return Ok(in_header) };
    let algorithm = ChecksumAlgorithm::with_header(&trailer.trim().to_ascii_lowercase());
    let algorithm = algorithm.ok_or_else(|| {
        ErrorCode::InvalidRequest
            .because("The value specified in the x-amz-trailer header is not supported")
    })?;
    if in_header.is_some() {
        return Err(several());
    }
    Ok(Some((algorithm, None)))
}

enum PayloadSink {
    Memory(BytesMut),
    Large(PayloadWriter),
}

impl S3Service {
    /// Takes a body that is stored. Up to `inline_max` bytes stay in memory, more is written to a bulk
    /// file as it comes. `wanted` asks for a checksum where the client announces none.
    pub async fn take_body(
        &self,
        asked: &S3Request,
        body: Incoming,
        inline_max: u64,
        wanted: Option<ChecksumAlgorithm>,
    ) -> Result<ReceivedBody, S3Error> {
        let len = declared_len(asked)?;
        if len > UPLOAD_BYTES_MAX {
            return Err(S3Error::from(ErrorCode::EntityTooLarge)
                .with("ProposedSize", len.to_string())
                .with("MaxSizeAllowed", UPLOAD_BYTES_MAX.to_string()));
        }
        let content_md5 = asked.header("content-md5")?.map(parse_content_md5).transpose()?;
        let announced = announced(asked)?;
        let algorithm = announced.as_ref().map(|(algorithm, _)| *algorithm).or(wanted);
        let mut pieces = ReceivedPieces::new(asked, body, len, self.settings.stall);
        let mut sink = if len <= inline_max {
            PayloadSink::Memory(BytesMut::with_capacity(len as usize))
        } else {
            let upload = self.partition_of(asked).begin_payload(len).await;
            PayloadSink::Large(upload.map_err(payload_error)?)
        };
        let signed_sha256 = match asked.verified.payload {
            PayloadHash::Sha256(wanted) => Some(wanted),
            _ => None,
        };
        let hashes = DigestSet::new(algorithm, signed_sha256.is_some());
        let mut digests =
            BodyDigests::new(hashes, matches!(sink, PayloadSink::Large(_)) && len > BESIDE_BYTES);
        let mut came = 0u64;
        while let Some(bytes) = pieces.next().await? {
            came += bytes.len() as u64;
            if came > len {
                return Err(ErrorCode::IncompleteBody.into());
            }
            digests.update(&bytes).await?;
            match &mut sink {
                PayloadSink::Memory(memory) => memory.extend_from_slice(&bytes),
                PayloadSink::Large(upload) => upload.write(bytes).await.map_err(payload_error)?,
            }
        }
        if came != len {
            return Err(ErrorCode::IncompleteBody.into());
        }
        let DigestSet { md5, checksum, sha256 } = digests.finish().await?;
        let sha256 = sha256.map(ChecksumHasher::finish);
        if sha256.as_deref() != signed_sha256.as_ref().map(|wanted| wanted.as_slice()) {
            return Err(ErrorCode::XAmzContentSha256Mismatch.into());
        }
        let md5 = md5.finish();
        if content_md5.is_some_and(|wanted| wanted != md5) {
            return Err(ErrorCode::BadDigest.into());
        }
        check_trailers(announced.as_ref(), &pieces.trailers)?;
        let checksum = checksum.map(|hasher| (hasher.algorithm(), stored_checksum(hasher)));
        if let Some((algorithm, computed)) = &checksum {
            verify(*algorithm, announced, &pieces.trailers, &computed.digest)?;
        }
        let is_kept = checksum.as_ref().is_some_and(|(algorithm, _)| algorithm.is_kept());
        let (checksum, passing) = match checksum {
            Some((algorithm, computed)) if !is_kept => {
                (None, Some((algorithm, computed.digest.to_vec())))
            }
            checksum => (checksum.map(|(_, computed)| computed), None),
        };
        let (payload, digest, held) = match sink {
            PayloadSink::Memory(memory) => {
                let digest = crc64(&memory);
                (RecordPayload::Inline(memory.freeze()), digest, None)
            }
            PayloadSink::Large(upload) => {
                let written = upload.finish().await.map_err(payload_error)?;
                (written.payload, written.digest, written.guard)
            }
        };
        Ok(ReceivedBody { size: len, md5, digest, checksum, passing, payload, held })
    }

    /// Takes a small body whole, an XML document say.
    pub async fn take_document(
        &self,
        asked: &S3Request,
        body: Incoming,
        max: usize,
    ) -> Result<Bytes, S3Error> {
        let too_large = || S3Error::from(ErrorCode::MalformedXml);
        let declared = asked.header("content-length")?.and_then(number::<u64>);
        if declared.is_some_and(|len| len > max as u64) {
            return Err(too_large());
        }
        let len = if asked.verified.payload.is_chunked() { declared_len(asked)? } else { 0 };
        let mut pieces = ReceivedPieces::new(asked, body, len, self.settings.stall);
        pieces.left = DOCUMENT_TIME;
        let mut all = BytesMut::new();
        while let Some(bytes) = pieces.next().await? {
            if all.len() + bytes.len() > max {
                return Err(too_large());
            }
            all.extend_from_slice(&bytes);
        }
        if let PayloadHash::Sha256(wanted) = asked.verified.payload {
            let mut hasher = ChecksumHasher::new(ChecksumAlgorithm::Sha256);
            hasher.update(&all);
            if hasher.finish() != wanted {
                return Err(ErrorCode::XAmzContentSha256Mismatch.into());
            }
        }
        if let Some(text) = asked.header("content-md5")? {
            let mut md5 = Md5Hasher::default();
            md5.update(&all);
            if parse_content_md5(text)? != md5.finish() {
                return Err(ErrorCode::BadDigest.into());
            }
        }
        let announced = announced(asked)?;
        check_trailers(announced.as_ref(), &pieces.trailers)?;
        if let Some((algorithm, _)) = announced {
            verify(algorithm, announced, &pieces.trailers, &algorithm.digest(&all))?;
        }
        Ok(all.freeze())
    }
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
fn verify(
    algorithm: ChecksumAlgorithm,
    announced: Option<AnnouncedChecksum>,
    trailers: &[(String, String)],
    computed: &[u8],
) -> Result<(), S3Error> {
    let Some((_, in_header)) = announced else { return Ok(()) };
    let wanted = match in_header {
        Some(wanted) => wanted,
        None => {
            let trailer = trailers.iter().find(|(name, _)| name == algorithm.header());
            let (_, text) = trailer.ok_or_else(|| {
                ErrorCode::MalformedTrailer.because("The announced checksum trailer did not come.")
            })?;
            algorithm.parse(text)?
        }
    };
    if wanted != computed {
        let name = algorithm.name();
        return Err(ErrorCode::BadDigest
            .because(format!("The {name} you specified did not match the calculated checksum.")));
    }
    Ok(())
}

/// CRC-64/NVME.
pub fn crc64(bytes: &[u8]) -> u64 {
    let mut hasher = ChecksumHasher::new(ChecksumAlgorithm::Crc64Nvme);
    hasher.update(bytes);
    hasher.finish().iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What payload that could not be written means to a client.
pub fn payload_error(error: PayloadError) -> S3Error {
    match error {
        PayloadError::Bulk(error @ BulkError::Full { .. }) => {
            ErrorCode::SlowDown.because(error.to_string())
        }
        PayloadError::Append(error @ AppendError::Full { .. }) => {
            ErrorCode::SlowDown.because(error.to_string())
        }
        PayloadError::Bulk(BulkError::WrongLength { .. }) => ErrorCode::IncompleteBody.into(),
        error => {
            tracing::error!(%error, "payload could not be written");
            ErrorCode::ServiceUnavailable.because(error.to_string())
        }
    }
}
