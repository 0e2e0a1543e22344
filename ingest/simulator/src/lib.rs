//! A simulated world for the core: tasks, time, randomness, disks that may lose power, and brokers.
//!
//! Everything that happens follows from a seed, so every failure can be run again. The executor picks
//! among ready tasks by the seed's policy (at random, first come first served, or last come first
//! served), because a schedule that is ordered by accident stays ordered in every run of a fair queue.
//! [`disk::SimDisk`] keeps what was written apart from what was synced; a crash decides for each unsynced
//! sector and name whether it survives, whole or torn.
//!
//! A world holds one node or a cluster of them, each of which is stopped, paused and cut off from power by
//! itself; [`brokers::SimBrokers`] is what the nodes of a cluster share.
//!
//! A run's [`trace::Trace`] hashes every disk operation with its arguments and time, and whatever brokers
//! do; two runs of one seed must have equal traces.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod brokers;
pub mod conformance;
pub mod disk;
pub mod executor;
pub mod random;
pub mod trace;

pub use brokers::SimBrokers;
pub use disk::{CrashSurvival, DiskFault, DiskOperation, FaultKind, SimDisk};
pub use executor::{RunLimits, RunStopped, Sim};
pub use random::SimRandom;
