//! The real disk, clock and randomness.
