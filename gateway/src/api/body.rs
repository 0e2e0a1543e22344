//! Payload on its way in: from a source through digests into a sink, and verified before the sink makes it durable.
//!
//! ```text
//!   source ──► digests ──► sink          request body (aws-chunked or plain), or a stored object
//!                │           │
//!                ▼           ▼
//!             verify ──► finish          memory, bulk file, or stream in the log
//! ```
//!
//! A body that is shorter or longer than declared, or that has another checksum or a broken chunk signature, is an error
//! before the sink is finished. Nothing refers to its bytes then.

mod digests;
mod expectation;
mod form;
mod receive;
mod sink;
mod source;
mod unannounced;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use compactor::partition::WrittenPayload;
use ingest::entry::{Extent, StoredChecksum};
use ingest::record::{RecordPayload, StreamRef};
use query::object::ObjectBody;
use s3::checksum::ChecksumAlgorithm;
use s3::error::{ErrorCode, S3Error};
use s3::names::number;
use s3::operation::body::UPLOAD_BYTES_MAX;

use super::context::S3Context;
use super::request::{RequestBody, S3Request};
use digests::{BodyDigests, DigestSet, FinishedDigests};
use expectation::{BodyExpectation, declared_len, is_of_unknown_length, too_large};
use receive::ReceivedPieces;
use sink::PayloadSink;
use source::PayloadSource;
use unannounced::UnannouncedPieces;

pub use expectation::{check_algorithm, in_headers};
pub use form::{FormBody, FormFile};
pub use sink::PayloadTarget;

/// A longer body that does not stay in memory is digested on another thread, beside its way to the disk.
const BESIDE_BYTES: u64 = 1 << 20;
/// A client that keeps up is still waited for no longer than this while it sends a document.
const DOCUMENT_TIME: Duration = Duration::from_secs(120);

/// Payload that was taken from a request's body and verified, or from a stored object.
pub struct TakenPayload {
    /// Length in bytes.
    pub size: u64,
    /// MD5.
    pub md5: [u8; 16],
    /// The checksum that the client sent or wanted.
    pub checksum: Option<StoredChecksum>,
    /// The bytes, durable unless they are small, and the guard that keeps them until a record's outcome is known.
    pub payload: WrittenPayload,
}

impl TakenPayload {
    /// The checksum that clients see: the one that was verified or wanted, and without such a one the CRC-64/NVME that
    /// every payload has.
    pub fn visible_checksum(&self) -> StoredChecksum {
        let given = self.checksum.clone();
        given.unwrap_or_else(|| StoredChecksum::of_digest(self.payload.digest))
    }

    /// The payload's extents in bulk files; none for payload in memory or in the log.
    pub fn extents(&self) -> Arc<[Extent]> {
        match &self.payload.payload {
            RecordPayload::Bulk(extents) => extents.clone(),
            RecordPayload::Inline(_) | RecordPayload::Stream(_) => Arc::new([]),
        }
    }

    /// The stream of the log that has the payload; `None` for payload in memory or in bulk files.
    pub fn stream(&self) -> Option<StreamRef> {
        match &self.payload.payload {
            RecordPayload::Stream(stream) => Some(*stream),
            RecordPayload::Inline(_) | RecordPayload::Bulk(_) => None,
        }
    }
}

/// Moves `len` bytes from a source through digests into a sink, in order. Fails with `IncompleteBody` when the source has
/// fewer bytes or more; the sink is not finished here, so an error leaves nothing that is referred to.
async fn pour(
    source: &mut impl PayloadSource,
    len: u64,
    digests: DigestSet,
    sink: &mut PayloadSink,
) -> Result<FinishedDigests, S3Error> {
    match pour_at_most(source, len, digests, sink).await? {
        (digests, came) if came == len => Ok(digests),
        _ => Err(ErrorCode::IncompleteBody.into()),
    }
}

