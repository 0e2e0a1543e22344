//! Bulk files: payload that is too large for a record. `docs/formats/bulk.md` specifies the bytes.
//!
//! ```text
//!   begin(len) ──► admitted, a place in a file reserved, folder entry durable
//!     write(..) ─► blocks of the device a step ahead, frames, synced every few MiB
//!     finish() ──► payload durable ──► extents, digest, guard
//!                                        │
//!   the caller: record appended ◄────────┘ ──► record applied ──► guard dropped
//! ```
//!
//! The order is always the same: folder entry, payload, record, acknowledgement. Hence a record that
//! can be read names payload that can be read, and payload without a record is garbage that no reader
//! sees.
//!
//! Invariants:
//! - A file is in the hot or in the cold place, as its id tells. Each place has files, reservations and free space of
//!   its own, so that a full or absent cold device keeps no other payload out.
//! - A file is written by one process only, and takes reservations until it is full or has failed;
//!   after that, and after a restart, it is *sealed*: only read, or removed as a whole.
//! - No byte of a file is written twice. Bytes that were never written read as zeros, so a lost write
//!   is detected, regardless of abandoned uploads around it.
//! - An upload that is abandoned, or whose write is refused, returns its space at once. Space that a killed
//!   process had reserved and not written is returned by the next process.
//! - Numbers of files rise and are never used again.
//! - One task owns the syncs of a file. A failed sync or write fails every upload in the file that is
//!   not durable yet, and no further byte is written to it.
//!
//! Left to others: the decision which files are still needed. Garbage collection lists
//! [`BulkFiles::collectable`] *first* and searches for references *then*: after that list was made, no new
//! reference to such a file can appear.

mod file;
mod fill;
mod format;
mod give_back;
mod read;
mod reserve;
mod upload;
mod verify;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::entry::Extent;
use crate::env::{DiskError, DiskErrorKind, Env, FilePath};
use crate::ids::{BulkId, PartitionId, StoreId};
use crate::place::{PerPlace, Place};

use file::BulkFile;
use format::{BLOCK, FILE_END_MAX, FRAME_BYTES};
use read::HandleCache;
use reserve::Announcement;

pub use format::FRAME_PAYLOAD_MAX;
pub use read::{BulkReader, ReadGuard, missing};
pub use reserve::SpacePromise;
pub use upload::{PayloadUpload, UploadGuard, UploadedPayload};
pub use verify::verify;

/// Options of the bulk files of one partition.
#[derive(Clone, Debug)]
pub struct BulkOptions {
    /// The folder of the hot place below the data directory; that of the cold place corresponds to it.
    pub folder: FilePath,
    /// The store that the files belong to.
    pub store: StoreId,
    /// The partition that the files belong to.
    pub partition: PartitionId,
    /// The lowest id that a new file of each place may get: above every id that the catalog names.
    pub next: PerPlace<BulkId>,
    /// The greatest length of a file in bytes. No reservation ends beyond it.
    pub file_bytes_max: u64,
    /// Bytes after which an upload requests a sync. The steps in which blocks are reserved follow from
    /// it as well.
    pub sync_bytes: u64,
    /// Bytes of the device that an upload must leave free, so that deletes and recovery have room to
    /// work.
    pub reserve_bytes: u64,
}

impl BulkOptions {
    /// The path of the file with a number.
    fn path(&self, id: BulkId) -> FilePath {
        self.folder_of(id.place()).join(format!("{:010}.bulk", id.number()))
    }

    /// The folder of the files in a place.
    fn folder_of(&self, place: Place) -> FilePath {
        self.folder.within(place)
    }
}

/// The id of the file with a path; none when the name is not a bulk file's.
fn id_of(path: &FilePath) -> Option<BulkId> {
    let digits = path.name().strip_suffix(".bulk").filter(|digits| digits.len() >= 10)?;
    let number = digits.parse().ok().filter(|number| *number < u64::MAX >> 1)?;
    Some(BulkId::of(path.place(), number))
}

