//! The options of a partition, which do not change while it is open.

use std::time::Duration;

use ingest::ids::NodeId;

use crate::apply::StoreRules;
use crate::catalog;

/// The options of a partition.
#[derive(Clone, Debug)]
pub struct PartitionOptions {
    /// The rules on which outcomes depend; they must be equal on all nodes.
    pub rules: StoreRules,
    /// The limits at which the cutter requests a cut.
    pub cut: CutPolicy,
    /// The policy by which runs are chosen for a merge.
    pub compaction: CompactionPolicy,
    /// The number of runs of one level that are merged into one run of the next level.
    pub merge_fan_in: usize,
    /// The largest number of merges at the same time.
    pub merges_max: usize,
    /// The longest time that a write waits for flushes that lag behind.
    pub overload_wait: Duration,
    /// The longest time that a write waits for its outcome. After that it fails with an unknown outcome.
    pub write_wait: Duration,
    /// The consistency of reads.
    pub reads: ReadConsistency,
    /// The longest time that a read waits for the last acknowledged record.
    pub read_wait: Duration,
    /// True if a published cut trims the log below it. Must be false where other nodes fold the same log.
    pub trims: bool,
    /// The destination of large payload.
    pub payload: PayloadRoute,
    /// The identity of this node in a cluster; `None` outside a cluster.
    pub node: Option<ThisNode>,
    /// Bytes of the device that are reserved for flushes, merges and deletes. With less free space, writes
    /// that make the store larger are refused.
    pub reserve_bytes: u64,
    /// The largest number of segments, of runs, and of bulk files. From half of it on warnings are logged.
    /// From nine tenths on writes that make the store larger are refused, so that flushes, merges and
    /// deletes have room.
    pub files_max: usize,
}

/// The limits at which the cutter requests a cut; the first one that is reached counts.
#[derive(Clone, Copy, Debug)]
pub struct CutPolicy {
    /// The memtable's estimated bytes, inline payload included.
    pub bytes: u64,
    /// The memtable's entries, state changes included.
    pub entries: usize,
    /// The time since the memtable became non-empty.
    pub age: Duration,
    /// Records of any kind since the last cut, all of which a start replays.
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

/// The consistency of reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReadConsistency {
    /// Linearizable, since one process writes the log, and applies each record before the acknowledgement.
    #[default]
    Applied,
    /// Linearizable in a cluster, by a barrier in the log before the read.
    Barrier,
    /// As new as the end of the log that some broker reports. Cheaper than a barrier, and *stale* if that
    /// broker has been replaced without its knowledge.
    HighWatermark,
}

/// The destination of large payload before the record that names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PayloadRoute {
    /// Bulk files, made durable on this machine. Only for logs that one machine's disk makes durable.
    Bulk,
    /// The log, in pieces that consist of whole frames of a bulk file.
    Log {
        /// The length of a piece in bytes.
        piece_bytes: usize,
    },
}

/// The identity of this node in a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThisNode {
    /// The node's id, unique in the cluster.
    pub id: NodeId,
    /// True if this data directory has held the id before.
    pub held_before: bool,
}

/// The largest number of frozen memtables that wait for their flush; with more, writes wait too.
pub const FROZEN_MAX: usize = 2;
