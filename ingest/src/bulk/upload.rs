//! One upload: takes bytes, writes frames, and makes them durable at the end.

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
use crate::place::Place;

/// Payload on its way into bulk files, of a known length or of one that only its end tells.
///
/// Dropping it abandons the upload and returns its space. At most 512 KiB are held in memory; beyond
/// that [`PayloadUpload::write`] waits for the device.
pub struct PayloadUpload {
    bulk: Arc<BulkFiles>,
    place: Place,
    /// The pieces that have begun, in order. The last one is being filled while `filler` is set; all
    /// others are full.
    pieces: Vec<UploadPiece>,
    filler: Option<ExtentWriter>,
    /// The bytes that are announced so far.
    len: u64,
    /// The bytes that may be announced in all. More than `len` where only the end tells the length: then the announcement
    /// grows as bytes come, and `len` is a number of whole frames.
    len_max: u64,
    given: u64,
    /// The announced bytes that have no blocks yet. None for an upload that was admitted elsewhere.
    promise: Option<SpacePromise>,
    digest: Digest,
    /// The write under way; at most one.
    writing: Option<PendingWrite>,
    /// The last sync that was requested before the end.
    syncing: Option<(Arc<BulkFile>, SyncRequest)>,
    /// Bytes written since that sync was requested.
    unsynced: u64,
    /// True after an operation failed or was dropped before its end: bytes may be missing.
    is_broken: bool,
    /// The part that is returned when the upload is dropped.
    abandoned: ReclaimScope,
}

/// A write under way, with the file that fails with it.
pub struct PendingWrite {
    file: Arc<BulkFile>,
    pub ended: Fut<'static, Result<(), DiskError>>,
}

/// Payload that is written completely and that no record names yet.
#[derive(Debug)]
pub struct UploadedPayload {
    /// The places of the payload, in order.
    pub extents: Arc<[Extent]>,
    /// CRC-64/NVME of the payload.
    pub digest: u64,
    /// Keeps the files from garbage collection. Drop it only when the record's outcome is known: after
    /// the view refers to the extents, or when nothing ever will.
    pub guard: UploadGuard,
}

/// Keeps files in flight; see [`UploadedPayload::guard`]. Dropping it makes the files collectable.
pub struct UploadGuard {
    in_flight: Vec<InFlightGuard>,
    /// The extents that were written by this upload. Empty for a guard of [`BulkFiles::prolong`].
    written: Vec<(Arc<BulkFile>, Extent)>,
}

impl UploadGuard {
    /// A guard that holds files and cannot return space.
    pub(super) fn new(in_flight: Vec<InFlightGuard>) -> Self {
        Self { in_flight, written: Vec::new() }
    }

    /// Holds the files until the process ends. For a record whose outcome is unknown: only the next
    /// start learns from the log if a record names them, so they must not be collected before.
    pub fn keep(self) {
        std::mem::forget(self.in_flight);
    }

