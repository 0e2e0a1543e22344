//! Space for an upload: a place in a file for all of it, and blocks of the device only for what comes.
//!
//! ```text
//!   place   ├──────────────────────────────────────────────────────┤  costs nothing
//!   blocks  ├─────────────────────────────┤                           a step ahead of what came
//!   written ├──────────────────┤
//! ```
//!
//! Steps double, so that an upload that stops early has taken little and a long one asks seldom. What was
//! announced beyond its steps is a [`SpacePromise`]: counted, so that a full device refuses an upload at its
//! beginning and does not fail it in the middle.

use std::sync::Arc;
use std::time::Duration;

use super::file::BulkFile;
use super::format::{self, BLOCK, BulkFileId};
use super::{BulkError, BulkFiles, CurrentFile, InFlightGuard};
use crate::entry::Extent;
use crate::env::{DiskError, DiskErrorKind, OpenMode};
use crate::ids::BulkId;
use crate::mutant::Mutant;
use crate::time::Tick;

/// The part of an upload that lies in one file.
pub struct UploadPiece {
    pub file: Arc<BulkFile>,
    /// Its place.
    pub extent: Extent,
    /// The end of the blocks that it has.
    pub allocated: u64,
    /// The end of the writes that were begun.
    pub written: u64,
    pub in_flight: InFlightGuard,
}

impl UploadPiece {
    /// The end of its place.
    pub fn end(&self) -> u64 {
        self.extent.position + format::span(self.extent.len)
    }
}

/// Time for which a promise counts whole, whatever comes.
const PROMISE_WHOLE: Duration = Duration::from_secs(10);
/// Later it counts for as much as would come within so long, at the rate so far.
const PROMISE_AHEAD: Duration = Duration::from_secs(600);

/// An upload's announcement.
pub struct Announcement {
    bytes: u64,
    /// How much of it has its blocks, or is on its way to them.
    taken: u64,
    begun: Tick,
}

impl Announcement {
    /// How much space it is expected to take yet. Whoever announces much and sends little keeps others out
    /// for a moment only.
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

/// Space that was announced and admitted; takes no blocks. Ends when it is dropped.
pub struct SpacePromise {
    bulk: Arc<BulkFiles>,
    number: u64,
}

impl SpacePromise {
    /// Says that so many more of its bytes are no promise any more.
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
    /// Admits payload of `len` bytes that goes to this device, here or through a log. `elsewhere` is what
    /// other devices that it goes to have room for, as far as that is known.
    pub async fn promise(
        self: &Arc<Self>,
        len: u64,
        elsewhere: Option<u64>,
    ) -> Result<SpacePromise, BulkError> {
        let _turn = self.turn.lock().await;
        self.promise_in_turn(len, elsewhere).await
    }

    /// The same for who has the turn already.
    async fn promise_in_turn(
        self: &Arc<Self>,
        len: u64,
        elsewhere: Option<u64>,
    ) -> Result<SpacePromise, BulkError> {
        let needed = self.bytes_needed(len);
        let free = self.env.disk.free_bytes().await?;
        let now = self.env.clock.now();
        let mut state = self.state.lock();
        let promised = state
            .announced
            .values()
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
        state.announced.insert(number, Announcement { bytes: needed, taken: 0, begun: now });
        Ok(SpacePromise { bulk: self.clone(), number })
    }

    /// Admits an upload and reserves its place and its first step.
    ///
    /// Dropping the future may leave an empty file behind, which is sealed and garbage.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        len: u64,
    ) -> Result<(SpacePromise, Option<UploadPiece>), BulkError> {
        // One at a time: space that one has seen free, another must not take.
        let _turn = self.turn.lock().await;
        let promise = self.promise_in_turn(len, None).await?;
        if len == 0 {
            return Ok((promise, None));
        }
        let piece = self.begin_piece(len, self.step(0)).await?;
        promise.take(piece.allocated - piece.extent.position);
        Ok((promise, Some(piece)))
    }

    /// Reserves a place for the next part of an upload, of `rest` bytes at most, and a first step.
    pub(super) async fn reserve_next(
        self: &Arc<Self>,
        rest: u64,
        step: u64,
    ) -> Result<UploadPiece, BulkError> {
        let _turn = self.turn.lock().await;
        let step = self.affordable(format::span(rest).min(step), BLOCK).await?;
        self.begin_piece(rest, step).await
    }

    /// Sees to it that a piece has its blocks up to `end`, and `step` bytes more if there is room.
    pub(super) async fn extend(
        &self,
        piece: &mut UploadPiece,
        end: u64,
        step: u64,
    ) -> Result<(), BulkError> {
        let _turn = self.turn.lock().await;
        let from = piece.allocated;
        let wanted = end.saturating_add(step).min(piece.end()) - from;
        let wanted = self.affordable(wanted, end - from).await?;
        self.allocate(piece, from + wanted).await
    }

