//! Space for an upload: a place in a file for all of it, and blocks of the device only for bytes that come.
//!
//! ```text
//!   place   ├──────────────────────────────────────────────────────┤  takes no blocks
//!   blocks  ├─────────────────────────────┤                           a step ahead of the bytes that came
//!   written ├──────────────────┤
//! ```
//!
//! Steps double, so that an upload that stops early has taken few blocks and a long one reserves
//! seldom. The announced bytes beyond an upload's blocks are a [`SpacePromise`]: they count as taken,
//! so that a full device refuses an upload at its beginning instead of failing it in the middle.

use std::sync::Arc;
use std::time::Duration;

use super::file::BulkFile;
use super::format::{self, BLOCK, BulkFileId};
use super::{BulkError, BulkFiles, CurrentFile, InFlightGuard};
use crate::entry::Extent;
use crate::env::{DiskError, DiskErrorKind, OpenMode};
use crate::ids::BulkId;
use crate::mutant::Mutant;
use crate::place::Place;
use crate::time::Tick;

/// The part of an upload that lies in one file. Keeps that file in flight.
pub struct UploadPiece {
    pub file: Arc<BulkFile>,
    /// The reserved place.
    pub extent: Extent,
    /// The end of the blocks that are reserved for the piece, as a position in the file.
    pub allocated: u64,
    /// The end of the writes that were begun, as a position in the file.
    pub written: u64,
    pub in_flight: InFlightGuard,
}

impl UploadPiece {
    /// The end of the place as a position in the file. The next piece in the file begins at or after
    /// it.
    pub fn end(&self) -> u64 {
        self.extent.position + format::span(self.extent.len)
    }
}

/// Time for which a promise counts in full, however fast its bytes come.
const PROMISE_WHOLE: Duration = Duration::from_secs(10);
/// Afterwards a promise counts for the bytes that would come within this time, at the rate so far.
const PROMISE_AHEAD: Duration = Duration::from_secs(600);

/// The announced length of an upload, and its progress.
pub struct Announcement {
    place: Place,
    bytes: u64,
    /// The part that has blocks, or is about to get them.
    taken: u64,
    begun: Tick,
}

impl Announcement {
    /// The space that the upload is expected to take still. Falls with time for an upload that sends
    /// little, so that a long announcement without bytes keeps others out only briefly.
    fn expected(&self, now: Tick) -> u64 {
        let rest = self.bytes.saturating_sub(self.taken);
        let age = now.since(self.begun);
        if age <= PROMISE_WHOLE {
            return rest;
        }
        let ahead = u128::from(self.taken) * PROMISE_AHEAD.as_nanos() / age.as_nanos();
        rest.min(u64::try_from(ahead).unwrap_or(u64::MAX))
    }
}

/// Space that was announced and admitted, and that has no blocks yet. Dropping it ends the
/// announcement.
pub struct SpacePromise {
    bulk: Arc<BulkFiles>,
    number: u64,
}

impl SpacePromise {
    /// Moves `bytes` of the promise to the bytes that have blocks. Never fails; more bytes than were
    /// promised count as all of them.
    pub fn take(&self, bytes: u64) {
        if let Some(announced) = self.bulk.state.lock().announced.get_mut(&self.number) {
            announced.taken = announced.taken.saturating_add(bytes);
        }
    }
}

impl Drop for SpacePromise {
    fn drop(&mut self) {
        self.bulk.state.lock().announced.remove(&self.number);
    }
}

impl BulkFiles {
    /// Admits payload of `len` bytes that will be written to a place of this machine, by an upload here or through a log.
    /// `elsewhere` is the known free space of other devices that the payload goes to. Takes no blocks.
    ///
    /// Waits for other reservations, first come, first served. Fails with [`BulkError::Full`] when this
    /// device, less its reserve and all promises, or one of the others has no room.
    pub async fn promise(
        self: &Arc<Self>,
        place: Place,
        len: u64,
        elsewhere: Option<u64>,
    ) -> Result<SpacePromise, BulkError> {
        let _turn = self.turn[place].lock().await;
        self.promise_in_turn(place, len, elsewhere).await
    }

    /// Admits payload, for a caller that holds the turn already.
    async fn promise_in_turn(
        self: &Arc<Self>,
        place: Place,
        len: u64,
        elsewhere: Option<u64>,
    ) -> Result<SpacePromise, BulkError> {
        let needed = self.bytes_needed(len);
        let free = self.env.disk.free_bytes(place).await?;
        let now = self.env.clock.now();
        let mut state = self.state.lock();
        let promised = state
            .announced
            .values()
            .filter(|announced| announced.place == place)
            .fold(0u64, |sum, announced| sum.saturating_add(announced.expected(now)));
        let wanted = needed.saturating_add(promised).saturating_add(self.options.reserve_bytes);
        if wanted > free {
            return Err(BulkError::Full { needed, free });
        }
        if let Some(free) = elsewhere.filter(|free| needed > *free) {
            return Err(BulkError::Full { needed, free });
        }
        let number = state.next_promise;
        state.next_promise += 1;
        state.announced.insert(number, Announcement { place, bytes: needed, taken: 0, begun: now });
        Ok(SpacePromise { bulk: self.clone(), number })
    }

