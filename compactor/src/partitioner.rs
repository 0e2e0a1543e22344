//! The partition of each bucket.
//!
//! The partition follows from the bucket's name and the number of partitions, which never changes. No table
//! is needed, every node computes the same result, and one log decides if a bucket with a name exists.

use ingest::ids::PartitionId;

/// Returns the partition of the bucket with a name, in a store with the given number of partitions. The
/// result must never change between versions.
///
/// Panics if `partitions` is 0.
pub fn home(bucket: &str, partitions: u32) -> PartitionId {
    assert!(partitions > 0, "a store has partitions");
    let hash = xxhash_rust::xxh3::xxh3_64(bucket.as_bytes());
    PartitionId::new((hash % u64::from(partitions)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_stays_where_it_is() {
        // Pinned: another answer would lose every bucket of a store.
        let homes: Vec<u32> =
            ["alpha", "beta", "gamma", "delta"].iter().map(|name| home(name, 8).get()).collect();
        assert_eq!(homes, [2, 1, 6, 0]);
        assert!(["alpha", "beta"].iter().all(|name| home(name, 1) == PartitionId::ZERO));
    }
}
