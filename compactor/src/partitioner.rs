//! Which partition a bucket lives in.
//!
//! It follows from the bucket's name and from how many partitions there are, which never changes. So no
//! table has to be kept, every node gives the same answer, and whether a bucket of a name exists is
//! decided in one log.

use ingest::ids::PartitionId;

/// The partition of the bucket with a name, among so many.
///
/// Panics without partitions.
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
