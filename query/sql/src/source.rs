//! Where a query's rows come from: the store, as whoever asks may see it.

use compactor::view::Snapshot;
use ingest::env::Fut;
use ingest::log::ReadError;

/// The store in the eyes of one user.
pub trait Source: Send + Sync + 'static {
    /// Snapshots of all partitions with everything that was acknowledged before the call, and without the
    /// buckets that the user may not list: a query cannot name what is not there.
    fn fresh(&self) -> Fut<'_, Result<Vec<Snapshot>, ReadError>>;

    /// Who asks, for the log of slow queries.
    fn asker(&self) -> &str;

    /// Whether the user may see what the store is made of, apart from anybody's objects.
    fn is_operator(&self) -> bool;
}
