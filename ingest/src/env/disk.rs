//! The disk, as the core uses it: files under one data directory, with syncs as separate steps.
//!
//! Durability, exactly: bytes written are durable after a [`File::sync`] that *began after* the write
//! ended has succeeded; a name (created, renamed, removed) is durable after a [`Disk::sync_folder`] of
//! its folder likewise. Until then a crash may keep, lose, tear or reorder any of it. A failed sync
//! leaves the bytes that it covered in an unknown state for ever: never retry it as if nothing had
//! happened.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Fut;
use crate::place::Place;

/// The path of a file or folder below the data directory: `/`-separated names of `a-z 0-9 . _ -`.
///
/// Keys of clients never become paths.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(Arc<str>);

impl FilePath {
    /// Checks the names. Panics on an empty name, `.`, `..` and any other character, since only this
    /// program's own code makes paths.
    pub fn new(path: impl AsRef<str>) -> Self {
        let path = path.as_ref();
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let good = path.split('/').all(|name| {
            !name.is_empty() && name != "." && name != ".." && name.bytes().all(allowed)
        });
        assert!(good, "a path below the data directory has odd names: {path:?}");
        Self(path.into())
    }

    /// The path of `name` in this folder. Panics when the name has characters that a path must not
    /// have.
    #[must_use]
    pub fn join(&self, name: impl AsRef<str>) -> Self {
        Self::new(format!("{}/{}", self.0, name.as_ref()))
    }

    /// The folder that contains this path; `None` for a name directly below the data directory, whose
    /// folder is that directory itself.
    pub fn folder(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(folder, _)| Self(folder.into()))
    }

    /// The last name of the path, without the folders before it.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// Returns the place to which a file or folder with this path belongs.
    pub fn place(&self) -> Place {
        match self.0.split('/').next() {
            Some(Place::FOLDER) => Place::Cold,
            _ => Place::Hot,
        }
    }

    /// Returns the path in a place that corresponds to this path in the hot place.
    #[must_use]
    pub fn within(&self, place: Place) -> Self {
        match place {
            Place::Hot => self.clone(),
            Place::Cold => Self::new(Place::FOLDER).join(self.as_str()),
        }
    }

    /// The path as text, with `/` between the names in their order, relative to the data directory.
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

/// The access with which a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file, for reading and writing; fails when it exists.
    Create,
}

/// The kind of a disk error, as far as callers act differently on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskErrorKind {
    /// There is no such file or folder.
    NotFound,
    /// The file exists already.
    Exists,
    /// The device, or a quota, is full. A retry helps once space is free.
    NoSpace,
    /// The file ended before the requested bytes.
    ShortRead,
    /// A resource of this process or machine has run out for now: file handles, memory, threads.
    /// Nothing was done, and the bytes are as good as before. A retry helps.
    Exhausted,
    /// The system refused the operation for a reason unrelated to the bytes: rights, a missing
    /// device, an error that this code does not know. A person may have to repair it; a retry does no
    /// harm.
    Refused,
    /// The device or the file system cannot deliver these bytes, or has not kept them. Damage, if a
    /// second read fails as well. After a failed sync the bytes that it covered are in doubt for ever.
    Io,
}

impl DiskErrorKind {
    /// Returns true only for an error about the bytes to be read: they are missing,
    /// or the device cannot deliver them. Any other error means "not now" and must never be reported as
    /// damage.
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

/// An error of a disk operation.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{operation} {path}: {detail}")]
pub struct DiskError {
    /// The kind, on which a caller may act.
    pub kind: DiskErrorKind,
    /// The operation, as a verb.
    pub operation: &'static str,
    /// The file or folder.
    pub path: FilePath,
    /// The message of the system.
    pub detail: String,
}

/// The files of one data directory. Operations may run at once, in any order unless awaited in turn. An
/// operation is submitted when the method is called; dropping its future does not undo it.
pub trait Disk: Send + Sync {
    /// Opens a file. Fails with [`DiskErrorKind::NotFound`] when an existing file or its folder is
    /// missing, and with [`DiskErrorKind::Exists`] when a new file would replace one. A new file's name
    /// is durable only after [`Disk::sync_folder`].
    fn open<'a>(
        &'a self,
        path: &'a FilePath,
        how: OpenMode,
    ) -> Fut<'a, Result<Arc<dyn File>, DiskError>>;