    /// As much of `wanted` bytes as leaves the device its reserve; not less than `least`.
    async fn affordable(&self, wanted: u64, least: u64) -> Result<u64, BulkError> {
        let free = self.env.disk.free_bytes().await?;
        let room = free.saturating_sub(self.options.reserve_bytes);
        match [wanted, least].into_iter().find(|bytes| *bytes <= room) {
            Some(bytes) => Ok(bytes),
            None => Err(BulkError::Full { needed: least, free }),
        }
    }

    /// How far ahead of what came space is reserved, once so much has come.
    pub(super) fn step(&self, came: u64) -> u64 {
        let unit = self.options.sync_bytes;
        let (least, most) = ((unit / 2).max(BLOCK), unit.saturating_mul(16).max(BLOCK));
        came.clamp(least, most).next_multiple_of(BLOCK)
    }

    /// What an upload may take of the device, headers of new files included.
    fn bytes_needed(&self, len: u64) -> u64 {
        let files = len / format::part_capacity(self.file_end() - BLOCK) + 1;
        format::span(len).saturating_add(files.saturating_mul(2 * BLOCK))
    }

    /// Where a file ends at the latest, in whole blocks.
    fn file_end(&self) -> u64 {
        self.options.file_bytes_max / BLOCK * BLOCK
    }

    async fn begin_piece(self: &Arc<Self>, rest: u64, step: u64) -> Result<UploadPiece, BulkError> {
        let mut begun = None;
        let made = self.make_piece(rest, step, &mut begun).await;
        if let (Err(_), Some(id)) = (&made, begun) {
            self.remove_begun(id).await;
        }
        made
    }

    async fn make_piece(
        self: &Arc<Self>,
        rest: u64,
        step: u64,
        begun: &mut Option<BulkId>,
    ) -> Result<UploadPiece, BulkError> {
        let (file, position, in_flight) = match self.current_with_room(rest) {
            Some(found) => found,
            None => self.begin_file(begun).await.map_err(|error| self.no_room(error))?,
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

    /// Reserves blocks of the device up to `end`.
    async fn allocate(&self, piece: &mut UploadPiece, end: u64) -> Result<(), BulkError> {
        let end = if self.env.mutated(Mutant::ReserveWhole) { piece.end() } else { end };
        let allocated = piece.file.handle.allocate(piece.allocated..end).await;
        if let Err(error) = allocated {
            if error.kind != DiskErrorKind::NoSpace {
                piece.file.fail(&error);
            }
            return Err(self.no_room(error));
        }
        piece.allocated = end;
        Ok(())
    }

    fn no_room(&self, error: DiskError) -> BulkError {
        match error.kind {
            DiskErrorKind::NoSpace => BulkError::Full { needed: BLOCK, free: 0 },
            _ => BulkError::Disk(error),
        }
    }

    /// The file that takes reservations, if an upload of `len` bytes fits into what is left of it.
    fn current_with_room(
        self: &Arc<Self>,
        len: u64,
    ) -> Option<(Arc<BulkFile>, u64, InFlightGuard)> {
        let mut state = self.state.lock();
        let current = state.current.as_ref().filter(|current| current.is_open())?;
        let (file, end) = (current.file.clone(), current.end);
        if format::span(len) > self.file_end() - end {
            return None;
        }
        let in_flight = InFlightGuard::new(self, &mut state, file.identity.file);
        Some((file, end, in_flight))
    }

    /// Begins the next file, which takes reservations from now on; the one before it is sealed once its
    /// uploads have ended. Its name is durable when this returns.
    async fn begin_file(
        self: &Arc<Self>,
        begun: &mut Option<BulkId>,
    ) -> Result<(Arc<BulkFile>, u64, InFlightGuard), DiskError> {
        // In flight before it exists, so that collection never meets it half made.
        let (id, in_flight) = {
            let mut state = self.state.lock();
            let id = state.take_id();
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
        handle.write_at(0, identity.encode()).await?;
        if !self.env.mutated(Mutant::SkipBulkFolderSync) {
            self.env.disk.sync_folder(Some(&self.options.folder)).await?;
        }
        let file = Arc::new(BulkFile::new(&self.env, identity, handle));
        self.state.lock().current = Some(CurrentFile { file: file.clone(), end: BLOCK });
        Ok((file, BLOCK, in_flight))
    }

    /// Removes a file that a reservation began in vain. One that cannot be removed is garbage.
    async fn remove_begun(&self, id: BulkId) {
        self.state.lock().current.take_if(|current| current.file.identity.file == id);
        if let Err(error) = self.env.disk.remove(&self.options.path(id)).await
            && error.kind != DiskErrorKind::NotFound
        {
            tracing::warn!(%error, "a bulk file that was begun in vain stays as garbage");
        }
    }
}
