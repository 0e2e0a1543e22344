//! Large payload of a write: stored in this machine's bulk files, or sent through the log to the bulk files
//! of every node.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use ingest::bulk::{BulkError, PayloadUpload, SpacePromise, UploadGuard};
use ingest::env::{Fut, timeout};
use ingest::ids::{Epoch, Sequence, StreamId, WriterId};
use ingest::log::AppendError;
use ingest::mutant::Mutant;
use ingest::place::Place;
use ingest::record::{Record, RecordBody, RecordId, RecordPayload, StreamPiece, StreamRef};

use super::context::PartitionContext;
use super::nodes::NodeRegistry;
use super::options::PayloadRoute;
use super::record_clock::RecordClock;
use crate::outcome::RecordOutcome;

/// The error of writing payload. No record refers to it, and its space is released.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// A bulk file could not be written, the device has no room, or the payload had another length than
    /// announced.
    #[error(transparent)]
    Bulk(#[from] BulkError),
    /// The log refused a piece, or did not acknowledge it in time.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Payload that is durable and that no record names yet.
pub struct WrittenPayload {
    /// The reference that a record must contain.
    pub payload: RecordPayload,
    /// CRC-64/NVME of the payload.
    pub digest: u64,
    /// The guard that protects the payload until the record's outcome is known.
    pub guard: Option<PayloadGuard>,
}

/// Protects payload that no record names yet. Dropping it means that the outcome is unknown: bulk files
/// stay while a record may name them, and a stream is abandoned in the log.
pub struct PayloadGuard {
    bulk: Option<UploadGuard>,
    stream: Option<UnnamedStream>,
}

impl PayloadGuard {
    /// Ends the protection because a record that names the payload has been applied.
    pub fn named(mut self) {
        self.stream = self.stream.take().and_then(UnnamedStream::end);
    }

    /// Releases the payload's space. Must be called only if no record names the payload, now or later.
    pub fn refused(mut self) {
        if let Some(bulk) = self.bulk.take() {
            bulk.give_back();
        }
    }

    /// Ends the protection according to the outcome: a rejection releases the space, any other outcome
    /// keeps the payload. An error has an unknown outcome, and drops the guard.
    pub fn settle<E>(self, outcome: &Result<RecordOutcome, E>) {
        match outcome {
            Ok(RecordOutcome::Rejected(_)) => self.refused(),
            Ok(_) => self.named(),
            Err(_) => drop(self),
        }
    }
}

/// A stream with pieces in the log that no applied record is known to name. Dropping it appends an ABANDON
/// record, after which all nodes release the stream's space at once. A record that names the stream all the
/// same is either before that record in the log, or is rejected by all nodes alike.
struct UnnamedStream {
    context: Arc<PartitionContext>,
    id: StreamId,
    is_over: bool,
}

impl UnnamedStream {
    /// Ends the value without an ABANDON record.
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
                context.log.append(permit, record.into()).await
            };
            match timeout(context.env.clock.as_ref(), limit, append).await {
                Some(Ok(())) => {}
                // Without the record, a cut gives the stream up after a long silence.
                Some(Err(error)) => tracing::warn!(%error, "an abandoned stream stays for now"),
                None => tracing::warn!("an abandoned stream stays for now: the log is behind"),
            }
        });
        self.context.env.rt.spawn("abandon", told).detach();
    }
}

/// Writes payload of an announced length, which the end may make shorter. Dropping it before the end releases the space.
pub enum PayloadWriter {
    /// Payload for bulk files on this machine.
    Bulk(Box<PayloadUpload>),
    /// Payload for the log.
    Log(Box<StreamWriter>),
}

impl PayloadWriter {
    pub(super) async fn begin(
        clock: &Arc<RecordClock>,
        nodes: &NodeRegistry,
        place: Place,
        len: u64,
    ) -> Result<Self, PayloadError> {
        let context = clock.context();
        Ok(match context.options.payload {
            PayloadRoute::Bulk => Self::Bulk(Box::new(context.bulk.begin(place, len).await?)),
            // Pieces in the log do not tell a place, so all nodes store them in the hot one.
            PayloadRoute::Log { piece_bytes } => {
                // Every node has to store the payload, so the node with the least room decides.
                let elsewhere = nodes.least_room(context.env.clock.now());
                let promise = context.bulk.promise(Place::Hot, len, elsewhere).await?;
                Self::Log(Box::new(StreamWriter::new(clock.clone(), len, piece_bytes, promise)))
            }
        })
    }

    /// Begins payload of at most `len_max` bytes, whose length only its end tells.
    pub(super) async fn begin_unannounced(
        clock: &Arc<RecordClock>,
        nodes: &NodeRegistry,
        place: Place,
        len_max: u64,
    ) -> Result<Self, PayloadError> {
        let context = clock.context();
        match context.options.payload {
            PayloadRoute::Bulk => {
                Ok(Self::Bulk(Box::new(context.bulk.begin_unannounced(place, len_max).await?)))
            }
            // The records of a stream have one bound from the first to the last but one.
            PayloadRoute::Log { .. } => Self::begin(clock, nodes, place, len_max).await,
        }
    }

    /// Writes the next bytes, in the order of the payload. Waits while device or log lag behind. Fails if
    /// more bytes come than were announced, or a write fails; after an error, or a dropped future, the
    /// writer must be discarded.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), PayloadError> {
        match self {
            Self::Bulk(upload) => Ok(upload.write(bytes).await?),
            Self::Log(stream) => stream.write(&bytes).await,
        }
    }

    /// Makes the bytes written so far the whole payload, and releases the rest of the announced space. No byte may
    /// follow. Fails as [`Self::write`] does, and the writer must be discarded then.
    pub async fn shorten(&mut self) -> Result<(), PayloadError> {
        match self {
            Self::Bulk(upload) => Ok(upload.shorten().await?),
            Self::Log(stream) => {
                stream.total = stream.given;
                Ok(())
            }
        }
    }

    /// Ends the payload and makes all of it durable, on this device or in the log; must be called before
    /// the record that names it is submitted. Fails if fewer bytes came than were announced, or a sync or
    /// append fails.
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

/// The largest number of pieces whose append has not ended.
const PIECES_SENT: usize = 4;

/// Sends payload through the log in pieces, in order.
pub struct StreamWriter {
    context: Arc<PartitionContext>,
    clock: Arc<RecordClock>,
    stream: StreamId,
    /// Set from the first sent piece on.
    open: Option<UnnamedStream>,
    /// The space on this node that the payload will need.
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
            // A full piece waits for the byte behind it: the last piece says how long the stream is, and
            // only the end of the payload tells that a piece is the last.
            if self.piece.len() == self.piece_bytes {
                self.send().await?;
            }
            let taken = bytes.len().min(self.piece_bytes - self.piece.len());
            self.piece.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Sends the collected piece, once few enough pieces wait for their append.
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
        // Pieces are distinguished by stream and index, so they need no number.
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
        self.sent.push_back(self.context.log.append(permit, record.into()));
        Ok(())
    }

    /// Waits for the append of the oldest piece. A piece with an unknown outcome fails the whole payload:
    /// the client must send it again, as another stream.
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
        // The record that names the stream is submitted only after all pieces were acknowledged, so it
        // follows them in the log.
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
