//! Reading: look-ups, listings, payload. Everything here sees one [`compactor::view::Snapshot`].
//!
//! ```text
//!   snapshot ─┬─ find: memtable, then key indexes (newest run first, filter before probe)
//!             ├─ list: one merged cursor with seek; a delimiter skips a prefix instead of scanning it
//!             ├─ scan: many entries as columns, for SQL
//!             └─ read: payload from log, segment or bulk file, verified before it leaves
//! ```
//! SQL stands beside, in a package of its own, so that only it is built with DataFusion.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod listing;
pub mod object;
pub mod scan;
pub mod tagged;
pub mod uploads;
