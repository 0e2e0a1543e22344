//! Bulk files: payload too large for a record. `docs/formats/bulk.md` specifies the bytes.
//!
//! ```text
//!   begin(len) ──► admitted, a place in a file reserved, folder entry durable
//!     write(..) ─► blocks of the device a step ahead, frames, synced every few MiB
//!     finish() ──► payload durable ──► extents, digest, guard
//!                                        │
//!   the caller: record appended ◄────────┘ ──► record applied ──► guard dropped
//! ```
//!
//! The order is always the same: folder entry, payload, record, acknowledgement. So a record that can be
//! read names payload that can be read, and payload without a record is garbage that nobody sees.
//!
//! What holds:
//! - A file is written in one life of the process only. It takes reservations until it is full or has
//!   failed; after that, and after a restart, it is *sealed*: only read, or removed as a whole.
//! - No byte of a file is written twice. What was never written reads as zeros, so a write that got lost
//!   shows, whatever was abandoned around it.
//! - An upload that is abandoned, or whose write is refused, gives its space back at once; what a process
//!   that was killed had reserved and not written is given back by the next.
//! - Numbers of files rise and are not used again.
//! - One task owns the syncs of a file. A failed sync or write fails every upload in the file that is
//!   not durable yet, and nothing more is written to it.
//!
//! What is left to others: which files are still needed. Collection asks for [`BulkFiles::collectable`]
//! *first* and looks at what refers to them *then*: nothing new can come to refer to such a file.

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

use file::BulkFile;
use format::{BLOCK, FILE_END_MAX, FRAME_BYTES};
use read::HandleCache;
use reserve::Announcement;

pub use format::FRAME_PAYLOAD_MAX;
pub use read::{BulkReader, ReadGuard, missing};
pub use reserve::SpacePromise;
pub use upload::{PayloadUpload, UploadGuard, UploadedPayload};
pub use verify::verify;

/// How bulk files are kept.
#[derive(Clone, Debug)]
pub struct BulkOptions {
    /// The folder below the data directory.
    pub folder: FilePath,
    /// The store that it belongs to.
    pub store: StoreId,
    /// The partition that it belongs to.
    pub partition: PartitionId,
    /// The lowest number that a new file may have: above every number that the catalog knows of.
    pub next: BulkId,
    /// A file takes no reservation beyond this many bytes.
    pub file_bytes_max: u64,
    /// An upload asks for a sync after this many bytes.
    pub sync_bytes: u64,
    /// Bytes of the device that an upload must leave free, so that removal and recovery can work.
    pub reserve_bytes: u64,
}

impl BulkOptions {
    fn path(&self, id: BulkId) -> FilePath {
        self.folder.join(format!("{:010}.bulk", id.get()))
    }
}

/// The number that a file's name tells; none for a name that is not a bulk file's.
fn id_of(path: &FilePath) -> Option<BulkId> {
    let digits = path.name().strip_suffix(".bulk").filter(|digits| digits.len() >= 10)?;
    digits.parse().ok().map(BulkId::new)
}

/// Payload could not be written. Nothing refers to what was written of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BulkError {
    /// Space is short: nothing was reserved. Reads and removals go on; try again later.
    #[error("no room for {needed} bytes of payload, {free} are free")]
    Full {
        /// Bytes that the upload needs, headers included.
        needed: u64,
        /// Bytes that are free, those kept in reserve included.
        free: u64,
    },
    /// Other than the announced number of bytes came. The caller's mistake; the upload is abandoned.
    #[error("{given} bytes of payload came, {announced} were announced")]
    WrongLength {
        /// Bytes announced.
        announced: u64,
        /// Bytes that came before this was noticed.
        given: u64,
    },
    /// An earlier operation on this upload failed or was dropped half way.
    #[error("an earlier write of this upload did not end well")]
    Broken,
    /// The device failed while the file was written: the upload is lost. Sent again as a whole it goes
    /// to a new file.
    #[error("{file} is given up: {reason}")]
    Failed {
        /// The file, below the data directory.
        file: String,
        /// What the device said.
        reason: String,
    },
    /// The device failed before the upload began. Trying again may help.
    #[error("{0}")]
    Disk(#[from] DiskError),
}