/// Moves the bytes of a source, at most `len`, as [`pour`] does; returns their number as well.
async fn pour_at_most(
    source: &mut impl PayloadSource,
    len: u64,
    digests: DigestSet,
    sink: &mut PayloadSink,
) -> Result<(FinishedDigests, u64), S3Error> {
    let mut digests = BodyDigests::new(digests, sink.is_large() && len > BESIDE_BYTES);
    let mut came = 0u64;
    while let Some(bytes) = source.next().await? {
        came += bytes.len() as u64;
        if came > len {
            return Err(ErrorCode::IncompleteBody.into());
        }
        digests.update(&bytes).await?;
        sink.write(bytes).await?;
    }
    Ok((digests.finish().await?, came))
}

/// Takes a body that is stored. A body that does not stay in memory is written to its partition while it comes. `wanted` asks for a checksum where the client announces none.
///
/// On `Ok` the body has been verified and is durable unless it is in memory. Dropping the future abandons the bytes.
pub async fn take_payload(
    context: &S3Context,
    request: &S3Request,
    body: RequestBody,
    target: PayloadTarget,
    wanted: Option<ChecksumAlgorithm>,
) -> Result<TakenPayload, S3Error> {
    if is_of_unknown_length(request) {
        // On the heap: the future would be moved with every request.
        return Box::pin(take_unannounced(context, request, body, target, wanted)).await;
    }
    let len = declared_len(request)?;
    if len > UPLOAD_BYTES_MAX {
        return Err(too_large(len));
    }
    let expectation = BodyExpectation::of(request)?;
    let stall = context.options.stall;
    let mut source = ReceivedPieces::new(request, body, len, stall, Duration::MAX);
    let mut sink = PayloadSink::open(context, request, target, len).await?;
    let digests = pour(&mut source, len, expectation.digests(wanted), &mut sink).await?;
    expectation.verify(&digests, source.trailers())?;
    let payload = sink.finish().await?;
    Ok(taken(len, digests, payload))
}

/// Takes a body as [`take_payload`] does, of a length that only its end tells. Fails with `EntityTooLarge` as soon as
/// more than 5 GiB have come, and with `SlowDown` where the room of the device ends.
async fn take_unannounced(
    context: &S3Context,
    request: &S3Request,
    body: RequestBody,
    target: PayloadTarget,
    wanted: Option<ChecksumAlgorithm>,
) -> Result<TakenPayload, S3Error> {
    let expectation = BodyExpectation::of(request)?;
    let stall = context.options.stall;
    let pieces = ReceivedPieces::new(request, body, 0, stall, Duration::MAX);
    let mut source = UnannouncedPieces::new(pieces);
    let (sink, len) = match source.look_ahead(target.inline_max).await? {
        Some(len) => (PayloadSink::open(context, request, target, len).await?, len),
        None => {
            let sink =
                PayloadSink::open_unannounced(context, request, target.place, UPLOAD_BYTES_MAX)
                    .await?;
            (sink, UPLOAD_BYTES_MAX)
        }
    };
    take_at_most(source, len, &expectation, wanted, sink).await
}

/// Takes the file of a form, of a size that only its end tells. A file that does not stay in memory is written to its
/// partition while it comes, under a reservation of what the request may still have.
///
/// On `Ok` the whole form has come, the file has been verified and is durable unless it is in memory. Dropping the future
/// abandons the bytes.
pub async fn take_file(
    context: &S3Context,
    request: &S3Request,
    mut file: FormFile,
    target: PayloadTarget,
    wanted: Option<ChecksumAlgorithm>,
) -> Result<TakenPayload, S3Error> {
    let expectation = BodyExpectation::of(request)?;
    let len = match file.look_ahead(target.inline_max).await? {
        Some(len) => len,
        None => file.len_max(),
    };
    let sink = PayloadSink::open(context, request, target, len).await?;
    take_at_most(file, len, &expectation, wanted, sink).await
}

