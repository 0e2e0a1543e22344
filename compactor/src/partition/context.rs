//! The parts of a partition that stay the same while it is open, and its counters.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ingest::bulk::BulkFiles;
use ingest::env::Env;
use ingest::ids::{PartitionId, StoreId};
use ingest::log::{Log, ReadError};

use super::options::PartitionOptions;
use crate::layout::PartitionLayout;

/// The environment, the log, the files and the options of one open partition. Every other part holds a
/// reference to it; nothing in it changes, but for the counters.
pub(crate) struct PartitionContext {
    pub env: Env,
    pub log: Arc<dyn Log>,
    pub bulk: Arc<BulkFiles>,
    pub layout: PartitionLayout,
    pub store: StoreId,
    pub id: PartitionId,
    pub options: PartitionOptions,
    pub counters: PartitionCounters,
}

impl PartitionContext {
    /// The error of a read that this node cannot serve now, with the reason.
    pub fn unavailable(&self, reason: String) -> ReadError {
        ReadError::Unavailable { partition: self.id, reason }
    }
}

/// Events since the partition was opened, counted for metrics. Read and written without order.
#[derive(Default, Debug)]
pub struct PartitionCounters {
    /// Records that the log delivered again.
    pub duplicates: AtomicU64,
    /// Records of an older epoch, or out of turn.
    pub rejected: AtomicU64,
    /// Streams of payload under way.
    pub streams: AtomicU64,
    /// Streams that this node had no room for: their payload is missing here.
    pub streams_missing: AtomicU64,
    /// Epochs that this process's writer has opened because it was out of step with the log.
    pub epochs: AtomicU64,
    /// Barriers that reads have waited for.
    pub barriers_met: AtomicU64,
    /// How long these took, in microseconds, together.
    pub barrier_micros: AtomicU64,
    /// Cuts whose digests differed without a majority.
    pub digest_splits: AtomicU64,
    /// Entries and state values that the fold has looked at to decide outcomes.
    pub prior_looked_at: AtomicU64,
}