/// The bulk files of one partition. Shared by uploads, guards, readers and collection.
pub struct BulkFiles {
    env: Env,
    options: BulkOptions,
    /// Held while space is reserved: uploads begin one after the other.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<BulkState>,
    handles: HandleCache,
}

struct BulkState {
    /// The number of the next file.
    next: BulkId,
    /// The file that takes reservations.
    current: Option<CurrentFile>,
    /// How many pieces and guards hold each file that any of them holds.
    in_flight: BTreeMap<BulkId, usize>,
    /// Files with payload of closed uploads that no sync is known to cover.
    unsynced: BTreeMap<BulkId, Arc<BulkFile>>,
    /// How many readers hold each file that any of them holds.
    read: BTreeMap<BulkId, usize>,
    /// The announcements that were admitted, by number.
    announced: BTreeMap<u64, Announcement>,
    next_promise: u64,
}

struct CurrentFile {
    file: Arc<BulkFile>,
    /// Everything below is reserved.
    end: u64,
}

impl CurrentFile {
    fn is_open(&self) -> bool {
        self.file.failure().is_none()
    }
}

impl BulkState {
    fn take_id(&mut self) -> BulkId {
        let id = self.next;
        self.next = id.next();
        id
    }

    fn advance(&mut self, id: BulkId, end: u64) {
        if let Some(current) = &mut self.current
            && current.file.identity.file == id
        {
            current.end = end;
        }
    }

    fn is_sealed(&self, id: BulkId) -> bool {
        let current = self.current.as_ref().filter(|current| current.is_open());
        id < self.next
            && !self.in_flight.contains_key(&id)
            && current.is_none_or(|current| current.file.identity.file != id)
    }
}

/// Holds a file in flight while it lives.
struct InFlightGuard {
    bulk: Arc<BulkFiles>,
    id: BulkId,
}

impl InFlightGuard {
    /// Under the lock that the file was chosen under, so that it is not sealed in between.
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
    /// Opens the folder, made if it is not there. No file is begun before the first upload, and none
    /// that is found is ever written to again.
    ///
    /// Panics when the largest file could not hold a frame.
    pub async fn open(env: Env, options: BulkOptions) -> Result<Arc<Self>, DiskError> {
        let bounds = BLOCK + FRAME_BYTES..=FILE_END_MAX;
        assert!(bounds.contains(&options.file_bytes_max), "a bulk file has at least one frame");
        env.disk.create_folder(&options.folder).await?;
        // The folder's own name, and those of the folders above.
        let mut above = options.folder.folder();
        loop {
            env.disk.sync_folder(above.as_ref()).await?;
            let Some(folder) = above else { break };
            above = folder.folder();
        }
        let bulk = Self {
            env,
            turn: tokio::sync::Mutex::default(),
            state: Mutex::new(BulkState {
                next: options.next.max(BulkId::new(1)),
                current: None,
                in_flight: BTreeMap::new(),
                unsynced: BTreeMap::new(),
                read: BTreeMap::new(),
                announced: BTreeMap::new(),
                next_promise: 0,
            }),
            handles: HandleCache::default(),
            options,
        };
        if let Some(last) = bulk.list().await?.last() {
            bulk.skip_to(last.next());
        }
        Ok(Arc::new(bulk))
    }

    /// Sees to it that no new file has a number below `next`. For numbers that replay meets: the file of
    /// a record may be lost, and its number must not come to mean another.
    pub fn skip_to(&self, next: BulkId) {
        let mut state = self.state.lock();
        state.next = state.next.max(next);
    }

    /// Begins an upload of exactly `len` bytes, if there is room for all of it beside what others have
    /// announced. Space is taken as bytes come. On [`BulkError::Full`] nothing has been taken.
    pub async fn begin(self: &Arc<Self>, len: u64) -> Result<PayloadUpload, BulkError> {
        let (promise, first) = self.reserve(len).await?;
        Ok(PayloadUpload::new(self.clone(), len, Some(promise), first))
    }

    /// Begins an upload that was admitted elsewhere and may be longer than there is room for:
    /// [`BulkError::Full`] comes with the first bytes that do not fit.
    pub fn begin_admitted(self: &Arc<Self>, len: u64) -> PayloadUpload {
        PayloadUpload::new(self.clone(), len, None, None)
    }

