//! Bulk files: payload that is too large for a record, written before the record that names it.
//!
//! ```text
//!   p0000/bulk/0000000007.bulk   header 4 KiB | extent of upload A | extent of upload B | ...
//!   extent: frame 64 KiB | frame 64 KiB | ... | last frame, cut to 4 KiB
//!   frame:  head 32 | up to 65,504 bytes of payload
//! ```
//!
//! The order is always: folder entry synced, payload synced, record appended, acknowledgement. An upload
//! reserves its space up front, so the end of the device is met before the first byte and not in the
//! middle. A file that is full takes no more reservations, and a file of an earlier start none at all; so
//! every file ends, and can be removed once nothing refers to it. `docs/formats/bulk.md` specifies bytes.

mod file;
mod frame;
mod reader;
mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::entry::Extent;
use crate::env::{Disk, DiskError, DiskErrorKind, Env, File, FilePath, Open};
use crate::log::{Corruption, ReadError};
use crate::mutant::Mutant;
use crate::words::{BulkId, PartitionId, StoreId};

use file::OpenFile;
use frame::FileHead;

pub use reader::BulkReader;
pub use upload::{InFlight, Upload, Written};

/// How bulk files are kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder below the data directory.
    pub folder: FilePath,
    /// The store.
    pub store: StoreId,
    /// The partition.
    pub partition: PartitionId,
    /// Ids below this have been used.
    pub next: BulkId,
    /// A file takes no more reservations beyond so many bytes.
    pub file_bytes_max: u64,
    /// An upload is synced each time so many bytes have been written.
    pub sync_bytes: u64,
    /// Bytes of the device that a reservation must leave free.
    pub reserve_bytes: u64,
}

/// Payload could not be written. Nothing refers to what was written of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BulkError {
    /// Space is short: nothing was written. Try again later.
    #[error("no room for {len} bytes of payload: {detail}")]
    Full {
        /// How many bytes were to be written.
        len: u64,
        /// What is short.
        detail: String,
    },
    /// The device failed, now or earlier, under the file that the payload was going to.
    #[error("payload cannot be written to {file}: {detail}")]
    Failed {
        /// The file.
        file: FilePath,
        /// What the device said.
        detail: String,
    },
    /// More or fewer bytes came than were announced.
    #[error("{announced} bytes of payload were announced, {came} came")]
    Length {
        /// Announced.
        announced: u64,
        /// Came.
        came: u64,
    },
}

struct State {
    next: BulkId,
    /// The file that takes reservations.
    current: Option<Arc<OpenFile>>,
    /// How many uploads and guards each file has.
    in_flight: BTreeMap<BulkId, usize>,
    /// Files opened for reading.
    readers: BTreeMap<BulkId, Arc<dyn File>>,
}

/// The bulk files of one partition.
pub struct BulkFiles {
    env: Env,
    options: Options,
    state: Mutex<State>,
    /// Held while a reservation is made, so that files are begun one at a time.
    reserving: tokio::sync::Mutex<()>,
}

/// Files kept open for reading.
const READERS_MAX: usize = 256;

impl BulkFiles {
    /// Opens a partition's bulk files. Files that are there are read and never written again.
    pub async fn open(env: Env, options: Options) -> Result<Arc<Self>, DiskError> {
        env.disk.create_folder(&options.folder).await?;
        if let Some(above) = options.folder.folder() {
            env.disk.sync_folder(Some(&above)).await?;
        }
        env.disk.sync_folder(None).await?;
        let found = list(&env, &options.folder).await?;
        let next = found.last().map_or(options.next, |last| options.next.max(last.next()));
        let state = State {
            next,
            current: None,
            in_flight: BTreeMap::new(),
            readers: BTreeMap::new(),
        };
        let (state, reserving) = (Mutex::new(state), tokio::sync::Mutex::new(()));
        Ok(Arc::new(Self { env, options, state, reserving }))
    }

    /// The highest id that has been used.
    pub fn highest(&self) -> BulkId {
        BulkId::new(self.state.lock().next.get().saturating_sub(1))
    }

    /// The files that uploads or guards hold.
    pub fn in_flight(&self) -> Vec<BulkId> {
        self.state.lock().in_flight.keys().copied().collect()
    }

    /// Whether a file takes no more reservations.
    pub fn is_sealed(&self, id: BulkId) -> bool {
        self.state.lock().current.as_ref().is_none_or(|current| current.id != id)
    }

    /// The files in the folder.
    pub async fn list(&self) -> Result<Vec<BulkId>, DiskError> {
        list(&self.env, &self.options.folder).await
    }

