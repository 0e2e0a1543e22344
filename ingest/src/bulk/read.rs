//! Reading payload: every frame is verified before its bytes are returned.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::format::{
    self, BLOCK, BulkFileId, FRAME_BYTES, FRAME_HEADER_BYTES, FRAME_PAYLOAD_MAX, FrameRef,
};
use super::{BulkFiles, BulkOptions};
use crate::entry::Extent;
use crate::env::{Disk, File, OpenMode};
use crate::ids::{BulkId, PartitionId};
use crate::log::{Corruption, ReadError, confirm};
use crate::mutant::Mutant;

/// Frames that are read at once.
const STRETCH_FRAMES: u64 = 4;
/// The most handles that are kept open for the next reader.
const HANDLES_MAX: usize = 64;

/// A file opened for reading, with the identity on which its checksums depend.
pub struct BulkHandle {
    pub file: Arc<dyn File>,
    pub identity: BulkFileId,
}

impl BulkHandle {
    /// Opens a file and reads its header. A missing file is corruption, since a record names it.
    /// Corruption after one attempt is not proof yet: the caller must go through [`confirm`].
    pub async fn open(
        disk: &dyn Disk,
        options: &BulkOptions,
        id: BulkId,
    ) -> Result<Self, ReadError> {
        let path = options.path(id);
        let failed = |error| ReadError::of_disk(options.partition, 0, &error);
        let file = disk.open(&path, OpenMode::Read).await.map_err(failed)?;
        let block = file.read_at(0, BLOCK as usize).await.map_err(failed)?;
        let identity = BulkFileId::decode(&block, options.store, options.partition, id);
        let corrupt = |detail: String| Corruption { file: path.to_string(), position: 0, detail };
        Ok(Self { file, identity: identity.map_err(corrupt)? })
    }

    /// The corruption of this file at a position. Builds the error only; the caller has found and
    /// confirmed it.
    pub fn corrupt(&self, position: u64, detail: String) -> Corruption {
        Corruption { file: self.file.path().to_string(), position, detail }
    }

    /// Reads neighbouring frames of an extent in one read, without verifying them.
    async fn read_frames(&self, extent: &Extent, frames: &Range<u64>) -> Result<Bytes, ReadError> {
        let first = FrameRef::of(extent, frames.start);
        let last = FrameRef::of(extent, frames.end - 1);
        let len = (last.position - first.position) as usize + last.bytes();
        let read = self.file.read_at(first.position, len).await;
        read.map_err(|error| ReadError::of_disk(self.identity.partition, first.position, &error))
    }

    /// Reads one frame, verifies it, and returns its payload. Corruption after one attempt is not proof
    /// yet: the caller must go through [`confirm`].
    pub async fn read_frame(&self, extent: &Extent, index: u64) -> Result<Bytes, ReadError> {
        let bytes = self.read_frames(extent, &(index..index + 1)).await?;
        self.payload(FrameRef::of(extent, index), bytes)
    }

    /// Verifies a frame that was read and returns its payload without a copy.
    fn payload(&self, frame: FrameRef, bytes: Bytes) -> Result<Bytes, ReadError> {
        match frame.verify(&self.identity, &bytes) {
            Ok(()) => Ok(bytes.slice(FRAME_HEADER_BYTES..)),
            Err(detail) => Err(self.corrupt(frame.position, detail).into()),
        }
    }
}

/// The error of a read of payload that this node never stored, because its device was full when the
/// payload came through the log. Another node may have it.
pub fn missing(partition: PartitionId) -> ReadError {
    let reason = "this node had no room for the payload when it came; ask another node".to_owned();
    ReadError::Unavailable { partition, reason }
}

/// Open handles of files that were read recently, at most 64. A reader keeps its own handle open when
/// the cache drops it.
#[derive(Default)]
pub struct HandleCache {
    kept: Mutex<CachedHandle>,
}

/// The cached handles and a counter of uses, which stands in for time.
#[derive(Default)]
struct CachedHandle {
    uses: u64,
    /// Each handle with the number of its last use.
    handles: BTreeMap<BulkId, (u64, Arc<BulkHandle>)>,
}