    /// Returns the payload's space, in a task that logs its errors. Only for payload that no record
    /// names and none ever will: the write was refused, and is known to have been.
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
    /// An upload to a place with its first piece, or without any, for one that reserves space with its first
    /// bytes. `len` bytes are announced, and may become `len_max`. Does no I/O.
    pub(super) fn new(
        bulk: Arc<BulkFiles>,
        place: Place,
        len: u64,
        len_max: u64,
        promise: Option<SpacePromise>,
        first: Option<UploadPiece>,
    ) -> Self {
        let mut upload = Self {
            bulk,
            place,
            pieces: Vec::new(),
            filler: None,
            len,
            len_max,
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

    /// Begins to fill the last piece.
    fn fill_last(&mut self) {
        let piece = self.pieces.last();
        self.filler = piece.map(|piece| ExtentWriter::new(piece.file.identity, piece.extent));
    }

    /// Begins the next piece, unless those there are have room for the whole payload.
    async fn begin_piece(&mut self) -> Result<(), BulkError> {
        let placed: u64 = self.pieces.iter().map(|piece| piece.extent.len).sum();
        self.filler = None;
        if placed >= self.len && self.len < self.len_max {
            self.announce_more().await?;
        }
        if placed < self.len {
            let step = self.bulk.step(placed);
            let piece = self.bulk.reserve_next(self.place, self.len - placed, step).await?;
            self.took(piece.allocated - piece.extent.position);
            self.pieces.push(piece);
            self.fill_last();
        }
        Ok(())
    }

    /// Announces as many bytes again, up to the most that the upload may have. Fails with [`BulkError::Full`] when there
    /// is no room for them beside the announcements of others.
    async fn announce_more(&mut self) -> Result<(), BulkError> {
        let more = self.len.min(self.len_max - self.len);
        if self.promise.is_some() {
            self.promise = Some(self.bulk.promise(self.place, more, None).await?);
        }
        self.len += more;
        Ok(())
    }

    /// Moves bytes from the promise to those with blocks.
    fn took(&self, bytes: u64) {
        if let Some(promise) = &self.promise {
            promise.take(bytes);
        }
    }

    /// Limits the space that a later drop returns to the part that was never written. Called at a cut,
    /// whose state run names the written part.
    pub fn keep_written(&mut self) {
        self.abandoned = ReclaimScope::Unwritten;
    }

    /// Drops the upload and returns all of its space, even parts that a record names. The caller must
    /// know that no reader will follow those names.
    pub fn abandon(mut self) {
        self.abandoned = ReclaimScope::Whole;
    }

    /// Takes the next bytes, in order, and waits while the device is behind. The bytes are not durable
    /// before [`PayloadUpload::finish`] returns.
    ///
    /// Fails when more bytes come than were announced, when the device is full or fails. After an
    /// error, or when the future is dropped before its end, the upload cannot continue: every further
    /// call fails with [`BulkError::Broken`].
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), BulkError> {
        self.check()?;
        // Stays set when this fails or is dropped at an `.await` below: bytes would be missing.
        self.is_broken = true;
        self.given = self.given.saturating_add(bytes.len() as u64);
        if self.given > self.len_max {
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

    /// Makes the bytes taken so far the whole payload, and gives back the rest of what was announced. No byte may follow;
    /// [`PayloadUpload::finish`] makes the payload durable, as without this call.
    ///
    /// After an error, or when the future is dropped before its end, the upload cannot continue.
    pub async fn shorten(&mut self) -> Result<(), BulkError> {
        self.check()?;
        // Stays set when this fails or is dropped at an `.await` below.
        self.is_broken = true;
        if let (Some(mut filler), Some(piece)) = (self.filler.take(), self.pieces.last_mut()) {
            let end = piece.end();
            let rest = filler.shorten();
            // Before the last write, so that no more blocks are reserved than it needs.
            piece.extent = filler.extent();
            if let Some((position, rest)) = rest {
                self.submit(position, rest).await?;
            }
            if let Some(piece) = self.pieces.last_mut() {
                self.bulk.give_back_rest(piece, end);
            }
            // A piece without a byte has nothing left that would have to be given back.
            self.pieces.pop_if(|piece| piece.extent.len == 0);
        }
        self.len = self.given;
        self.len_max = self.given;
        self.promise = None;
        self.is_broken = false;
        Ok(())
    }

    /// Makes the payload and the names of its files durable, and returns its extents and digest. Only
    /// then may a record name the payload. Fails when fewer bytes came than were announced, or when a
    /// file has failed.
    ///
    /// After an error, or when the future is dropped, the upload is abandoned and its space returned.
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

    /// Waits until every whole frame taken so far has been written, and returns the extents of these
    /// frames, in order. Written is not durable: see [`BulkFiles::sync_written`]. An upload that comes
    /// in whole frames can be continued from there by a new one.
    ///
    /// After an error, or when the future is dropped, the upload cannot continue.
    pub async fn flush(&mut self) -> Result<Vec<Extent>, BulkError> {
        self.check()?;
        // Stays set when this fails or is dropped at an `.await` below.
        self.is_broken = true;
        if let Some((position, filled)) = self.filler.as_mut().and_then(ExtentWriter::flush) {
            self.submit(position, filled).await?;
        }
        self.settle().await?;
        self.is_broken = false;
        self.note_unsynced();
        let mut extents: Vec<Extent> = self.pieces.iter().map(|piece| piece.extent).collect();
        // Only the piece that is being filled may be incomplete; after the last byte there is no such
        // piece.
        if let (Some(filler), Some(last)) = (&self.filler, extents.last_mut()) {
            last.len = filler.frames_filled() * FRAME_PAYLOAD_MAX;
        }
        extents.retain(|extent| extent.len > 0);
        Ok(extents)
    }

    /// Ends the upload after all bytes are written, without waiting until they are durable: that takes
    /// a later [`BulkFiles::sync_written`]. Only for payload that can be fetched again until then, such
    /// as payload that came through a log. Fails when fewer bytes came than were announced, and the
    /// upload is abandoned then.
    pub async fn close(mut self) -> Result<UploadedPayload, BulkError> {
        self.check()?;
        if self.given != self.len {
            return Err(self.wrong_length());
        }
        self.settle().await?;
        self.note_unsynced();
        Ok(self.into_written())
    }

    /// Notes the files of all pieces for the next [`BulkFiles::sync_written`].
    fn note_unsynced(&self) {
        for piece in &self.pieces {
            piece.in_flight.bulk.note_unsynced(&piece.file);
        }
    }

    /// The result of a complete upload. Takes the pieces, so that the drop returns no space.
    fn into_written(mut self) -> UploadedPayload {
        // Taken, since the drop of an upload without pieces returns no space.
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

    /// Submits the write of a stretch, after the stretch before it has been written and its blocks are
    /// reserved. Returns while the write is under way, so that the next stretch can be filled
    /// meanwhile.
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
        // Another upload may have failed the file during the wait.
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
        // The first poll submits the write to the device.
        match futures::poll!(&mut ended) {
            Poll::Ready(written) => written.map_err(|error| give_up(&file, error))?,
            Poll::Pending => self.writing = Some(PendingWrite { file: file.clone(), ended }),
        }
        if self.unsynced >= self.bulk.options.sync_bytes {
            self.pace(file).await?;
        }
        Ok(())
    }

    /// Waits for the write under way, if any. A failed write marks its file as failed.
    async fn settle(&mut self) -> Result<(), BulkError> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let written = (&mut writing.ended).await.map_err(|error| give_up(&writing.file, error));
        self.writing = None;
        written
    }

    /// Requests a sync from time to time, so that the last one has little left to do and the log's
    /// syncs never wait behind a whole upload. Waits until the sync requested before has ended.
    async fn pace(&mut self, file: Arc<BulkFile>) -> Result<(), BulkError> {
        if let Some((file, request)) = self.syncing.take() {
            file.synced(request).await?;
        }
        self.unsynced = 0;
        let request = file.request_sync();
        self.syncing = Some((file, request));
        Ok(())
    }

    /// Fails when an earlier operation failed or was dropped before its end.
    fn check(&self) -> Result<(), BulkError> {
        if self.is_broken { Err(BulkError::Broken) } else { Ok(()) }
    }

    /// The error of an upload with another length than announced.
    fn wrong_length(&self) -> BulkError {
        BulkError::WrongLength { announced: self.len_max, given: self.given }
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

/// Marks a file as failed after a failed write, and returns the upload's error.
fn give_up(file: &BulkFile, error: DiskError) -> BulkError {
    file.fail(&error);
    BulkError::Failed { file: file.handle.path().to_string(), reason: error.to_string() }
}