    /// Renames a file, and replaces the file with the new name, if any. Atomic for readers; durable
    /// only after both folders are synced. Fails with [`DiskErrorKind::NotFound`] when there is no such
    /// file.
    fn rename<'a>(&'a self, from: &'a FilePath, to: &'a FilePath)
    -> Fut<'a, Result<(), DiskError>>;

    /// Removes a file. Open handles can still read it. Durable only after its folder is synced: before
    /// that, a crash may bring the file back. Fails with [`DiskErrorKind::NotFound`] when there is no
    /// such file.
    fn remove<'a>(&'a self, path: &'a FilePath) -> Fut<'a, Result<(), DiskError>>;

    /// Makes a folder and those above it; succeeds when it exists already. The caller must sync the
    /// folders above.
    fn create_folder<'a>(&'a self, path: &'a FilePath) -> Fut<'a, Result<(), DiskError>>;

    /// The files (not the folders) in a folder, sorted by name, each with its length in bytes. Files
    /// whose names cannot be a [`FilePath`] are left out. Fails with [`DiskErrorKind::NotFound`] when
    /// there is no such folder.
    fn list<'a>(&'a self, folder: &'a FilePath)
    -> Fut<'a, Result<Vec<(FilePath, u64)>, DiskError>>;

    /// Makes all changes of names in a folder durable that ended before this call; `None` is the data
    /// directory itself. After an error the names that it covered are in doubt.
    fn sync_folder<'a>(&'a self, folder: Option<&'a FilePath>) -> Fut<'a, Result<(), DiskError>>;

    /// Bytes that may still be written to the device of a place. Other writers may take them before the
    /// caller does. Fails with [`DiskErrorKind::Refused`] when the cold place has vanished.
    fn free_bytes(&self, place: Place) -> Fut<'_, Result<u64, DiskError>>;
}

/// An open file. Operations may run at once, and take effect in any order unless awaited in turn. An
/// operation is submitted when the method is called; dropping its future does not undo it.
#[expect(clippy::len_without_is_empty, reason = "a length is asked of the device, and may fail")]
pub trait File: Send + Sync {
    /// The path with which the file was opened. Not updated by a later rename.
    fn path(&self) -> &FilePath;

    /// The present length in bytes, as the system reports it.
    fn len(&self) -> Fut<'_, Result<u64, DiskError>>;

    /// Reads exactly `len` bytes at `position`. Fails with [`DiskErrorKind::ShortRead`] when the file
    /// ends before.
    fn read_at(&self, position: u64, len: usize) -> Fut<'_, Result<Bytes, DiskError>>;

    /// Writes all bytes at `position`, and extends the file when necessary. Durable only after a sync.
    /// After an error any part of the range may have been written.
    fn write_at(&self, position: u64, bytes: Bytes) -> Fut<'_, Result<(), DiskError>>;

    /// Reserves blocks for a range, so that writes to it do not fail with [`DiskErrorKind::NoSpace`],
    /// where the file system can reserve. The length becomes at least the range's end. New bytes read
    /// as zeros; those below the range that were never reserved take no space.
    fn allocate(&self, range: Range<u64>) -> Fut<'_, Result<(), DiskError>>;

    /// Returns the blocks of a range whose bytes are no longer needed. From then on the range reads
    /// as zeros, or as before where the device cannot return blocks or loses power. The length stays.
    fn discard(&self, range: Range<u64>) -> Fut<'_, Result<(), DiskError>>;

    /// Returns blocks that are reserved and were never written; bytes that can be read stay unchanged.
    /// Only for a file that is not being written.
    fn discard_unwritten(&self) -> Fut<'_, Result<(), DiskError>>;

    /// Makes all writes durable that ended before this call: data and length, as `fdatasync` does.
    /// After an error the covered bytes are in doubt for ever, and a retry that succeeds proves
    /// nothing.
    fn sync(&self) -> Fut<'_, Result<(), DiskError>>;

    /// Writes, then syncs: one job in production, two crash points in the simulation. Durable on
    /// success; on an error the rules of [`File::write_at`] and [`File::sync`] hold.
    fn write_synced(&self, position: u64, bytes: Bytes) -> Fut<'_, Result<(), DiskError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_its_place() {
        for hot in ["p0000/segments/0000000001.seg", "log-0000.mark", "p0000/cold", "colder/x"] {
            let hot = FilePath::new(hot);
            for place in Place::ALL {
                assert_eq!(hot.within(place).place(), place, "{hot}");
            }
        }
        assert_eq!(FilePath::new("cold").place(), Place::Cold);
        let file = FilePath::new("p0000/bulk/1").within(Place::Cold);
        assert_eq!(file.as_str(), "cold/p0000/bulk/1");
    }
}
