//! Faults to inject.

use ingest::env::FilePath;

/// What kind of operation a fault meets.
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
    /// Giving space back.
    Discard,
    /// Listing a folder, asking for a length.
    Look,
}

/// What a fault does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// The operation fails with an I/O error. A failed sync leaves its bytes in doubt, and later syncs
    /// report success.
    Error,
    /// A sync reports success and has done nothing.
    LyingSync,
    /// A write goes to another place in the same file, so many bytes further.
    Misdirect(u64),
    /// A write reports success and leaves what was there.
    Stale,
    /// The operation fails since handles or memory have run out; nothing is done.
    Exhausted,
    /// A read gives other bytes than are there. Read again, they are right.
    Garbled,
}

/// A fault to inject.
#[derive(Clone, Debug)]
pub struct DiskFault {
    /// The operation that it meets.
    pub operation: DiskOperation,
    /// Part of the path that it meets; empty for all.
    pub path: String,
    /// How many such operations go well before.
    pub after: u64,
    /// How many it meets then.
    pub times: u64,
    /// What it does.
    pub kind: FaultKind,
    /// How many it has met.
    pub shown: u64,
}

impl DiskFault {
    /// Meets one operation after so many went well.
    pub fn once(operation: DiskOperation, path: &str, after: u64, kind: FaultKind) -> Self {
        Self { operation, path: path.into(), after, times: 1, kind, shown: 0 }
    }

    /// Says whether it meets this operation.
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
