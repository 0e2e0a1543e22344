//! The disk, as the core sees it: files under one data directory, with syncs as separate steps.
//!
//! Durability, exactly: bytes written are durable after a [`File::sync`] that *began after* the write
//! ended has succeeded; a name (created, renamed, removed) is durable after a [`Disk::sync_folder`] of
//! its folder likewise. Until then a crash may keep, lose, tear or reorder any of it. A failed sync
//! leaves what it covered in an unknown state for ever: never retry it as if nothing had happened.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Fut;

/// A file's or folder's place below the data directory: `/`-separated names of `a-z 0-9 . _ -`.
///
/// Clients' keys never become paths.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(Arc<str>);

impl FilePath {
    /// Checks the names; panics on others, since paths are made by our own code only.
    pub fn new(path: impl AsRef<str>) -> Self {
        let path = path.as_ref();
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let good = path.split('/').all(|name| {
            !name.is_empty() && name != "." && name != ".." && name.bytes().all(allowed)
        });
        assert!(good, "a path below the data directory has odd names: {path:?}");
        Self(path.into())
    }

    /// The path of `name` in this folder.
    #[must_use]
    pub fn join(&self, name: impl AsRef<str>) -> Self {
        Self::new(format!("{}/{}", self.0, name.as_ref()))
    }

    /// The folder that holds this; `None` for a name directly below the data directory.
    pub fn folder(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(folder, _)| Self(folder.into()))
    }

    /// The last name.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file, for reading and writing; fails when it exists.
    Create,
}

/// What went wrong, as far as a caller may act on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskErrorKind {
    /// There is no such file or folder.
    NotFound,
    /// The file exists already.
    Exists,
    /// The device is full. Free space and try again.
    NoSpace,
    /// The file ended before the bytes asked for.
    ShortRead,
    /// Something of this process or machine has run out for now: file handles, memory, threads. Nothing was
    /// done, and the bytes are as good as before: try again.
    Exhausted,
    /// The system would not do it, for a reason that says nothing of the bytes: rights, a device that is gone,
    /// an error that this code does not know. Somebody may have to mend it; trying again does no harm.
    Refused,
    /// The device or the file system says that it cannot give these bytes, or has not kept them. A read that
    /// fails so twice is damage. After a failed sync the bytes it covered are in doubt for ever.
    Io,
}

impl DiskErrorKind {
    /// Tells whether the error says something of the bytes that were to be read: they are not there, or the
    /// device cannot give them. Any other error is "not now", and never damage.
    pub fn is_of_the_bytes(self) -> bool {
        match self {
            DiskErrorKind::NotFound | DiskErrorKind::ShortRead | DiskErrorKind::Io => true,
            DiskErrorKind::Exists
            | DiskErrorKind::NoSpace
            | DiskErrorKind::Exhausted
            | DiskErrorKind::Refused => false,
        }
    }
}

/// A disk operation failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{operation} {path}: {detail}")]
pub struct DiskError {
    /// What a caller may act on.
    pub kind: DiskErrorKind,
    /// The operation, as a verb.
    pub operation: &'static str,
    /// The file or folder.
    pub path: FilePath,
    /// What the system said.
    pub detail: String,
}

/// The files of one data directory.
pub trait Disk: Send + Sync {
    /// Opens a file.
    fn open<'a>(
        &'a self,
        path: &'a FilePath,
        how: OpenMode,
    ) -> Fut<'a, Result<Arc<dyn File>, DiskError>>;

    /// Renames a file, replacing what has the new name. Atomic for readers; durable after the folders
    /// are synced.
    fn rename<'a>(&'a self, from: &'a FilePath, to: &'a FilePath)
    -> Fut<'a, Result<(), DiskError>>;

    /// Removes a file. Open handles go on reading it.
    fn remove<'a>(&'a self, path: &'a FilePath) -> Fut<'a, Result<(), DiskError>>;

    /// Makes a folder and those above it; content if it exists. The caller syncs the folders above.
    fn create_folder<'a>(&'a self, path: &'a FilePath) -> Fut<'a, Result<(), DiskError>>;

    /// The files (not the folders) in a folder, sorted by name, each with its length.
    /// [`DiskErrorKind::NotFound`] when there is no such folder.
    fn list<'a>(&'a self, folder: &'a FilePath)
    -> Fut<'a, Result<Vec<(FilePath, u64)>, DiskError>>;

    /// Makes the names in a folder durable; `None` is the data directory itself.
    fn sync_folder<'a>(&'a self, folder: Option<&'a FilePath>) -> Fut<'a, Result<(), DiskError>>;

    /// Bytes that may still be written.
    fn free_bytes(&self) -> Fut<'_, Result<u64, DiskError>>;
}

/// An open file. Operations may run at once; they take effect in any order unless awaited in turn.
/// An operation is submitted when it is called; dropping its future does not undo it.
#[expect(clippy::len_without_is_empty, reason = "a length is asked of the device, and may fail")]
pub trait File: Send + Sync {
    /// The path it was opened by.
    fn path(&self) -> &FilePath;

    /// The length in bytes.
    fn len(&self) -> Fut<'_, Result<u64, DiskError>>;

    /// Reads exactly `len` bytes at `position`; [`DiskErrorKind::ShortRead`] when the file ends before.
    fn read_at(&self, position: u64, len: usize) -> Fut<'_, Result<Bytes, DiskError>>;

    /// Writes all bytes at `position`, extending the file when needed.
    fn write_at(&self, position: u64, bytes: Bytes) -> Fut<'_, Result<(), DiskError>>;

    /// Reserves space for a range, so that writes to it cannot meet [`DiskErrorKind::NoSpace`]. The
    /// length becomes at least the range's end; new bytes read as zeros, and those below the range that
    /// were never reserved take no space.
    fn allocate(&self, range: Range<u64>) -> Fut<'_, Result<(), DiskError>>;

    /// Gives the space of a range back whose bytes nobody needs any more. From now on it reads as zeros,
    /// or as before where the device cannot give back or loses its power; the length stays.
    fn discard(&self, range: Range<u64>) -> Fut<'_, Result<(), DiskError>>;

    /// Gives the space back that is reserved and was never written; what can be read stays as it is. For
    /// a file that nobody writes.
    fn discard_unwritten(&self) -> Fut<'_, Result<(), DiskError>>;

    /// Makes everything written before durable (data and length, as `fdatasync` does).
    fn sync(&self) -> Fut<'_, Result<(), DiskError>>;

    /// Writes, then syncs: one trip in production, two crash points in simulation.
    fn write_synced(&self, position: u64, bytes: Bytes) -> Fut<'_, Result<(), DiskError>>;
}
