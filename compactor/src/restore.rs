//! Restores the state that the fold holds in memory beside the memtable, from the state tables of a
//! catalog.

use ingest::ids::{BucketId, StreamId, WriterId};
use ingest::log::ReadError;

use crate::lookup::states;
use crate::state::{
    BucketState, Buckets, EventQueues, LastWrites, StateKey, StreamState, WriterState, WriterStates,
};
use crate::view::Snapshot;

/// Buckets, writers, open streams, last writes and queues of events. Uploads, parts and events are read from the state tables when
/// they are needed.
#[derive(Default)]
pub(crate) struct RestoredState {
    pub buckets: Buckets,
    pub writers: WriterStates,
    pub streams: Vec<(StreamId, StreamState)>,
    pub last_writes: LastWrites,
    pub events: EventQueues,
}

/// The error of reading state tables.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    /// A state table cannot be read; see [`ReadError::is_transient`] for the use of a retry.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A state entry cannot be decoded. A retry does not help.
    #[error("{0} in a state run")]
    Undecodable(String),
}

/// Reads the state that a snapshot contains, in key order. Called at a start, before replay, by the fold
/// and by [`crate::refold`]. Fails if a state table cannot be read or an entry cannot be decoded.
pub(crate) async fn restore(snapshot: &Snapshot) -> Result<RestoredState, RestoreError> {
    let mut restored = RestoredState::default();
    let undecodable = |what: &str, error: ingest::codec::DecodeError| {
        RestoreError::Undecodable(format!("{what}: {error}"))
    };
    for (_, value) in states(snapshot, StateKey::BUCKETS, b"c", usize::MAX).await? {
        let bucket = BucketState::decode(value).map_err(|e| undecodable("a bucket", e))?;
        restored.buckets.insert(bucket);
    }
    for (key, value) in states(snapshot, StateKey::STREAMS, b"e", usize::MAX).await? {
        let state = StreamState::decode(value).map_err(|e| undecodable("a stream", e))?;
        restored.streams.push((StreamId(id_in(&key, "a stream")?), state));
    }
    for (key, value) in states(snapshot, StateKey::LAST_WRITES, b"m", usize::MAX).await? {
        let bucket = BucketId::new(u64::from_be_bytes(id_in(&key, "a last write")?));
        let taken = restored.last_writes.restore(bucket, value);
        taken.map_err(|e| undecodable("a last write", e))?;
    }
    for (key, value) in states(snapshot, StateKey::EVENT_QUEUES, b"n", usize::MAX).await? {
        let name = std::str::from_utf8(&key.0[StateKey::EVENT_QUEUES.len()..]);
        let name =
            name.map_err(|e| RestoreError::Undecodable(format!("a queue of events: {e}")))?;
        let taken = restored.events.restore(name, value);
        taken.map_err(|e| undecodable("a queue of events", e))?;
    }
    for (key, value) in states(snapshot, StateKey::WRITERS, b"x", usize::MAX).await? {
        let state = WriterState::decode(value).map_err(|e| undecodable("a writer", e))?;
        restored.writers.restore(WriterId(id_in(&key, "a writer")?), state);
    }
    Ok(restored)
}

/// Returns the id behind the letter with which a state key begins.
fn id_in<const N: usize>(key: &StateKey, what: &str) -> Result<[u8; N], RestoreError> {
    let id = key.0.get(1..).and_then(|id| <[u8; N]>::try_from(id).ok());
    id.ok_or_else(|| RestoreError::Undecodable(format!("{what}: the key has another length")))
}