    /// Makes everything durable that was written without it: see [`PayloadUpload::close`] and [`PayloadUpload::flush`].
    pub async fn sync_written(&self) -> Result<(), BulkError> {
        let files = std::mem::take(&mut self.state.lock().unsynced);
        let requests: Vec<_> = files.values().map(|file| (file, file.request_sync())).collect();
        for (file, request) in requests {
            if let Err(error) = file.synced(request).await {
                // All of them: which are covered is not known any more.
                let mut state = self.state.lock();
                files.iter().for_each(|(id, file)| drop(state.unsynced.insert(*id, file.clone())));
                return Err(error);
            }
        }
        Ok(())
    }

    fn note_unsynced(&self, file: &Arc<BulkFile>) {
        self.state.lock().unsynced.insert(file.identity.file, file.clone());
    }

    /// Reads a range of the payload that extents make up in this order. Beyond its end the reader says
    /// that the payload is too short, never that this was all.
    pub fn read(
        self: &Arc<Self>,
        extents: impl Into<Arc<[Extent]>>,
        range: Range<u64>,
    ) -> BulkReader {
        BulkReader::new(self.clone(), extents.into(), range)
    }

    /// Holds files for longer than whoever holds them now. A file that nobody holds may be on its way out
    /// already, and is not held.
    pub fn prolong(self: &Arc<Self>, files: &[BulkId]) -> UploadGuard {
        let mut state = self.state.lock();
        let held: Vec<BulkId> =
            files.iter().copied().filter(|id| state.in_flight.contains_key(id)).collect();
        UploadGuard::new(
            held.into_iter().map(|id| InFlightGuard::new(self, &mut state, id)).collect(),
        )
    }

    /// The files that readers hold, see [`ReadGuard`]. Asked *after* what refers to files has been looked
    /// at: a reader holds a file before it lets go of the view that names it.
    pub fn being_read(&self) -> Vec<BulkId> {
        self.state.lock().read.keys().copied().collect()
    }

    /// The files that an upload or a [`UploadGuard`] holds.
    pub fn in_flight(&self) -> Vec<BulkId> {
        self.state.lock().in_flight.keys().copied().collect()
    }

    /// The files that are not sealed: the one that takes reservations, and those in flight.
    pub fn open_files(&self) -> Vec<BulkId> {
        let state = self.state.lock();
        let mut open: Vec<BulkId> = state.in_flight.keys().copied().collect();
        let current = state.current.as_ref().filter(|current| current.is_open());
        open.extend(current.map(|current| current.file.identity.file));
        open.sort();
        open.dedup();
        open
    }

    /// Whether nothing will be written to the file any more, and nobody holds it. Once true it stays so.
    pub fn is_sealed(&self, id: BulkId) -> bool {
        self.state.lock().is_sealed(id)
    }

    /// The highest number in use or used before; 0 before the first.
    pub fn highest(&self) -> BulkId {
        BulkId::new(self.state.lock().next.get() - 1)
    }

    /// The files in the folder, in order.
    pub async fn list(&self) -> Result<Vec<BulkId>, DiskError> {
        Ok(self.files().await?.into_iter().map(|(id, _)| id).collect())
    }

    /// The files in the folder, in order, with their lengths.
    pub async fn files(&self) -> Result<Vec<(BulkId, u64)>, DiskError> {
        let found = self.env.disk.list(&self.options.folder).await?;
        let ids = found.iter().filter_map(|(path, len)| Some((id_of(path)?, *len)));
        let mut files: Vec<(BulkId, u64)> = ids.collect();
        files.sort();
        Ok(files)
    }

    /// The files in the folder that are sealed. What refers to them has to be looked up *after* this:
    /// then a file that nothing refers to is garbage, since whatever held it has let go before.
    pub async fn collectable(&self) -> Result<Vec<BulkId>, DiskError> {
        let mut found = self.list().await?;
        let state = self.state.lock();
        found.retain(|id| state.is_sealed(*id));
        Ok(found)
    }

    /// Removes a sealed file; content if it is gone already. Readers that have it open go on. After a
    /// crash it may be there again.
    ///
    /// Panics when the file is not sealed: it holds payload that a record is about to name.
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
