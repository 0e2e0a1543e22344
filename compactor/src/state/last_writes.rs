//! When each bucket was last written to: what makes the deletion of a bucket a comparison of two offsets.
//!
//! Whoever deletes a bucket looks through it outside the fold and tells the offset of that look; the fold then
//! asks only whether anything was written since. `docs/decisions/bucket-emptiness.md` says why.

use std::collections::BTreeMap;

use bytes::Bytes;
use ingest::codec::{DecodeError, Decoder, Encoder};
use ingest::ids::{BucketId, Offset};

use crate::memtable::StateChange;
use crate::state::StateKey;

/// The last write of each bucket. Follows from the log alone, so all nodes agree; carried over cuts in the
/// state run.
#[derive(Clone, Default, Debug)]
pub struct LastWrites {
    by_bucket: BTreeMap<BucketId, LastWrite>,
    /// Buckets that are no more since the last cut.
    gone: Vec<BucketId>,
}

#[derive(Clone, Copy, Debug)]
struct LastWrite {
    at: Offset,
    /// True when the last cut does not have it.
    is_new: bool,
}

impl LastWrites {
    /// Puts a bucket's last write back, as a state run knew it.
    pub fn restore(&mut self, bucket: BucketId, value: Bytes) -> Result<(), DecodeError> {
        let mut from = Decoder::new(value);
        let at = Offset::new(from.u64("offset of a last write")?);
        from.end("end of a last write")?;
        self.by_bucket.insert(bucket, LastWrite { at, is_new: false });
        Ok(())
    }

    /// Notes a write to a bucket.
    pub fn note(&mut self, bucket: BucketId, at: Offset) {
        self.by_bucket.insert(bucket, LastWrite { at, is_new: true });
    }

    /// Forgets a bucket that is no more.
    pub fn forget(&mut self, bucket: BucketId) {
        self.by_bucket.remove(&bucket);
        self.gone.push(bucket);
    }

    /// The offset of the last write to a bucket; none when there never was one.
    pub fn of(&self, bucket: BucketId) -> Option<Offset> {
        self.by_bucket.get(&bucket).map(|last| last.at)
    }

    /// The changes that a cut writes, in order: all since the last one.
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
        // Ids of buckets are not used again, so no bucket is both.
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
