//! One upload: bytes in, frames out, durable at the end.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

use super::file::{BulkFile, SyncRequest};
use super::fill::Filler;
use super::format::FRAME_PAYLOAD_MAX;
use super::reserve::Piece;
use super::{BulkError, InFlight};
use crate::entry::Extent;
use crate::env::{DiskError, Fut};

/// Payload of a known length on its way into bulk files.
///
/// Dropping it abandons the upload: its space is garbage until the file is removed. At most half a
/// mebibyte is held in memory; [`Upload::write`] waits for the device beyond that.
pub struct Upload {
    pieces: Vec<Piece>,
    /// The piece that is being filled; as many as there are once all are full.
    piece: usize,
    filler: Option<Filler>,
    len: u64,
    given: u64,
    digest: Digest,
    /// The write that is under way, in which file.
    writing: Option<Writing>,
    /// The last sync asked for on the way.
    syncing: Option<(Arc<BulkFile>, SyncRequest)>,
    /// Bytes written since that sync was asked for.
    unsynced: u64,
    sync_bytes: u64,
    /// An operation failed or was dropped half way, so that bytes are missing.
    is_broken: bool,
}

struct Writing {
    file: Arc<BulkFile>,
    ended: Fut<'static, Result<(), DiskError>>,
}

/// Payload that is durable and that no record names yet.
#[derive(Debug)]
pub struct Written {
    /// Where it lies, in order.
    pub extents: Arc<[Extent]>,
    /// CRC-64/NVME of the payload.
    pub digest: u64,
    /// Keeps collection away from the files. Drop it when the record's outcome is known: when the view
    /// refers to the extents, or when nothing ever will.
    pub guard: WriteGuard,
}

/// Keeps files in flight; see [`Written::guard`].
#[derive(Debug)]
pub struct WriteGuard {
    in_flight: Vec<InFlight>,
}

impl WriteGuard {
    pub(super) fn new(in_flight: Vec<InFlight>) -> Self {
        Self { in_flight }
    }

    /// Holds the files until the process ends: whether a record names them is not known, and only the
    /// next start finds out.
    pub fn keep(self) {
        std::mem::forget(self.in_flight);
    }
}

impl Upload {
    pub(super) fn new(pieces: Vec<Piece>, len: u64, sync_bytes: u64) -> Self {
        let mut upload = Self {
            pieces,
            piece: 0,
            filler: None,
            len,
            given: 0,
            digest: Digest::new(CrcAlgorithm::Crc64Nvme),
            writing: None,
            syncing: None,
            unsynced: 0,
            sync_bytes,
            is_broken: false,
        };
        upload.begin_piece();
        upload
    }

    fn begin_piece(&mut self) {
        let piece = self.pieces.get(self.piece);
        self.filler = piece.map(|piece| Filler::new(piece.file.identity, piece.extent));
    }

