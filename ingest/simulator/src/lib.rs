//! A simulated world for the core: tasks, time, randomness and a disk that may lose power.
//!
//! Everything that happens follows from a seed, so every failure can be run again. The executor picks
//! among ready tasks by the seed's policy (at random, first come first served, or last come first
//! served), because a schedule that is ordered by accident stays ordered in every run of a fair queue.
//! [`disk::SimDisk`] keeps what was written apart from what was synced; a crash decides for each unsynced
//! sector and name whether it survives, whole or torn.
//!
//! A run's [`trace::Trace`] hashes every disk operation with its arguments and time; two runs of one seed
//! must have equal traces.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod conformance;
pub mod disk;
pub mod executor;
pub mod random;
pub mod trace;

pub use disk::{Fault, FaultKind, Operation, SimDisk, Survival};
pub use executor::{Sim, Stopped};
pub use random::SimRandom;
