//! Seeded randomness: SplitMix64 (Steele, Lea, Flood 2014), which is small and good enough to choose
//! schedules and faults.

use ingest::env::Random;
use parking_lot::Mutex;

/// A seeded stream of numbers.
pub struct SimRandom(Mutex<u64>);

impl SimRandom {
    /// Starts a stream. The same seed always gives the same numbers, in the order in which they are
    /// drawn.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// A number below `bound`. Returns 0 when `bound` is 0, and only then without drawing from the
    /// stream.
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// Returns `true` with a probability of `percent` in a hundred. Always draws one number, even for 0
    /// and 100, so that the order of draws stays the same.
    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

impl Random for SimRandom {
    fn next(&self) -> u64 {
        let mut state = self.0.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
