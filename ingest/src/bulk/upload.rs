//! One upload: bytes in, frames out, durable at the end.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

use super::file::{BulkFile, SyncRequest};
use super::fill::ExtentWriter;
use super::format::FRAME_PAYLOAD_MAX;
use super::give_back::ReclaimScope;
use super::reserve::{SpacePromise, UploadPiece};
use super::{BulkError, BulkFiles, InFlightGuard};
use crate::entry::Extent;
use crate::env::{DiskError, Fut};

/// Payload of a known length on its way into bulk files.
///
/// Dropping it abandons the upload and gives its space back. At most half a mebibyte is held in memory;
/// [`PayloadUpload::write`] waits for the device beyond that.
pub struct PayloadUpload {
    bulk: Arc<BulkFiles>,
    /// As far as they have begun. The last is being filled while there is a filler; the others are full.
    pieces: Vec<UploadPiece>,
    filler: Option<ExtentWriter>,
    len: u64,
    given: u64,
    /// The announced bytes that have no blocks yet; none where nobody was asked for room.
    promise: Option<SpacePromise>,
    digest: Digest,
    /// The write that is under way, in which file.
    writing: Option<PendingWrite>,
    /// The last sync asked for on the way.
    syncing: Option<(Arc<BulkFile>, SyncRequest)>,
    /// Bytes written since that sync was asked for.
    unsynced: u64,
    /// An operation failed or was dropped half way, so that bytes are missing.
    is_broken: bool,
    /// The part that is given back when it is abandoned.
    abandoned: ReclaimScope,
}

/// A write that is under way.
pub struct PendingWrite {
    file: Arc<BulkFile>,
    pub ended: Fut<'static, Result<(), DiskError>>,
}

/// Payload that is durable and that no record names yet.
#[derive(Debug)]
pub struct UploadedPayload {
    /// Where it lies, in order.
    pub extents: Arc<[Extent]>,
    /// CRC-64/NVME of the payload.
    pub digest: u64,
    /// Keeps collection away from the files. Drop it when the record's outcome is known: when the view
    /// refers to the extents, or when nothing ever will.
    pub guard: UploadGuard,
}

/// Keeps files in flight; see [`UploadedPayload::guard`].
pub struct UploadGuard {
    in_flight: Vec<InFlightGuard>,
    /// The extents that were written in them.
    written: Vec<(Arc<BulkFile>, Extent)>,
}

impl UploadGuard {
    pub(super) fn new(in_flight: Vec<InFlightGuard>) -> Self {
        Self { in_flight, written: Vec::new() }
    }

    /// Holds the files until the process ends: whether a record names them is not known, and only the
    /// next start finds out.
    pub fn keep(self) {
        std::mem::forget(self.in_flight);
    }

    /// Gives the payload back. For payload that no record names and none ever will: the write was
    /// refused, and is known to have been.
    pub fn give_back(self) {
        if let Some(in_flight) = self.in_flight.first() {
            in_flight.bulk.give_back_written(self.written);
        }
    }
}

impl fmt::Debug for UploadGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.in_flight.fmt(f)
    }
}

impl PayloadUpload {
    pub(super) fn new(
        bulk: Arc<BulkFiles>,
        len: u64,
        promise: Option<SpacePromise>,
        first: Option<UploadPiece>,
    ) -> Self {
        let mut upload = Self {
            bulk,
            pieces: Vec::new(),
            filler: None,
            len,
            given: 0,
            promise,
            digest: Digest::new(CrcAlgorithm::Crc64Nvme),
            writing: None,
            syncing: None,
            unsynced: 0,
            is_broken: false,
            abandoned: ReclaimScope::Whole,
        };
        upload.pieces.extend(first);
        upload.fill_last();
        upload
    }

    fn fill_last(&mut self) {
        let piece = self.pieces.last();
        self.filler = piece.map(|piece| ExtentWriter::new(piece.file.identity, piece.extent));
    }

    /// Begins the next piece, if the payload goes on beyond those there are.
    async fn begin_piece(&mut self) -> Result<(), BulkError> {
        let placed: u64 = self.pieces.iter().map(|piece| piece.extent.len).sum();
        self.filler = None;
        if placed < self.len {
            let step = self.bulk.step(placed);
            let piece = self.bulk.reserve_next(self.len - placed, step).await?;
            self.took(piece.allocated - piece.extent.position);
            self.pieces.push(piece);
            self.fill_last();
        }
        Ok(())
    }

