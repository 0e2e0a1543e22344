//! What the fold holds in memory beside the memtable, as the state runs of a catalog tell it.

use ingest::ids::{BucketId, StreamId, WriterId};
use ingest::log::ReadError;

use crate::lookup::states;
use crate::state::{
    BucketState, Buckets, LastWrites, StateKey, StreamState, WriterState, WriterStates,
};
use crate::view::Snapshot;

/// Buckets, writers, streams and last writes. Uploads stay where they are.
#[derive(Default)]
pub(crate) struct RestoredState {
    pub buckets: Buckets,
    pub writers: WriterStates,
    pub streams: Vec<(StreamId, StreamState)>,
    pub last_writes: LastWrites,
}

/// State runs could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0} in a state run")]
    Undecodable(String),
}

/// Reads the state runs below a snapshot.
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
    for (key, value) in states(snapshot, StateKey::WRITERS, b"x", usize::MAX).await? {
        let state = WriterState::decode(value).map_err(|e| undecodable("a writer", e))?;
        restored.writers.restore(WriterId(id_in(&key, "a writer")?), state);
    }
    Ok(restored)
}

/// The id behind the letter of a state key.
fn id_in<const N: usize>(key: &StateKey, what: &str) -> Result<[u8; N], RestoreError> {
    let id = key.0.get(1..).and_then(|id| <[u8; N]>::try_from(id).ok());
    id.ok_or_else(|| RestoreError::Undecodable(format!("{what}: the key has another length")))
}
