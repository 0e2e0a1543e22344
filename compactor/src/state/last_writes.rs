//! The offset of the last write to each bucket. With it the fold decides the deletion of a bucket by comparing
//! two offsets.
//!
//! The deleting request searches the bucket outside the fold and puts the offset of that search into the
//! record. The fold accepts the record only if nothing was written to the bucket since.
//! `docs/decisions/bucket-emptiness.md` gives the reasons.

use std::collections::BTreeMap;

use bytes::Bytes;
use ingest::codec::{DecodeError, Decoder, Encoder};
use ingest::ids::{BucketId, Offset};

use crate::memtable::StateChange;
use crate::state::StateKey;

/// The last write of each bucket. The content follows from the log alone, so all nodes agree. A cut writes the
/// changes to the state table.
#[derive(Clone, Default, Debug)]
pub struct LastWrites {
    by_bucket: BTreeMap<BucketId, LastWrite>,
    /// Buckets that were deleted since the last cut.
    gone: Vec<BucketId>,
}

#[derive(Clone, Copy, Debug)]
struct LastWrite {
    at: Offset,
    /// True if no cut has written this offset yet.
    is_new: bool,
}

impl LastWrites {
    /// Restores a bucket's last write from the value in a state table. Called at a start, before any record is
    /// folded. Fails unless the value is exactly one offset.
    pub fn restore(&mut self, bucket: BucketId, value: Bytes) -> Result<(), DecodeError> {
        let mut from = Decoder::new(value);
        let at = Offset::new(from.u64("offset of a last write")?);
        from.end("end of a last write")?;
        self.by_bucket.insert(bucket, LastWrite { at, is_new: false });
        Ok(())
    }

    /// Records a write to a bucket at an offset. Called by the fold in the order of the log, for each record that
    /// makes or restates a version or a delete marker.
    pub fn note(&mut self, bucket: BucketId, at: Offset) {
        self.by_bucket.insert(bucket, LastWrite { at, is_new: true });
    }

    /// Removes a bucket that a record has deleted. The next cut removes the bucket's key from the state.
    pub fn forget(&mut self, bucket: BucketId) {
        self.by_bucket.remove(&bucket);
        self.gone.push(bucket);
    }

    /// The offset of the last write to a bucket; `None` if the bucket was never written to.
    pub fn of(&self, bucket: BucketId) -> Option<Offset> {
        self.by_bucket.get(&bucket).map(|last| last.at)
    }

    /// Returns the changes since the last cut in key order, and counts them as written. The caller must pass them to
    /// the flush of this cut, since no later call returns them again.
    pub fn freeze(&mut self) -> Vec<StateChange> {
        let new = self.by_bucket.iter_mut().filter(|(_, last)| last.is_new);
        let mut changes: Vec<StateChange> = new
            .map(|(bucket, last)| {
                last.is_new = false;
                let mut value = Encoder::new();
                value.u64(last.at.get());
                (StateKey::last_write(*bucket), Some(value.finish()))
            })
            .collect();
        // Ids of buckets are never reused, so no bucket is in both sets.
        changes.extend(self.gone.drain(..).map(|id| (StateKey::last_write(id), None)));
        changes.sort();
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: BucketId = BucketId::new(1);
    const SECOND: BucketId = BucketId::new(2);

    fn restored(changes: Vec<StateChange>) -> LastWrites {
        let mut writes = LastWrites::default();
        for (key, value) in changes {
            let id = key.0[1..].first_chunk().map(|id| BucketId::new(u64::from_be_bytes(*id)));
            writes.restore(id.unwrap(), value.unwrap()).unwrap();
        }
        writes
    }

    #[test]
    fn a_cut_writes_what_has_changed_since_the_last_one() {
        let mut writes = LastWrites::default();
        assert_eq!(writes.of(FIRST), None);
        writes.note(SECOND, Offset::new(8));
        writes.note(FIRST, Offset::new(7));
        writes.note(FIRST, Offset::new(9));
        let mut after = restored(writes.freeze());
        assert_eq!(after.of(FIRST), Some(Offset::new(9)));
        assert_eq!(after.of(SECOND), Some(Offset::new(8)));
        assert_eq!(writes.freeze(), Vec::new());
        assert_eq!(after.freeze(), Vec::new());
        writes.forget(FIRST);
        writes.note(SECOND, Offset::new(11));
        assert_eq!(writes.of(FIRST), None);
        let changes = writes.freeze();
        assert_eq!(changes[0], (StateKey::last_write(FIRST), None));
        assert_eq!(restored(changes[1..].to_vec()).of(SECOND), Some(Offset::new(11)));
    }

    #[test]
    fn a_value_of_another_length_is_refused() {
        for len in [0, 7, 9] {
            let mut writes = LastWrites::default();
            assert!(writes.restore(FIRST, Bytes::from(vec![1; len])).is_err(), "{len} bytes");
        }
    }
}
