//! A simulated world for the core: tasks, time, randomness, disks that may lose power, and brokers.
//!
//! Everything that happens follows from a seed, so every failure can be repeated. The executor picks
//! among ready tasks by the seed's policy (at random, first come first served, or last come first
//! served), because a schedule that is ordered by accident stays ordered in every run of a fair queue.
//! [`disk::SimDisk`] keeps written bytes apart from synced ones; a crash decides for each unsynced
//! sector and name if it survives, whole or torn.
//!
//! A world holds one node or a cluster of them. Each node is stopped, paused and cut off from power by
//! itself; [`brokers::SimBrokers`] is shared by the nodes of a cluster.
//!
//! A run's [`trace::Trace`] hashes every disk operation with its arguments and time, and every event of
//! the brokers. Two runs of one seed must have equal traces.
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