/// An error of writing payload. No record refers to the bytes that were written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BulkError {
    /// Space is short: nothing was reserved. Reads and deletes continue; a retry helps once space is free.
    #[error("no room for {needed} bytes of payload, {free} are free")]
    Full {
        /// Bytes that the upload needs, headers included.
        needed: u64,
        /// Bytes that are free, those kept in reserve included.
        free: u64,
    },
    /// The number of bytes differs from the announced one, by a mistake of the caller. The upload is
    /// abandoned.
    #[error("{given} bytes of payload came, {announced} were announced")]
    WrongLength {
        /// Announced bytes.
        announced: u64,
        /// Bytes that were written before the mistake was noticed.
        given: u64,
    },
    /// An earlier operation on this upload failed, or its future was dropped before the end.
    #[error("an earlier write of this upload did not end well")]
    Broken,
    /// The device failed while the file was written, and the upload is lost. A retry from the first
    /// byte goes to a new file.
    #[error("{file} is given up: {reason}")]
    Failed {
        /// The file, below the data directory.
        file: String,
        /// The error of the device.
        reason: String,
    },
    /// The device failed before the upload began. A retry may help.
    #[error("{0}")]
    Disk(#[from] DiskError),
}

/// The bulk files of one partition, shared by uploads, guards, readers and garbage collection. The
/// state lock is never held across an `.await`.
pub struct BulkFiles {
    env: Env,
    options: BulkOptions,
    /// Held while space of a place is reserved, also across the disk's work: one reservation at a time, so
    /// that no two of them count the same free space.
    turn: PerPlace<tokio::sync::Mutex<()>>,
    state: Mutex<BulkState>,
    handles: HandleCache,
}

struct BulkState {
    /// The id of the next file in each place.
    next: PerPlace<BulkId>,
    /// The file of each place that takes reservations; none before the first and after a failed attempt.
    current: PerPlace<Option<CurrentFile>>,
    /// Number of pieces and guards that hold each file. Files without any are left out.
    in_flight: BTreeMap<BulkId, usize>,
    /// Files with payload of closed or flushed uploads that a sync may not cover yet.
    unsynced: BTreeMap<BulkId, Arc<BulkFile>>,
    /// Number of readers that hold each file. Files without any are left out.
    read: BTreeMap<BulkId, usize>,
    /// The admitted announcements, by the number of their promise.
    announced: BTreeMap<u64, Announcement>,
    next_promise: u64,
}

struct CurrentFile {
    file: Arc<BulkFile>,
    /// Everything below is reserved.
    end: u64,
}

impl CurrentFile {
    /// True while the file has not failed.
    fn is_open(&self) -> bool {
        self.file.failure().is_none()
    }
}

impl BulkState {
    fn take_id(&mut self, place: Place) -> BulkId {
        let id = self.next[place];
        self.next[place] = id.next();
        id
    }

    fn advance(&mut self, id: BulkId, end: u64) {
        if let Some(current) = &mut self.current[id.place()]
            && current.file.identity.file == id
        {
            current.end = end;
        }
    }

    fn is_sealed(&self, id: BulkId) -> bool {
        let current = self.current[id.place()].as_ref().filter(|current| current.is_open());
        id < self.next[id.place()]
            && !self.in_flight.contains_key(&id)
            && current.is_none_or(|current| current.file.identity.file != id)
    }
}

/// Keeps a file in flight, and so unsealed, while the guard lives.
struct InFlightGuard {
    bulk: Arc<BulkFiles>,
    id: BulkId,
}

impl InFlightGuard {
    /// Counts one more holder, under the lock under which the file was chosen, so that it is not sealed
    /// in between.
    fn new(bulk: &Arc<BulkFiles>, state: &mut BulkState, id: BulkId) -> Self {
        *state.in_flight.entry(id).or_default() += 1;
        Self { bulk: bulk.clone(), id }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut state = self.bulk.state.lock();
        if let Some(count) = state.in_flight.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                state.in_flight.remove(&self.id);
            }
        }
    }
}

impl fmt::Debug for InFlightGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InFlight({})", self.id)
    }
}

impl BulkFiles {
    /// Opens the folder of each place, and makes it when it is missing; its name is durable when this returns.
    /// Makes no file before the first upload, and never writes to a file that an earlier process made.
    ///
    /// Fails when the disk does. Panics when the greatest file length could not hold one frame, or
    /// exceeds the format.
    pub async fn open(env: Env, options: BulkOptions) -> Result<Arc<Self>, DiskError> {
        let bounds = BLOCK + FRAME_BYTES..=FILE_END_MAX;
        assert!(bounds.contains(&options.file_bytes_max), "a bulk file has at least one frame");
        for folder in Place::ALL.map(|place| options.folder_of(place)) {
            env.disk.create_folder(&folder).await?;
            // The folder's own name, and those of all folders above it, up to the data directory.
            let mut above = folder.folder();
            loop {
                env.disk.sync_folder(above.as_ref()).await?;
                let Some(folder) = above else { break };
                above = folder.folder();
            }
        }
        let bulk = Self {
            env,
            turn: PerPlace::default(),
            state: Mutex::new(BulkState {
                next: PerPlace::each(|place| options.next[place].max(BulkId::of(place, 1))),
                current: PerPlace::default(),
                in_flight: BTreeMap::new(),
                unsynced: BTreeMap::new(),
                read: BTreeMap::new(),
                announced: BTreeMap::new(),
                next_promise: 0,
            }),
            handles: HandleCache::default(),
            options,
        };
        for id in bulk.list().await? {
            bulk.skip_to(id.next());
        }
        Ok(Arc::new(bulk))
    }

