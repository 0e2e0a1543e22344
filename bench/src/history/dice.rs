//! Seeded choices: SplitMix64, one stream for each client.

use crate::object::mix;

/// A stream of numbers that is determined by its seed.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    /// Starts a stream; equal seeds result in equal streams, in the same order.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// Returns the next number of the stream, which may be any `u64`. Every other choice is made of such
    /// numbers.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    /// Returns a number below `bound`; 0 if `bound` is 0, in which case the stream does not advance.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.roll() % bound }
    }

    /// Returns a number of the range; its start if the range is empty. The end must not be below the start.
    pub fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    /// Returns true in `percent` of 100 cases: never with 0, always with 100 or more.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns one of `things`. Panics if there are none, so the caller must pass at least one.
    pub fn one_of<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.below(things.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_follows_from_its_seed() {
        let rolls = |seed| {
            let mut dice = Dice::new(seed);
            (0..8).map(|_| dice.roll()).collect::<Vec<_>>()
        };
        assert_eq!(rolls(1), rolls(1));
        assert_ne!(rolls(1), rolls(2));
    }

    #[test]
    fn ranges_are_met_everywhere_and_never_left() {
        let mut dice = Dice::new(7);
        let mut met = [false; 5];
        (0..200).for_each(|_| met[dice.within(10..15) as usize - 10] = true);
        assert_eq!(met, [true; 5]);
    }
}
