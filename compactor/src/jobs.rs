//! Background jobs of a partition. Each owns a task; flush and merge write files and publish them, garbage
//! collection removes files, the cutter asks for cuts.
//!
//! ```text
//!   cutter ──CUT record──► log ──fold──► frozen memtable ──► flush ──run──► merge ──► garbage collection
//! ```

mod cut_digest;
pub(crate) mod cutter;
pub mod error;
pub(crate) mod flush;
pub(crate) mod gc;
pub mod merge;
pub(crate) mod merge_plan;
pub mod references;
pub mod run_writer;
pub(crate) mod signals;
