//! Faults to inject into a disk.

use ingest::env::FilePath;

/// The kind of operation that a fault meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskOperation {
    /// Opening a file.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Syncing a file.
    Sync,
    /// Syncing a folder.
    SyncFolder,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
    /// Reserving space.
    Allocate,
    /// Returning space.
    Discard,
    /// Listing a folder, making one, or requesting a length or the free space.
    Look,
}

/// The effect of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// The operation fails with an I/O error. A failed sync leaves its bytes in doubt, and later syncs
    /// report success.
    Error,
    /// A sync reports success without any effect.
    LyingSync,
    /// A write goes to another place in the same file, this number of bytes further.
    Misdirect(u64),
    /// A write reports success without any effect.
    Stale,
    /// The operation fails without any effect, because handles or memory have run out.
    Exhausted,
    /// A read returns other bytes than are stored. A second read returns the right ones.
    Garbled,
}

/// A fault to inject.
#[derive(Clone, Debug)]
pub struct DiskFault {
    /// The operation that it meets.
    pub operation: DiskOperation,
    /// A part of the path that the fault meets; empty for all paths.
    pub path: String,
    /// Number of such operations that succeed before.
    pub after: u64,
    /// Number of operations that the fault meets after those.
    pub times: u64,
    /// The effect.
    pub kind: FaultKind,
    /// Number of operations that the fault has met.
    pub shown: u64,
}

impl DiskFault {
    /// A fault that meets exactly one operation, after `after` others of the same kind and path have
    /// succeeded.
    pub fn once(operation: DiskOperation, path: &str, after: u64, kind: FaultKind) -> Self {
        Self { operation, path: path.into(), after, times: 1, kind, shown: 0 }
    }

    /// Returns true if the fault meets this operation, and counts it. Must be called once for every
    /// operation issued, in order.
    pub(super) fn meets(&mut self, operation: DiskOperation, path: &FilePath) -> bool {
        if self.operation != operation || !path.as_str().contains(&self.path) {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        if self.shown == self.times {
            return false;
        }
        self.shown += 1;
        true
    }
}
