//! The seam between queries and the store: partitions as one principal may see them.

use std::sync::Arc;

use compactor::state::Buckets;
use compactor::view::Snapshot;
use ingest::env::Fut;
use ingest::log::{Log, ReadError};

/// The views of all partitions, once each contains everything that was acknowledged before the call.
pub type FreshPartitions<'a> = Fut<'a, Result<Vec<PartitionView>, ReadError>>;

/// The store as one principal may see it.
pub trait StoreSource: Send + Sync + 'static {
    /// Returns a view of every partition that contains everything acknowledged before the call.
    ///
    /// Fails with [`ReadError::Unavailable`] if a partition cannot be read at present; a stale view must never
    /// be returned. May be cancelled.
    fn fresh(&self) -> FreshPartitions<'_>;

    /// Returns the principal on whose behalf queries run; must be the same for every call.
    fn asker(&self) -> &Principal;
}

/// A partition as one principal may see it.
#[derive(Clone)]
pub struct PartitionView {
    /// The snapshot, whose list of buckets contains only those that the principal may list. Queries reach data
    /// by the names in this list alone.
    pub snapshot: Snapshot,
    /// The buckets whose changes the principal may see: those of the snapshot, and for an operator all.
    pub followed: Arc<Buckets>,
    /// The partition's log, which has no access control: readers must filter its records.
    pub log: Arc<dyn Log>,
}

/// The user on whose behalf a query runs.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The name, for log messages.
    pub name: String,
    /// The canonical id, as records contain it.
    pub id: String,
    /// True if the user may see how the store is made, apart from any user's objects.
    pub is_operator: bool,
}