    /// Admits an upload, and reserves its place and its first blocks. Fails with [`BulkError::Full`]
    /// before it takes anything.
    ///
    /// Dropping the future may leave an empty file behind, which is sealed and garbage.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        place: Place,
        len: u64,
    ) -> Result<(SpacePromise, Option<UploadPiece>), BulkError> {
        // One at a time: two reservations must not count the same free space.
        let _turn = self.turn[place].lock().await;
        let promise = self.promise_in_turn(place, len, None).await?;
        if len == 0 {
            return Ok((promise, None));
        }
        let piece = self.begin_piece(place, len, self.step(0)).await?;
        promise.take(piece.allocated - piece.extent.position);
        Ok((promise, Some(piece)))
    }

    /// Reserves the place of an upload's next piece, of at most `rest` bytes, and its first blocks.
    /// Called when the piece before is full. Fails with [`BulkError::Full`] when not even one block is
    /// free above the reserve.
    pub(super) async fn reserve_next(
        self: &Arc<Self>,
        place: Place,
        rest: u64,
        step: u64,
    ) -> Result<UploadPiece, BulkError> {
        let _turn = self.turn[place].lock().await;
        let step = self.affordable(place, format::span(rest).min(step), BLOCK).await?;
        self.begin_piece(place, rest, step).await
    }

    /// Ensures that a piece has blocks up to `end`, and takes up to `step` bytes more if there is room.
    /// Must succeed before the bytes are written. Fails with [`BulkError::Full`] when the bytes up to
    /// `end` do not fit.
    pub(super) async fn extend(
        &self,
        piece: &mut UploadPiece,
        end: u64,
        step: u64,
    ) -> Result<(), BulkError> {
        let place = piece.extent.file.place();
        let _turn = self.turn[place].lock().await;
        let from = piece.allocated;
        let wanted = end.saturating_add(step).min(piece.end()) - from;
        let wanted = self.affordable(place, wanted, end - from).await?;
        self.allocate(piece, from + wanted).await
    }

    /// Returns `wanted`, or `least` when `wanted` would not leave the device its reserve. Fails when
    /// `least` would not.
    async fn affordable(&self, place: Place, wanted: u64, least: u64) -> Result<u64, BulkError> {
        let free = self.env.disk.free_bytes(place).await?;
        let room = free.saturating_sub(self.options.reserve_bytes);
        match [wanted, least].into_iter().find(|bytes| *bytes <= room) {
            Some(bytes) => Ok(bytes),
            None => Err(BulkError::Full { needed: least, free }),
        }
    }

    /// Bytes for which blocks are reserved ahead, after `came` bytes have come: as many again, within
    /// bounds that follow from the options, in whole blocks. Never less than one block.
    pub(super) fn step(&self, came: u64) -> u64 {
        let unit = self.options.sync_bytes;
        let (least, most) = ((unit / 2).max(BLOCK), unit.saturating_mul(16).max(BLOCK));
        came.clamp(least, most).next_multiple_of(BLOCK)
    }

    /// The bytes that are announced first for an upload of unknown length: a number of whole frames, at least one.
    pub(super) fn first_announcement(&self) -> u64 {
        let frames = 2 * self.options.sync_bytes / format::FRAME_PAYLOAD_MAX;
        frames.max(1) * format::FRAME_PAYLOAD_MAX
    }

    /// The bytes of payload that one file holds.
    pub(super) fn file_capacity(&self) -> u64 {
        format::part_capacity(self.file_end() - BLOCK)
    }

    /// The most bytes of the device that an upload may take, headers of new files included.
    fn bytes_needed(&self, len: u64) -> u64 {
        let files = len / self.file_capacity() + 1;
        format::span(len).saturating_add(files.saturating_mul(2 * BLOCK))
    }

    /// The end of the longest file, in whole blocks.
    fn file_end(&self) -> u64 {
        self.options.file_bytes_max / BLOCK * BLOCK
    }

    /// Reserves a piece, and removes the file that a failed attempt has made.
    async fn begin_piece(
        self: &Arc<Self>,
        place: Place,
        rest: u64,
        step: u64,
    ) -> Result<UploadPiece, BulkError> {
        let mut begun = None;
        let made = self.make_piece(place, rest, step, &mut begun).await;
        if let (Err(_), Some(id)) = (&made, begun) {
            self.remove_begun(id).await;
        }
        made
    }

    /// Reserves a piece in the current file, or in a new one when the rest does not fit. Sets `begun`
    /// as soon as a new file exists.
    async fn make_piece(
        self: &Arc<Self>,
        place: Place,
        rest: u64,
        step: u64,
        begun: &mut Option<BulkId>,
    ) -> Result<UploadPiece, BulkError> {
        let (file, position, in_flight) = match self.current_with_room(place, rest) {
            Some(found) => found,
            None => self.begin_file(place, begun).await.map_err(|error| self.no_room(error))?,
        };
        let room = self.file_end() - position;
        let fits = rest <= format::capacity(room);
        let len = if fits { rest } else { format::part_capacity(room) };
        let extent = Extent { file: file.identity.file, position, len };
        let mut piece =
            UploadPiece { file, extent, allocated: position, written: position, in_flight };
        let end = position.saturating_add(step).min(piece.end());
        self.allocate(&mut piece, end).await?;
        self.state.lock().advance(extent.file, piece.end());
        Ok(piece)
    }

    /// Reserves blocks of the device up to `end`. Any error but a full device marks the file as failed.
    async fn allocate(&self, piece: &mut UploadPiece, end: u64) -> Result<(), BulkError> {
        let end = if self.env.mutated(Mutant::ReserveWhole) { piece.end() } else { end };
        let allocated = piece.file.handle.allocate(piece.allocated..end).await;
        if let Err(error) = allocated {
            // A full device is no defect of the file, which may be used again once space is free.
            if error.kind != DiskErrorKind::NoSpace {
                piece.file.fail(&error);
            }
            return Err(self.no_room(error));
        }
        piece.allocated = end;
        Ok(())
    }

    /// The error of a reservation: a full device, or a disk that failed.
    fn no_room(&self, error: DiskError) -> BulkError {
        match error.kind {
            DiskErrorKind::NoSpace => BulkError::Full { needed: BLOCK, free: 0 },
            _ => BulkError::Disk(error),
        }
    }

    /// The file of a place that takes reservations, with its end, if an upload of `len` bytes fits into the rest
    /// of it.
    fn current_with_room(
        self: &Arc<Self>,
        place: Place,
        len: u64,
    ) -> Option<(Arc<BulkFile>, u64, InFlightGuard)> {
        let mut state = self.state.lock();
        let current = state.current[place].as_ref().filter(|current| current.is_open())?;
        let (file, end) = (current.file.clone(), current.end);
        if format::span(len) > self.file_end() - end {
            return None;
        }
        let in_flight = InFlightGuard::new(self, &mut state, file.identity.file);
        Some((file, end, in_flight))
    }

    /// Begins the next file of a place, which takes reservations from now on. The file before is sealed once its
    /// uploads have ended. The new file's name is durable when this returns.
    async fn begin_file(
        self: &Arc<Self>,
        place: Place,
        begun: &mut Option<BulkId>,
    ) -> Result<(Arc<BulkFile>, u64, InFlightGuard), DiskError> {
        // In flight before it exists, so that garbage collection never finds it half made.
        let (id, in_flight) = {
            let mut state = self.state.lock();
            let id = state.take_id(place);
            (id, InFlightGuard::new(self, &mut state, id))
        };
        let identity = BulkFileId {
            store: self.options.store,
            partition: self.options.partition,
            file: id,
            nonce: self.env.random.next(),
        };
        let handle = self.env.disk.open(&self.options.path(id), OpenMode::Create).await?;
        *begun = Some(id);
        // Made durable by the first sync of payload, before which no record names the file.
        handle.write_at(0, identity.encode()).await?;
        if !self.env.mutated(Mutant::SkipBulkFolderSync) {
            self.env.disk.sync_folder(Some(&self.options.folder_of(place))).await?;
        }
        let file = Arc::new(BulkFile::new(&self.env, identity, handle));
        self.state.lock().current[place] = Some(CurrentFile { file: file.clone(), end: BLOCK });
        Ok((file, BLOCK, in_flight))
    }

    /// Removes a file that a failed reservation has made. A file that cannot be removed is garbage.
    async fn remove_begun(&self, id: BulkId) {
        self.state.lock().current[id.place()].take_if(|current| current.file.identity.file == id);
        if let Err(error) = self.env.disk.remove(&self.options.path(id)).await
            && error.kind != DiskErrorKind::NotFound
        {
            tracing::warn!(%error, "a bulk file of a failed reservation stays as garbage");
        }
    }
}