    /// Ensures that no new file of the place of `next` gets an id below `next`. Called by replay for every id
    /// in a record, before any upload: the file of a record may be lost, and its id must never name another
    /// file.
    pub fn skip_to(&self, next: BulkId) {
        let mut state = self.state.lock();
        let place = next.place();
        state.next[place] = state.next[place].max(next);
    }

    /// Begins an upload of exactly `len` bytes to a place, if its device has room for all of them beside the
    /// announcements of others. Reserves the place and the first blocks; more blocks are reserved as
    /// bytes come. Waits for other reservations, first come, first served.
    ///
    /// After [`BulkError::Full`] nothing is reserved. Dropping the future returns what it reserved, but
    /// may leave an empty file, which is garbage.
    pub async fn begin(
        self: &Arc<Self>,
        place: Place,
        len: u64,
    ) -> Result<PayloadUpload, BulkError> {
        let (promise, first) = self.reserve(place, len).await?;
        Ok(PayloadUpload::new(self.clone(), place, len, len, Some(promise), first))
    }

    /// Begins an upload of at most `len_max` bytes to a place, whose length only its end tells: see
    /// [`PayloadUpload::shorten`], which must be called before the end unless all of them came. Announces a part of them, and
    /// as many again whenever these have come, so that a short upload keeps no room from others and shares its file with
    /// them.
    ///
    /// Fails as [`BulkFiles::begin`] does; later a write fails with [`BulkError::Full`] when there is no room for more.
    pub async fn begin_unannounced(
        self: &Arc<Self>,
        place: Place,
        len_max: u64,
    ) -> Result<PayloadUpload, BulkError> {
        let len = len_max.min(self.first_announcement());
        let (promise, first) = self.reserve(place, len).await?;
        Ok(PayloadUpload::new(self.clone(), place, len, len_max, Some(promise), first))
    }

    /// Begins an upload to the hot place that was admitted elsewhere and may be longer than the free space. Never fails
    /// or waits: [`BulkError::Full`] comes from the first write that does not fit. Of an upload that no file holds whole
    /// a part takes a place at a time, since its length may be no more than a bound.
    pub fn begin_admitted(self: &Arc<Self>, len: u64) -> PayloadUpload {
        let first = match len > self.file_capacity() {
            true => len.min(self.first_announcement()),
            false => len,
        };
        PayloadUpload::new(self.clone(), Place::Hot, first, len, None, None)
    }

