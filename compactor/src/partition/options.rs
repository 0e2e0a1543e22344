//! Options of a partition: fixed from its opening on.

use std::time::Duration;

use ingest::ids::NodeId;

use crate::apply::StoreRules;
use crate::catalog;

/// How a partition is run.
#[derive(Clone, Debug)]
pub struct PartitionOptions {
    /// What outcomes hang on.
    pub rules: StoreRules,
    /// When a cut is made by itself.
    pub cut: CutPolicy,
    /// The policy by which runs are chosen for a merge.
    pub compaction: CompactionPolicy,
    /// Runs of one level that are merged into one of the next.
    pub merge_fan_in: usize,
    /// Merges that may run at the same time.
    pub merges_max: usize,
    /// For how long a write waits for cuts that lag behind.
    pub overload_wait: Duration,
    /// For how long a write waits for its outcome; then it is told that nobody knows.
    pub write_wait: Duration,
    /// What reads promise.
    pub reads: ReadConsistency,
    /// For how long a read waits to learn what was written last.
    pub read_wait: Duration,
    /// Whether a cut that has been sealed here lets go of the log below it: where no other node folds it.
    pub trims: bool,
    /// Where large payload goes.
    pub payload: PayloadRoute,
    /// Which node of a cluster this is, if it is one.
    pub node: Option<ThisNode>,
    /// Bytes of the device that are kept for cuts, merges and deletes: with fewer free, what makes the
    /// store larger is refused.
    pub reserve_bytes: u64,
    /// Most segments, runs or bulk files, of each. From half of them on it is said; from nine tenths on what
    /// makes the store larger is refused, so that cuts, merges and deletes have room.
    pub files_max: usize,
}

/// When a cut is made by itself: at the first of these.
#[derive(Clone, Copy, Debug)]
pub struct CutPolicy {
    /// The memtable stands for so many bytes.
    pub bytes: u64,
    /// The memtable holds so many entries.
    pub entries: usize,
    /// The memtable has held something for so long.
    pub age: Duration,
    /// So many records stand above the last cut, whatever they are: a start replays them.
    pub records: u64,
}

/// The policy by which runs are chosen for a merge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CompactionPolicy {
    /// Neighbours of one level become one run of the next as soon as there are
    /// [`PartitionOptions::merge_fan_in`] of them.
    #[default]
    Levels,
    /// Runs are merged by request only. Their number, and with it the cost of a read, grows with each flush.
    Manual,
}

impl Default for CutPolicy {
    fn default() -> Self {
        Self { bytes: 64 << 20, entries: 200_000, age: Duration::from_secs(60), records: 1_000_000 }
    }
}

impl Default for PartitionOptions {
    fn default() -> Self {
        Self {
            rules: StoreRules::default(),
            cut: CutPolicy::default(),
            compaction: CompactionPolicy::Levels,
            merge_fan_in: 4,
            merges_max: 2,
            overload_wait: Duration::from_secs(20),
            write_wait: Duration::from_secs(60),
            reads: ReadConsistency::Applied,
            read_wait: Duration::from_secs(5),
            trims: true,
            payload: PayloadRoute::Bulk,
            node: None,
            reserve_bytes: 0,
            files_max: catalog::LIST_MAX,
        }
    }
}

/// What a read promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReadConsistency {
    /// Linearizable, since one process writes the log and applies before it acknowledges.
    #[default]
    Applied,
    /// Linearizable, by a barrier.
    Barrier,
    /// As new as the end of the log that some broker believes in. Cheaper, and *stale* where that broker
    /// has been deposed without knowing it.
    HighWatermark,
}

/// Where large payload goes before the record that names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PayloadRoute {
    /// To bulk files, made durable here: where this machine's disk is what makes writes durable.
    Bulk,
    /// Into the log, in pieces of so many bytes (whole frames of a bulk file).
    Log {
        /// Bytes of a piece.
        piece_bytes: usize,
    },
}

/// Which node this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThisNode {
    /// Its id.
    pub id: NodeId,
    /// Whether this data directory has held the id before.
    pub held_before: bool,
}

/// At most so many frozen memtables wait to be sealed; then writes wait too.
pub const FROZEN_MAX: usize = 2;