impl HandleCache {
    /// The cached handle of a file, or a new one. Two readers may open the same file at once; the later
    /// one stays cached.
    async fn get(&self, bulk: &BulkFiles, id: BulkId) -> Result<Arc<BulkHandle>, ReadError> {
        if let Some(handle) = self.kept(id) {
            return Ok(handle);
        }
        let open = || BulkHandle::open(&*bulk.env.disk, &bulk.options, id);
        let handle = Arc::new(bulk.confirmed(open).await?);
        self.keep(id, handle.clone());
        Ok(handle)
    }

    /// The cached handle of a file, counted as used now.
    fn kept(&self, id: BulkId) -> Option<Arc<BulkHandle>> {
        let mut kept = self.kept.lock();
        kept.uses += 1;
        let now = kept.uses;
        let (used, handle) = kept.handles.get_mut(&id)?;
        *used = now;
        Some(handle.clone())
    }

    /// Caches a handle, and drops the one that was unused for longest when there are too many.
    fn keep(&self, id: BulkId, handle: Arc<BulkHandle>) {
        let mut kept = self.kept.lock();
        let now = kept.uses;
        kept.handles.insert(id, (now, handle));
        if kept.handles.len() > HANDLES_MAX {
            let oldest = kept.handles.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                kept.handles.remove(&oldest);
            }
        }
    }

    /// Drops the cached handle of a file that was removed, so that the device regains the space with
    /// the last reader. Must be called after the removal, or a reader may cache a new handle before it.
    pub fn forget(&self, id: BulkId) {
        self.kept.lock().handles.remove(&id);
    }
}

/// Holds the files of some extents for a reader: garbage collection keeps them while the guard lives,
/// even if the objects are deleted meanwhile.
pub struct ReadGuard {
    bulk: Arc<BulkFiles>,
    files: Vec<BulkId>,
}

impl BulkFiles {
    /// Holds the files that extents name. The caller must keep the view that names them until this
    /// returns; otherwise a file may be collected before. Never fails, and opens nothing.
    pub fn hold_for_reading(self: &Arc<Self>, extents: &[Extent]) -> ReadGuard {
        let mut files: Vec<BulkId> = extents.iter().map(|extent| extent.file).collect();
        files.sort_unstable();
        files.dedup();
        let mut state = self.state.lock();
        for file in &files {
            *state.read.entry(*file).or_default() += 1;
        }
        drop(state);
        ReadGuard { bulk: self.clone(), files }
    }
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        let mut state = self.bulk.state.lock();
        for file in &self.files {
            if let Some(count) = state.read.get_mut(file) {
                *count -= 1;
                if *count == 0 {
                    state.read.remove(file);
                }
            }
        }
    }
}

/// Reads a range of payload, frame by frame, in order. At most 256 KiB are held in memory.
pub struct BulkReader {
    bulk: Arc<BulkFiles>,
    extents: Arc<[Extent]>,
    /// The index of the extent that is being read.
    index: usize,
    /// The next byte within that extent.
    at: u64,
    /// Bytes of the range that are still to be read.
    left: u64,
    handle: Option<Arc<BulkHandle>>,
    /// Bytes that are verified and not returned yet.
    ready: VecDeque<Bytes>,
    /// Frames to read at once: one for the rest of the range after a read has failed.
    stretch: u64,
}

impl BulkFiles {
    /// Reads and verifies by `read`, twice before the result counts as damage; see [`confirm`].
    async fn confirmed<T, R>(&self, read: impl Fn() -> R) -> Result<T, ReadError>
    where
        R: Future<Output = Result<T, ReadError>>,
    {
        if self.env.mutated(Mutant::BelieveFirstRead) {
            return read().await;
        }
        match confirm(read).await {
            Err(ReadError::Unavailable { reason, .. })
                if self.env.mutated(Mutant::ExhaustionIsRot) =>
            {
                let file = self.options.folder.to_string();
                Err(Corruption { file, position: 0, detail: reason }.into())
            }
            read => read,
        }
    }
}

impl BulkReader {
    /// A reader at the beginning of the range. Reads nothing yet.
    pub(super) fn new(bulk: Arc<BulkFiles>, extents: Arc<[Extent]>, range: Range<u64>) -> Self {
        let mut reader = Self {
            bulk,
            extents,
            index: 0,
            at: range.start,
            left: range.end.saturating_sub(range.start),
            handle: None,
            ready: VecDeque::new(),
            stretch: STRETCH_FRAMES,
        };
        reader.skip_extents();
        reader
    }