    /// Removes a file, unless an upload or a guard holds it or it still takes reservations. Readers that
    /// have it open read on.
    pub async fn remove(&self, id: BulkId) -> Result<(), DiskError> {
        {
            let mut state = self.state.lock();
            let is_current = state.current.as_ref().is_some_and(|current| current.id == id);
            if is_current || state.in_flight.contains_key(&id) {
                return Ok(());
            }
            state.readers.remove(&id);
        }
        match self.env.disk.remove(&self.path(id)).await {
            Err(error) if error.kind != DiskErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, id: BulkId) -> FilePath {
        self.options.folder.join(format!("{:010}.bulk", id.get()))
    }

    /// Begins an upload of exactly `len` bytes and reserves space for it.
    pub async fn begin(self: &Arc<Self>, len: u64) -> Result<Upload, BulkError> {
        let _turn = self.reserving.lock().await;
        let mut places = Vec::new();
        let mut held = InFlight::new(self);
        let mut left = len;
        let needed = frame::extent_bytes(len);
        let full = |detail: String| BulkError::Full { len, detail };
        let free = self.env.disk.free_bytes().await.map_err(|error| full(error.to_string()))?;
        if free < needed + self.options.reserve_bytes {
            return Err(full(format!("{free} bytes are free")));
        }
        while left > 0 {
            let file = self.file_with_room(left, &mut held).await?;
            let room = self.options.file_bytes_max.saturating_sub(file.reserved());
            let take = left.min(frame::payload_within(room));
            let position = file.reserve(frame::extent_bytes(take));
            let end = position + frame::extent_bytes(take);
            if let Err(error) = file.file.allocate(end).await {
                file.fail(&error);
                self.retire(&file);
                return Err(match error.kind {
                    DiskErrorKind::NoSpace => full(error.detail),
                    _ => BulkError::Failed { file: file.file.path().clone(), detail: error.detail },
                });
            }
            places.push((file.clone(), Extent { file: file.id, position, len: take }));
            left -= take;
        }
        Ok(Upload::new(self.env.clone(), &self.options, len, places, held))
    }

    /// The current file if it has room for all of it, else a new one. The file is held before it exists:
    /// the collector may look at any moment, and removes what nobody holds.
    async fn file_with_room(
        &self,
        len: u64,
        held: &mut InFlight,
    ) -> Result<Arc<OpenFile>, BulkError> {
        let current = self.state.lock().current.clone();
        if let Some(current) = current {
            let fits = current.reserved() + frame::extent_bytes(len) <= self.options.file_bytes_max;
            if fits && !current.has_failed() {
                held.hold(current.id);
                return Ok(current);
            }
            self.retire(&current);
        }
        let id = {
            let mut state = self.state.lock();
            let id = state.next;
            state.next = id.next();
            id
        };
        held.hold(id);
        let file = self.new_file(id).await.map_err(|error| match error.kind {
            DiskErrorKind::NoSpace => BulkError::Full { len, detail: error.detail },
            _ => BulkError::Failed { file: error.path, detail: error.detail },
        })?;
        self.state.lock().current = Some(file.clone());
        Ok(file)
    }

    /// Lets a file take no more reservations.
    fn retire(&self, file: &Arc<OpenFile>) {
        let mut state = self.state.lock();
        if state.current.as_ref().is_some_and(|current| current.id == file.id) {
            state.current = None;
        }
    }

    async fn new_file(&self, id: BulkId) -> Result<Arc<OpenFile>, DiskError> {
        let file = self.env.disk.open(&self.path(id), Open::Create).await?;
        let head = FileHead { store: self.options.store, partition: self.options.partition, id };
        file.write_synced(0, head.encode()).await?;
        if !self.env.mutated(Mutant::SkipBulkFolderSync) {
            self.env.disk.sync_folder(Some(&self.options.folder)).await?;
        }
        Ok(Arc::new(OpenFile::new(head, file)))
    }

    /// Reads payload bytes `range` of the bytes that extents hold one after the other.
    pub fn read(
        self: &Arc<Self>,
        extents: Arc<[Extent]>,
        range: std::ops::Range<u64>,
    ) -> BulkReader {
        BulkReader::new(self.clone(), extents, range)
    }

    /// Opens a file for reading, checking that it is the one that it should be.
    async fn reader(&self, id: BulkId) -> Result<Arc<dyn File>, ReadError> {
        if let Some(file) = self.state.lock().readers.get(&id) {
            return Ok(file.clone());
        }
        let path = self.path(id);
        let file = open_file(&self.env.disk, &path, self.head(id)).await?;
        let mut state = self.state.lock();
        if state.readers.len() >= READERS_MAX {
            state.readers.pop_first();
        }
        state.readers.insert(id, file.clone());
        Ok(file)
    }

    fn head(&self, id: BulkId) -> FileHead {
        FileHead { store: self.options.store, partition: self.options.partition, id }
    }

    /// Reads every frame of an extent, for `fsck`.
    pub async fn verify(self: &Arc<Self>, extent: &Extent) -> Result<(), ReadError> {
        let mut reader = self.read(Arc::new([*extent]), 0..extent.len);
        while reader.next().await?.is_some() {}
        Ok(())
    }
}

async fn open_file(
    disk: &Arc<dyn Disk>,
    path: &FilePath,
    head: FileHead,
) -> Result<Arc<dyn File>, ReadError> {
    let corrupt = |detail: String| {
        ReadError::Corrupt(Corruption { file: path.to_string(), position: 0, detail })
    };
    let file = disk.open(path, Open::Read).await.map_err(|error| match error.kind {
        DiskErrorKind::NotFound => corrupt("the file is missing".into()),
        _ => corrupt(error.to_string()),
    })?;
    let found = file.read_at(0, frame::FILE_HEAD_BYTES).await;
    let found = found.map_err(|error| corrupt(error.to_string()))?;
    if found != head.encode() {
        return Err(corrupt("the file's header is not the one that was written".into()));
    }
    Ok(file)
}

async fn list(env: &Env, folder: &FilePath) -> Result<Vec<BulkId>, DiskError> {
    let found = env.disk.list(folder).await?;
    let id = |path: &FilePath| {
        path.name().strip_suffix(".bulk").and_then(|name| name.parse().ok()).map(BulkId::new)
    };
    let ids: BTreeSet<BulkId> = found.iter().filter_map(|(path, _)| id(path)).collect();
    Ok(ids.into_iter().collect())
}