/// Takes all bytes of a source, at most `len`, into a sink that was opened for so many, and verifies them. They are durable
/// then unless they are in memory. Dropping the future abandons them.
async fn take_at_most(
    mut source: impl PayloadSource,
    len: u64,
    expectation: &BodyExpectation,
    wanted: Option<ChecksumAlgorithm>,
    mut sink: PayloadSink,
) -> Result<TakenPayload, S3Error> {
    let digests = expectation.digests(wanted);
    let (digests, came) = pour_at_most(&mut source, len, digests, &mut sink).await?;
    expectation.verify(&digests, &[])?;
    if came < len {
        sink.shorten().await?;
    }
    let payload = sink.finish().await?;
    Ok(taken(came, digests, payload))
}

/// The payload of a request with what is known of it.
fn taken(size: u64, digests: FinishedDigests, payload: WrittenPayload) -> TakenPayload {
    let checksum = digests.checksum.map(|(_, computed)| computed);
    TakenPayload { size, md5: digests.md5, checksum, payload }
}

/// Copies the `len` bytes of an open object to a target in the partition of the request's bucket. `wanted` asks for a checksum.
///
/// On `Ok` the bytes are durable unless they are in memory. Fails for a source that is damaged; dropping the future
/// abandons the copied bytes.
pub async fn copy_payload(
    context: &S3Context,
    request: &S3Request,
    source: &mut ObjectBody,
    len: u64,
    target: PayloadTarget,
    wanted: Option<ChecksumAlgorithm>,
) -> Result<TakenPayload, S3Error> {
    let mut sink = PayloadSink::open(context, request, target, len).await?;
    let digests = pour(source, len, DigestSet::new(wanted, false), &mut sink).await?;
    let payload = sink.finish().await?;
    Ok(taken(len, digests, payload))
}

/// Takes a small body whole, for example an XML document, and verifies it. Fails with `MalformedXml` beyond `max` bytes,
/// and with `RequestTimeout` when it does not come in time.
pub async fn take_document(
    context: &S3Context,
    request: &S3Request,
    body: RequestBody,
    max: usize,
) -> Result<Bytes, S3Error> {
    let (document, source) = collect(context, request, body, max).await?;
    verify(&BodyExpectation::of(request)?, &document, &source)?;
    Ok(document)
}

/// Takes the document of a completed upload, as [`take_document`] does. A checksum in the request's headers is the
/// object's and is not compared with the document.
pub async fn take_completion(
    context: &S3Context,
    request: &S3Request,
    body: RequestBody,
    max: usize,
) -> Result<Bytes, S3Error> {
    let (document, source) = collect(context, request, body, max).await?;
    verify(&BodyExpectation::of_completion(request)?, &document, &source)?;
    Ok(document)
}

/// Collects a body of at most `max` bytes. The source comes back with its trailers.
async fn collect(
    context: &S3Context,
    request: &S3Request,
    body: RequestBody,
    max: usize,
) -> Result<(Bytes, ReceivedPieces), S3Error> {
    let too_large = || S3Error::from(ErrorCode::MalformedXml);
    let declared = request.header("content-length")?.and_then(number::<u64>);
    if declared.is_some_and(|len| len > max as u64) {
        return Err(too_large());
    }
    let len = if request.verified.payload.is_chunked() { declared_len(request)? } else { 0 };
    let stall = context.options.stall;
    let mut source = ReceivedPieces::new(request, body, len, stall, DOCUMENT_TIME);
    let mut all = BytesMut::new();
    while let Some(bytes) = source.next().await? {
        if all.len() + bytes.len() > max {
            return Err(too_large());
        }
        all.extend_from_slice(&bytes);
    }
    Ok((all.freeze(), source))
}

fn verify(
    expectation: &BodyExpectation,
    document: &[u8],
    source: &ReceivedPieces,
) -> Result<(), S3Error> {
    let mut digests = expectation.digests(None);
    digests.update(document);
    expectation.verify(&digests.finish(), source.trailers())
}
