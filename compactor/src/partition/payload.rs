//! Large payload on its way in: to this machine's bulk files, or through the log to every node's.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use ingest::bulk::{BulkError, PayloadUpload, SpacePromise, UploadGuard};
use ingest::env::{Fut, timeout};
use ingest::ids::{Epoch, Sequence, StreamId, WriterId};
use ingest::log::AppendError;
use ingest::mutant::Mutant;
use ingest::record::{Record, RecordBody, RecordId, RecordPayload, StreamPiece, StreamRef};

use super::context::PartitionContext;
use super::nodes::NodeRegistry;
use super::options::PayloadRoute;
use super::record_clock::RecordClock;
use crate::outcome::RecordOutcome;

/// Payload could not be written. Nothing refers to what was written of it.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// A bulk file could not be written, or other than the announced bytes came.
    #[error(transparent)]
    Bulk(#[from] BulkError),
    /// The log did not take a piece.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Payload that is durable and that no record names yet.
pub struct WrittenPayload {
    /// How a record names it.
    pub payload: RecordPayload,
    /// CRC-64/NVME.
    pub digest: u64,
    /// Keeps it until the record's outcome is known.
    pub guard: Option<PayloadGuard>,
}

/// Keeps payload that no record names yet. Dropping it leaves open whether one does or will.
pub struct PayloadGuard {
    bulk: Option<UploadGuard>,
    stream: Option<UnnamedStream>,
}

impl PayloadGuard {
    /// A record names the payload and has been applied.
    pub fn named(mut self) {
        self.stream = self.stream.take().and_then(UnnamedStream::end);
    }

    /// No record names the payload, and none ever will: gives its space back.
    pub fn refused(mut self) {
        if let Some(bulk) = self.bulk.take() {
            bulk.give_back();
        }
    }

    /// Ends it as an outcome says; an error leaves it open.
    pub fn settle<E>(self, outcome: &Result<RecordOutcome, E>) {
        match outcome {
            Ok(RecordOutcome::Rejected(_)) => self.refused(),
            Ok(_) => self.named(),
            Err(_) => drop(self),
        }
    }
}

/// A stream that the log has pieces of and that no record is known to name. Dropping it tells all nodes
/// that none will, so that they give its space back at once. Should one do so all the same, it has been
/// met before, or it is rejected on every node alike.
struct UnnamedStream {
    context: Arc<PartitionContext>,
    id: StreamId,
    is_over: bool,
}

impl UnnamedStream {
    fn end(mut self) -> Option<Self> {
        self.is_over = true;
        None
    }
}

impl Drop for UnnamedStream {
    fn drop(&mut self) {
        if self.is_over || self.context.env.mutated(Mutant::KeepAbandoned) {
            return;
        }
        let (context, stream) = (self.context.clone(), self.id);
        let told: Fut<'static, ()> = Box::pin(async move {
            let id = RecordId { writer: WriterId(stream.0), ..RecordId::default() };
            let body = RecordBody::Abandon { stream };
            let record = Record::of_the_store(id, body);
            let limit = context.options.write_wait;
            let append = async {
                let permit = context.log.admit(context.id, record.bytes_estimate()).await?;
                context.log.append(permit, record).await
            };
            match timeout(context.env.clock.as_ref(), limit, append).await {
                Some(Ok(())) => {}
                // A cut gives it up when it has been silent for long enough.
                Some(Err(error)) => tracing::warn!(%error, "an abandoned stream stays for now"),
                None => tracing::warn!("an abandoned stream stays for now: the log is behind"),
            }
        });
        self.context.env.rt.spawn("abandon", told).detach();
    }
}

/// Takes payload of a known length. Dropping it abandons what was written.
pub enum PayloadWriter {
    /// To bulk files.
    Bulk(Box<PayloadUpload>),
    /// Into the log.
    Log(Box<StreamWriter>),
}

impl PayloadWriter {
    pub(super) async fn begin(
        clock: &Arc<RecordClock>,
        nodes: &NodeRegistry,
        len: u64,
    ) -> Result<Self, PayloadError> {
        let context = clock.context();
        Ok(match context.options.payload {
            PayloadRoute::Bulk => Self::Bulk(Box::new(context.bulk.begin(len).await?)),
            PayloadRoute::Log { piece_bytes } => {
                // Every node has to take it, so the one with the least room decides.
                let elsewhere = nodes.least_room(context.env.clock.now());
                let promise = context.bulk.promise(len, elsewhere).await?;
                Self::Log(Box::new(StreamWriter::new(clock.clone(), len, piece_bytes, promise)))
            }
        })
    }

