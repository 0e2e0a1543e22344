//! The choices of a store that outcomes depend on.

/// The choices that a store has made once and for all, because outcomes depend on them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreRules {
    /// The smallest part of an upload but the last, in bytes (AWS: 5 MiB).
    pub part_bytes_min: u64,
}

impl Default for StoreRules {
    fn default() -> Self {
        Self { part_bytes_min: 5 << 20 }
    }
}
