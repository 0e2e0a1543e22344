//! The background jobs of a partition. Each job owns a task: flush and merge write files and publish them,
//! garbage collection removes files, and the cutter requests cuts.
//!
//! ```text
//!   cutter ──CUT record──► log ──fold──► frozen memtable ──► flush ──run──► merge ──► garbage collection
//! ```

pub mod board;
mod cut_digest;
mod cut_segments;
pub(crate) mod cutter;
pub mod error;
pub(crate) mod flush;
pub(crate) mod gc;
pub(crate) mod merge;
pub mod policy;
pub mod references;
pub mod run_writer;
pub(crate) mod scheduler;
pub(crate) mod signals;
