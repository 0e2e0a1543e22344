//! Reads of one partition: look-ups, listings, scans and payload.
//!
//! ```text
//!   snapshot ─┬─ find: memtable, then the key indexes of all runs whose filter may contain the key
//!             ├─ list: one merged cursor with seek; a delimiter skips a prefix instead of scanning it
//!             ├─ scan: many entries as columns, for SQL
//!             └─ read: payload from log, segment or bulk file, verified before it leaves
//! ```
//! Every function reads one [`compactor::view::Snapshot`], so a result is consistent at one offset. Nothing
//! here writes: a future that is dropped before it completes has no effect on the store. SQL is a package of
//! its own, so that only that package is built with DataFusion.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod listing;
pub mod object;
pub mod scan;
pub mod tagged;
pub mod uploads;
