//! Where a query's rows come from: the store, as whoever asks may see it.

use std::sync::Arc;

use compactor::state::Buckets;
use compactor::view::Snapshot;
use ingest::env::Fut;
use ingest::log::{Log, ReadError};

/// All partitions, once they have been caught up with.
pub type FreshPartitions<'a> = Fut<'a, Result<Vec<PartitionView>, ReadError>>;

/// The store in the eyes of one user.
pub trait StoreSource: Send + Sync + 'static {
    /// All partitions with everything that was acknowledged before the call.
    fn fresh(&self) -> FreshPartitions<'_>;

    /// Who asks.
    fn asker(&self) -> &Principal;
}

/// A partition, as one user may see it.
#[derive(Clone)]
pub struct PartitionView {
    /// What is in it, without the buckets that the user may not list: a query cannot name what is not there.
    pub snapshot: Snapshot,
    /// The buckets whose changes the user may follow: those, and for an operator all.
    pub followed: Arc<Buckets>,
    /// Its log, which knows nothing of who may see what.
    pub log: Arc<dyn Log>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The name, for the log of slow queries.
    pub name: String,
    /// The canonical id, as records carry it.
    pub id: String,
    /// Whether the user may see what the store is made of, apart from anybody's objects.
    pub is_operator: bool,
}
