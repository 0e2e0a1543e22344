//! Large payload on its way in: to this machine's bulk files, or through the log to every node's.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use ingest::bulk::{BulkError, Upload, WriteGuard};
use ingest::env::{Fut, timeout};
use ingest::log::AppendError;
use ingest::record::{Body, Data, Record, RecordId, RecordPayload, StreamRef};
use ingest::words::{Epoch, Sequence, StreamId, WriterId};

use super::Shared;

/// Where large payload goes before the record that names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PayloadWay {
    /// To bulk files, made durable here: where this machine's disk is what makes writes durable.
    Bulk,
    /// Into the log, in pieces of so many bytes (whole frames of a bulk file).
    Log {
        /// Bytes of a piece.
        piece_bytes: usize,
    },
}

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
pub struct Written {
    /// How a record names it.
    pub payload: RecordPayload,
    /// CRC-64/NVME.
    pub digest: u64,
    /// Keeps bulk files until the record's outcome is known.
    pub guard: Option<WriteGuard>,
}

/// Takes payload of a known length. Dropping it abandons what was written.
pub enum PayloadWriter {
    /// To bulk files.
    Bulk(Box<Upload>),
    /// Into the log.
    Log(Box<StreamWriter>),
}

impl PayloadWriter {
    pub(super) async fn begin(shared: &Arc<Shared>, len: u64) -> Result<Self, PayloadError> {
        Ok(match shared.options.payload {
            PayloadWay::Bulk => Self::Bulk(Box::new(shared.bulk.begin(len).await?)),
            PayloadWay::Log { piece_bytes } => {
                Self::Log(Box::new(StreamWriter::new(shared.clone(), len, piece_bytes)))
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
    pub async fn finish(self) -> Result<Written, PayloadError> {
        match self {
            Self::Bulk(upload) => {
                let written = upload.finish().await?;
                Ok(Written {
                    payload: RecordPayload::Bulk(written.extents),
                    digest: written.digest,
                    guard: Some(written.guard),
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
    shared: Arc<Shared>,
    stream: StreamId,
    total: u64,
    piece_bytes: usize,
    given: u64,
    next: u32,
    piece: BytesMut,
    digest: Digest,
    sent: VecDeque<Fut<'static, Result<(), AppendError>>>,
}

impl StreamWriter {
    fn new(shared: Arc<Shared>, total: u64, piece_bytes: usize) -> Self {
        Self {
            stream: StreamId(shared.env.random_id()),
            shared,
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
        let shared = &self.shared;
        let data = Data {
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
        let time = shared.time_for_a_record();
        let record = Record { time, ..Record::of_the_store(id, Body::Data(data)) };
        let admitted = shared.log.admit(shared.id, record.bytes_estimate());
        let limit = shared.options.write_wait;
        let permit = timeout(shared.env.clock.as_ref(), limit, admitted).await;
        let permit = permit.ok_or_else(|| AppendError::Full {
            partition: shared.id,
            detail: "the log is behind; try again later".into(),
        })??;
        self.sent.push_back(shared.log.append(permit, record));
        Ok(())
    }

    /// Waits for the oldest piece on its way. A piece whose outcome is unknown fails the whole: the client
    /// sends it again as another stream.
    async fn settle_one(&mut self) -> Result<(), PayloadError> {
        let Some(sent) = self.sent.pop_front() else { return Ok(()) };
        let (clock, limit) = (self.shared.env.clock.clone(), self.shared.options.write_wait);
        let ended = timeout(clock.as_ref(), limit, sent).await;
        Ok(ended.unwrap_or_else(|| {
            Err(AppendError::Unknown {
                partition: self.shared.id,
                reason: "a piece of the payload was not acknowledged in time".into(),
            })
        })?)
    }

    async fn finish(mut self) -> Result<Written, PayloadError> {
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
        Ok(Written {
            payload: RecordPayload::Stream(stream),
            digest: self.digest.finalize(),
            guard: None,
        })
    }

    fn wrong_length(&self) -> BulkError {
        BulkError::WrongLength { announced: self.total, given: self.given }
    }
}