    /// Takes the next bytes. Waits while the device is behind. When this fails, or is dropped before it
    /// ends, the upload cannot be finished any more.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), BulkError> {
        self.check()?;
        self.is_broken = true;
        self.given = self.given.saturating_add(bytes.len() as u64);
        if self.given > self.len {
            return Err(self.wrong_length());
        }
        self.digest.update(&bytes);
        while let Some(filler) = &mut self.filler {
            let stretch = filler.take(&mut bytes);
            let is_full = filler.is_full();
            if let Some((position, stretch)) = stretch {
                self.submit(position, stretch).await?;
            } else {
                break;
            }
            if is_full {
                self.piece += 1;
                self.begin_piece();
            }
        }
        self.is_broken = false;
        Ok(())
    }

    /// Makes everything durable: payload, and the names of its files. Fails when fewer bytes came than
    /// were announced.
    pub async fn finish(mut self) -> Result<Written, BulkError> {
        self.check()?;
        if self.given != self.len {
            return Err(self.wrong_length());
        }
        self.settle().await?;
        // A sync covers what was written before it began: all writes have ended here.
        let requests: Vec<SyncRequest> =
            self.pieces.iter().map(|piece| piece.file.request_sync()).collect();
        for (piece, request) in self.pieces.iter().zip(requests) {
            piece.file.synced(request).await?;
        }
        Ok(self.into_written())
    }

    /// Sees to it that every whole frame taken so far has been written (not synced), and says where they
    /// lie. An upload that comes in whole frames can be gone on with from there, in a new one.
    pub async fn flush(&mut self) -> Result<Vec<Extent>, BulkError> {
        self.check()?;
        self.is_broken = true;
        if let Some((position, filled)) = self.filler.as_mut().and_then(Filler::flush) {
            self.submit(position, filled).await?;
        }
        self.settle().await?;
        self.is_broken = false;
        self.note_unsynced();
        let mut extents: Vec<Extent> =
            self.pieces[..self.piece].iter().map(|piece| piece.extent).collect();
        if let (Some(filler), Some(piece)) = (&self.filler, self.pieces.get(self.piece)) {
            let len = filler.frames_filled() * FRAME_PAYLOAD_MAX;
            extents.extend((len > 0).then_some(Extent { len, ..piece.extent }));
        }
        Ok(extents)
    }

    /// Ends the upload without waiting until it is durable: for payload that can be had again as long as
    /// [`super::BulkFiles::sync_written`] has not been called.
    pub async fn close(mut self) -> Result<Written, BulkError> {
        self.check()?;
        if self.given != self.len {
            return Err(self.wrong_length());
        }
        self.settle().await?;
        self.note_unsynced();
        Ok(self.into_written())
    }

    fn note_unsynced(&self) {
        for piece in &self.pieces {
            piece.in_flight.bulk.note_unsynced(&piece.file);
        }
    }

    fn into_written(self) -> Written {
        Written {
            extents: self.pieces.iter().map(|piece| piece.extent).collect(),
            digest: self.digest.finalize(),
            guard: WriteGuard::new(self.pieces.into_iter().map(|piece| piece.in_flight).collect()),
        }
    }

    /// Writes a stretch while the next is being filled, once the stretch before it has been written.
    async fn submit(&mut self, position: u64, stretch: Bytes) -> Result<(), BulkError> {
        self.settle().await?;
        let file = self.pieces[self.piece].file.clone();
        if let Some(error) = file.failure() {
            return Err(error);
        }
        self.unsynced += stretch.len() as u64;
        let handle = file.handle.clone();
        let mut ended: Fut<'static, _> =
            Box::pin(async move { handle.write_at(position, stretch).await });
        // The first poll submits it.
        match futures::poll!(&mut ended) {
            Poll::Ready(written) => written.map_err(|error| give_up(&file, error))?,
            Poll::Pending => self.writing = Some(Writing { file: file.clone(), ended }),
        }
        if self.unsynced >= self.sync_bytes {
            self.pace(file).await?;
        }
        Ok(())
    }

    /// Waits for the write that is under way.
    async fn settle(&mut self) -> Result<(), BulkError> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let written = (&mut writing.ended).await.map_err(|error| give_up(&writing.file, error));
        self.writing = None;
        written
    }

    /// Asks for a sync now and then, so that the last one has little left to do and the log's syncs
    /// never wait behind a whole upload. Not before the one asked for last has ended.
    async fn pace(&mut self, file: Arc<BulkFile>) -> Result<(), BulkError> {
        if let Some((file, request)) = self.syncing.take() {
            file.synced(request).await?;
        }
        self.unsynced = 0;
        let request = file.request_sync();
        self.syncing = Some((file, request));
        Ok(())
    }

    fn check(&self) -> Result<(), BulkError> {
        if self.is_broken { Err(BulkError::Broken) } else { Ok(()) }
    }

    fn wrong_length(&self) -> BulkError {
        BulkError::WrongLength { announced: self.len, given: self.given }
    }
}

fn give_up(file: &BulkFile, error: DiskError) -> BulkError {
    file.fail(&error);
    BulkError::Failed { file: file.handle.path().to_string(), reason: error.to_string() }
}