    /// Makes all payload durable that [`PayloadUpload::close`] and [`PayloadUpload::flush`] left
    /// without a sync. Must return successfully before a catalog or a trim relies on that payload.
    ///
    /// After an error all files count as unsynced again, and a retry fails as long as one of them has
    /// failed. The future must be polled to its end: dropped half way, it forgets files that still need
    /// a sync.
    pub async fn sync_written(&self) -> Result<(), BulkError> {
        let files = std::mem::take(&mut self.state.lock().unsynced);
        let requests: Vec<_> = files.values().map(|file| (file, file.request_sync())).collect();
        for (file, request) in requests {
            if let Err(error) = file.synced(request).await {
                // All of them, since some may have been synced and others not.
                let mut state = self.state.lock();
                files.iter().for_each(|(id, file)| drop(state.unsynced.insert(*id, file.clone())));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Notes a file for the next [`BulkFiles::sync_written`].
    fn note_unsynced(&self, file: &Arc<BulkFile>) {
        self.state.lock().unsynced.insert(file.identity.file, file.clone());
    }

    /// Reads a range of the payload that consists of these extents, in this order. Opens nothing before
    /// the first [`BulkReader::next`]. A range beyond the payload's end is an error there, never a
    /// shorter answer. The caller must hold the files, see [`BulkFiles::hold_for_reading`].
    pub fn read(
        self: &Arc<Self>,
        extents: impl Into<Arc<[Extent]>>,
        range: Range<u64>,
    ) -> BulkReader {
        BulkReader::new(self.clone(), extents.into(), range)
    }

    /// Holds files that another guard holds, for longer than that guard. A file without any holder is
    /// left out, since garbage collection may be removing it already. Call this before the other guard
    /// is dropped.
    pub fn prolong(self: &Arc<Self>, files: &[BulkId]) -> UploadGuard {
        let mut state = self.state.lock();
        let held: Vec<BulkId> =
            files.iter().copied().filter(|id| state.in_flight.contains_key(id)).collect();
        UploadGuard::new(
            held.into_iter().map(|id| InFlightGuard::new(self, &mut state, id)).collect(),
        )
    }

    /// The files that readers hold, see [`ReadGuard`], in order. Garbage collection must call this
    /// *after* it has searched for references: a reader holds its files before it drops the view that
    /// names them.
    pub fn being_read(&self) -> Vec<BulkId> {
        self.state.lock().read.keys().copied().collect()
    }

    /// The files that an upload or an [`UploadGuard`] holds, in order. None of them may be removed,
    /// even if no record names it.
    pub fn in_flight(&self) -> Vec<BulkId> {
        self.state.lock().in_flight.keys().copied().collect()
    }

    /// The files that are not sealed, in order, each once: the one that takes reservations, and those
    /// in flight.
    pub fn open_files(&self) -> Vec<BulkId> {
        let state = self.state.lock();
        let mut open: Vec<BulkId> = state.in_flight.keys().copied().collect();
        for current in Place::ALL.into_iter().filter_map(|place| state.current[place].as_ref()) {
            open.extend(current.is_open().then_some(current.file.identity.file));
        }
        open.sort();
        open.dedup();
        open
    }

    /// Returns true only when no byte of the file will be written again and no upload or guard holds
    /// it. Once true, always true.
    pub fn is_sealed(&self, id: BulkId) -> bool {
        self.state.lock().is_sealed(id)
    }

    /// The next id of each place: above every id that is or was in use, or that was skipped. New files get it
    /// or a higher one.
    pub fn next(&self) -> PerPlace<BulkId> {
        self.state.lock().next
    }

    /// The ids of the files in both folders, in ascending order, sealed or not. Fails when a folder cannot
    /// be listed.
    pub async fn list(&self) -> Result<Vec<BulkId>, DiskError> {
        let mut found = Vec::new();
        for place in Place::ALL {
            found.extend(self.files(place).await?.into_iter().map(|(id, _)| id));
        }
        Ok(found)
    }

    /// The files of a place with their lengths in bytes, in ascending order of their ids. Files with other
    /// names are skipped. Fails when the folder cannot be listed.
    pub async fn files(&self, place: Place) -> Result<Vec<(BulkId, u64)>, DiskError> {
        let found = self.env.disk.list(&self.options.folder_of(place)).await?;
        let ids = found.iter().filter_map(|(path, len)| Some((id_of(path)?, *len)));
        let mut files: Vec<(BulkId, u64)> = ids.collect();
        files.sort();
        Ok(files)
    }

    /// The sealed files of a place, in ascending order. The caller must search for references *after* this
    /// returns: a file without a reference is garbage then, since its last holder is gone before. Fails when
    /// the folder cannot be listed.
    pub async fn collectable(&self, place: Place) -> Result<Vec<BulkId>, DiskError> {
        let mut found: Vec<BulkId> =
            self.files(place).await?.into_iter().map(|(id, _)| id).collect();
        let state = self.state.lock();
        found.retain(|id| state.is_sealed(*id));
        Ok(found)
    }

    /// Removes a sealed file, or does nothing when it is gone already. Readers with an open handle
    /// continue. The removal is not synced, so after a crash the file may be there again and is removed
    /// once more.
    ///
    /// Fails when the disk does. Panics when the file is not sealed, since it then holds payload that a
    /// record is about to name.
    pub async fn remove(&self, id: BulkId) -> Result<(), DiskError> {
        assert!(self.is_sealed(id), "bulk file {id} is removed while it is in use");
        let removed = self.env.disk.remove(&self.options.path(id)).await;
        self.handles.forget(id);
        match removed {
            Err(error) if error.kind == DiskErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}
