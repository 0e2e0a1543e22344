//! The parts of a partition that do not change while it is open, and its counters.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ingest::bulk::BulkFiles;
use ingest::env::Env;
use ingest::ids::{PartitionId, StoreId};
use ingest::log::{Log, ReadError};

use super::options::PartitionOptions;
use crate::layout::PartitionLayout;

/// The environment, the log, the files and the options of one open partition, shared by all of its parts.
/// Only the counters change.
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
    /// Makes the error of a read that this node cannot serve at present, with the reason. A retry may help,
    /// here or on another node.
    pub fn unavailable(&self, reason: String) -> ReadError {
        ReadError::Unavailable { partition: self.id, reason }
    }
}

/// Counters of events since the partition was opened, for metrics. Read and written with relaxed order.
#[derive(Default, Debug)]
pub struct PartitionCounters {
    /// Records that the log delivered again, and that were not applied again.
    pub duplicates: AtomicU64,
    /// Records that were rejected because of an older epoch or a gap in their numbers.
    pub rejected: AtomicU64,
    /// Open streams of payload.
    pub streams: AtomicU64,
    /// Streams for which this node had no room: their payload is missing here.
    pub streams_missing: AtomicU64,
    /// Epochs that this process's writer has opened because it was out of step with the log.
    pub epochs: AtomicU64,
    /// Barriers for which reads have waited.
    pub barriers_met: AtomicU64,
    /// The total time of these barriers, in microseconds.
    pub barrier_micros: AtomicU64,
    /// Cuts whose digests differed without a majority.
    pub digest_splits: AtomicU64,
    /// Entries and state values that the fold has read in order to decide outcomes.
    pub prior_looked_at: AtomicU64,
}
