//! SQL over objects, versions and buckets, as they stand when a query begins.
//!
//! ```text
//!   text ─▶ DataFusion's planner ─▶ scans (query::scan) of one snapshot ─▶ batches ─▶ JSON, CSV, table
//! ```
//! Queries run on threads of their own with a memory limit and a deadline, so that they cannot starve
//! uploads and downloads. They only read: whatever would change or set something is refused. Only this
//! package knows DataFusion.

mod bounds;
mod engine;
mod error;
mod exec;
mod format;
mod table;

pub use engine::{Engine, Options, Rows};
pub use error::SqlError;
pub use format::Format;