    fn took(&self, bytes: u64) {
        if let Some(promise) = &self.promise {
            promise.take(bytes);
        }
    }

    /// Keeps what has been written when it is dropped, because something names it.
    pub fn keep_written(&mut self) {
        self.abandoned = ReclaimScope::Unwritten;
    }

    /// Gives everything back, whatever names it: nobody will go by that.
    pub fn abandon(mut self) {
        self.abandoned = ReclaimScope::Whole;
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
        if self.pieces.is_empty() {
            self.begin_piece().await?;
        }
        while let Some(filler) = &mut self.filler {
            let stretch = filler.take(&mut bytes);
            let is_full = filler.is_full();
            if let Some((position, stretch)) = stretch {
                self.submit(position, stretch).await?;
            } else {
                break;
            }
            if is_full {
                self.begin_piece().await?;
            }
        }
        self.is_broken = false;
        Ok(())
    }

    /// Makes everything durable: payload, and the names of its files. Fails when fewer bytes came than
    /// were announced.
    pub async fn finish(mut self) -> Result<UploadedPayload, BulkError> {
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
        if let Some((position, filled)) = self.filler.as_mut().and_then(ExtentWriter::flush) {
            self.submit(position, filled).await?;
        }
        self.settle().await?;
        self.is_broken = false;
        self.note_unsynced();
        let mut extents: Vec<Extent> = self.pieces.iter().map(|piece| piece.extent).collect();
        // Only the piece that is being filled is not whole; once all bytes have come there is none.
        if let (Some(filler), Some(last)) = (&self.filler, extents.last_mut()) {
            last.len = filler.frames_filled() * FRAME_PAYLOAD_MAX;
        }
        extents.retain(|extent| extent.len > 0);
        Ok(extents)
    }

    /// Ends the upload without waiting until it is durable: for payload that can be had again as long as
    /// [`super::BulkFiles::sync_written`] has not been called.
    pub async fn close(mut self) -> Result<UploadedPayload, BulkError> {
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

    fn into_written(mut self) -> UploadedPayload {
        // Without pieces nothing is given back.
        let pieces = std::mem::take(&mut self.pieces);
        let written = pieces.iter().map(|piece| (piece.file.clone(), piece.extent)).collect();
        UploadedPayload {
            extents: pieces.iter().map(|piece| piece.extent).collect(),
            digest: self.digest.finalize(),
            guard: UploadGuard {
                in_flight: pieces.into_iter().map(|piece| piece.in_flight).collect(),
                written,
            },
        }
    }

    /// Writes a stretch while the next is being filled, once the stretch before it has been written.
    async fn submit(&mut self, position: u64, stretch: Bytes) -> Result<(), BulkError> {
        let end = position + stretch.len() as u64;
        let step = self.bulk.step(self.given);
        let piece = self.pieces.last_mut().expect("a stretch is of the piece that is being filled");
        let file = piece.file.clone();
        if let Some(error) = file.failure() {
            return Err(error);
        }
        if end > piece.allocated {
            let before = piece.allocated;
            self.bulk.extend(piece, end, step).await?;
            let taken = piece.allocated - before;
            self.took(taken);
        }
        self.settle().await?;
        if let Some(error) = file.failure() {
            return Err(error);
        }
        if let Some(piece) = self.pieces.last_mut() {
            piece.written = end;
        }
        self.unsynced += stretch.len() as u64;
        let handle = file.handle.clone();
        let mut ended: Fut<'static, _> =
            Box::pin(async move { handle.write_at(position, stretch).await });
        // The first poll submits it.
        match futures::poll!(&mut ended) {
            Poll::Ready(written) => written.map_err(|error| give_up(&file, error))?,
            Poll::Pending => self.writing = Some(PendingWrite { file: file.clone(), ended }),
        }
        if self.unsynced >= self.bulk.options.sync_bytes {
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

impl Drop for PayloadUpload {
    fn drop(&mut self) {
        let pieces = std::mem::take(&mut self.pieces);
        if !pieces.is_empty() {
            self.bulk.give_back(pieces, self.writing.take(), self.abandoned);
        }
    }
}

fn give_up(file: &BulkFile, error: DiskError) -> BulkError {
    file.fail(&error);
    BulkError::Failed { file: file.handle.path().to_string(), reason: error.to_string() }
}