    /// Moves on to the extent with the next byte.
    fn skip_extents(&mut self) {
        while let Some(extent) = self.extents.get(self.index).filter(|e| self.at >= e.len) {
            self.at -= extent.len;
            self.index += 1;
            self.handle = None;
        }
    }

    /// Returns the next bytes of the range, verified and in order; `None` only at the end of the range.
    /// All good bytes before a damaged frame are returned before the error. After an error another call
    /// begins at the same place. Dropping the future loses no bytes.
    ///
    /// Fails with corruption only after a second read agrees, and with corruption, too, when the range
    /// exceeds the payload. Fails with [`ReadError::Unavailable`] when this node never stored the
    /// payload.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Ok(Some(bytes));
            }
            if self.left == 0 {
                return Ok(None);
            }
            self.read_stretch().await?;
        }
    }

    /// Reads and verifies the next frames. Falls back to single frames after a failure, so that the
    /// damaged frame alone is read again and named.
    async fn read_stretch(&mut self) -> Result<(), ReadError> {
        let Some(extent) = self.extents.get(self.index).copied() else {
            return Err(self.too_short().into());
        };
        let handle = self.handle(&extent).await?;
        let end = extent.len.min(self.at.saturating_add(self.left));
        let first = self.at / FRAME_PAYLOAD_MAX;
        let frames = first..end.div_ceil(FRAME_PAYLOAD_MAX).min(first + self.stretch);
        if self.stretch == 1 {
            return self.read_frame(&handle, &extent, first, end).await;
        }
        let Ok(bytes) = handle.read_frames(&extent, &frames).await else {
            // At least one of them cannot be read, so each is tried alone.
            self.stretch = 1;
            return Ok(());
        };
        for index in frames {
            let frame = FrameRef::of(&extent, index);
            let from = ((index - first) * FRAME_BYTES) as usize;
            let Ok(payload) = handle.payload(frame, bytes.slice(from..from + frame.bytes())) else {
                // Good bytes are returned first; the next call reads the bad frame alone.
                self.stretch = 1;
                break;
            };
            self.take(index, payload, end);
        }
        self.skip_extents();
        Ok(())
    }

    /// Reads one frame, twice before it counts as damaged.
    async fn read_frame(
        &mut self,
        handle: &BulkHandle,
        extent: &Extent,
        index: u64,
        end: u64,
    ) -> Result<(), ReadError> {
        let payload = self.bulk.confirmed(|| handle.read_frame(extent, index)).await?;
        self.take(index, payload, end);
        self.skip_extents();
        Ok(())
    }

    /// Takes the wanted part of a frame's verified payload. The range ends at byte `end` of the extent.
    fn take(&mut self, index: u64, payload: Bytes, end: u64) {
        let start = index * FRAME_PAYLOAD_MAX;
        let wanted = (self.at - start) as usize..(end - start).min(payload.len() as u64) as usize;
        self.at += wanted.len() as u64;
        self.left -= wanted.len() as u64;
        self.ready.push_back(payload.slice(wanted));
    }

    /// The corruption of a range that exceeds the payload: the length of an object and its extents
    /// disagree.
    fn too_short(&self) -> Corruption {
        let options = &self.bulk.options;
        let (file, position) = match self.extents.last() {
            Some(last) => (options.path(last.file), last.position),
            None => (options.folder.clone(), 0),
        };
        let detail = format!("the payload ends {} bytes early", self.left);
        Corruption { file: file.to_string(), position, detail }
    }

    /// The handle of an extent's file, kept until the extent has been read. Checks the extent before
    /// any position is computed from it.
    async fn handle(&mut self, extent: &Extent) -> Result<Arc<BulkHandle>, ReadError> {
        if let Some(handle) = &self.handle {
            return Ok(handle.clone());
        }
        if extent.is_missing() {
            return Err(missing(self.bulk.options.partition));
        }
        if let Err(detail) = format::check_extent(extent) {
            let file = self.bulk.options.path(extent.file).to_string();
            return Err(Corruption { file, position: extent.position, detail }.into());
        }
        let handle = self.bulk.handles.get(&self.bulk, extent.file).await?;
        self.handle = Some(handle.clone());
        Ok(handle)
    }
}