    /// Takes the next bytes. Waits while device or log are behind.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), PayloadError> {
        match self {
            Self::Bulk(upload) => Ok(upload.write(bytes).await?),
            Self::Log(stream) => stream.write(&bytes).await,
        }
    }

    /// Makes everything durable.
    pub async fn finish(self) -> Result<WrittenPayload, PayloadError> {
        match self {
            Self::Bulk(upload) => {
                let written = upload.finish().await?;
                Ok(WrittenPayload {
                    payload: RecordPayload::Bulk(written.extents),
                    digest: written.digest,
                    guard: Some(PayloadGuard { bulk: Some(written.guard), stream: None }),
                })
            }
            Self::Log(stream) => stream.finish().await,
        }
    }
}

/// So many pieces are on their way at a time.
const PIECES_SENT: usize = 4;

/// Sends payload in pieces.
pub struct StreamWriter {
    context: Arc<PartitionContext>,
    clock: Arc<RecordClock>,
    stream: StreamId,
    /// Once a piece has been sent.
    open: Option<UnnamedStream>,
    /// The space that this node will need for it.
    promise: SpacePromise,
    total: u64,
    piece_bytes: usize,
    given: u64,
    next: u32,
    piece: BytesMut,
    digest: Digest,
    sent: VecDeque<Fut<'static, Result<(), AppendError>>>,
}

impl StreamWriter {
    fn new(clock: Arc<RecordClock>, total: u64, piece_bytes: usize, promise: SpacePromise) -> Self {
        let context = clock.context().clone();
        Self {
            stream: StreamId(context.env.random_id()),
            open: None,
            promise,
            context,
            clock,
            total,
            piece_bytes,
            given: 0,
            next: 0,
            piece: BytesMut::new(),
            digest: Digest::new(CrcAlgorithm::Crc64Nvme),
            sent: VecDeque::new(),
        }
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), PayloadError> {
        self.given = self.given.saturating_add(bytes.len() as u64);
        if self.given > self.total {
            return Err(self.wrong_length().into());
        }
        self.digest.update(bytes);
        while !bytes.is_empty() {
            let taken = bytes.len().min(self.piece_bytes - self.piece.len());
            self.piece.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.piece.len() == self.piece_bytes {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Sends the piece that has been gathered, once not too many are on their way.
    async fn send(&mut self) -> Result<(), PayloadError> {
        while self.sent.len() >= PIECES_SENT {
            self.settle_one().await?;
        }
        let context = &self.context;
        let data = StreamPiece {
            stream: self.stream,
            index: self.next,
            total: self.total,
            bytes: self.piece.split().freeze(),
        };
        // Told apart by stream and place, so it needs no number.
        let id = RecordId {
            writer: WriterId(self.stream.0),
            epoch: Epoch::ZERO,
            sequence: Sequence::new(u64::from(self.next)),
        };
        self.next += 1;
        self.promise.take(data.bytes.len() as u64);
        let time = self.clock.stamp();
        let record = Record { time, ..Record::of_the_store(id, RecordBody::Data(data)) };
        let admitted = context.log.admit(context.id, record.bytes_estimate());
        let limit = context.options.write_wait;
        let permit = timeout(context.env.clock.as_ref(), limit, admitted).await;
        let permit = permit.ok_or_else(|| AppendError::Full {
            partition: context.id,
            detail: "the log is behind; try again later".into(),
        })??;
        if self.open.is_none() {
            let (context, id) = (self.context.clone(), self.stream);
            self.open = Some(UnnamedStream { context, id, is_over: false });
        }
        self.sent.push_back(self.context.log.append(permit, record));
        Ok(())
    }

    /// Waits for the oldest piece on its way. A piece whose outcome is unknown fails the whole: the client
    /// sends it again as another stream.
    async fn settle_one(&mut self) -> Result<(), PayloadError> {
        let Some(sent) = self.sent.pop_front() else { return Ok(()) };
        let (clock, limit) = (self.context.env.clock.clone(), self.context.options.write_wait);
        let ended = timeout(clock.as_ref(), limit, sent).await;
        Ok(ended.unwrap_or_else(|| {
            Err(AppendError::Unknown {
                partition: self.context.id,
                reason: "a piece of the payload was not acknowledged in time".into(),
            })
        })?)
    }

    async fn finish(mut self) -> Result<WrittenPayload, PayloadError> {
        if self.given != self.total {
            return Err(self.wrong_length().into());
        }
        if !self.piece.is_empty() {
            self.send().await?;
        }
        // The record that names the stream is appended after all of it was acknowledged.
        while !self.sent.is_empty() {
            self.settle_one().await?;
        }
        let stream = StreamRef { stream: self.stream, records: self.next };
        Ok(WrittenPayload {
            payload: RecordPayload::Stream(stream),
            digest: self.digest.finalize(),
            guard: Some(PayloadGuard { bulk: None, stream: self.open.take() }),
        })
    }

    fn wrong_length(&self) -> BulkError {
        BulkError::WrongLength { announced: self.total, given: self.given }
    }
}
