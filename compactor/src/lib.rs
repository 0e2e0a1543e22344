//! Everything that is derived from the log: folded state, segments, manifests, and the catalog that names
//! them.
//!
//! ```text
//!   log ──► resolve + apply ──► memtable ──freeze──► cut ──► run (manifest, key index, state) + segment
//!                                │                              │
//!                                └──────────► view ◄── catalog ─┴─ merge, gc
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod apply;
pub mod catalog;
pub mod cursor;
pub mod delivery;
#[cfg(test)]
#[path = "../../ingest/src/fuzz.rs"]
mod fuzz;
#[cfg(test)]
#[path = "../../ingest/src/golden.rs"]
mod golden;
pub mod index_value;
pub mod jobs;
pub mod layout;
pub mod lookup;
pub mod manifest;
#[cfg(test)]
#[path = "../../ingest/src/memory.rs"]
mod memory;
pub mod memtable;
pub mod outcome;
pub mod partition;
pub mod partitioner;
pub mod refold;
mod restore;
pub mod sealed;
pub mod segment;
pub mod state;
pub mod state_cursor;
mod state_value;
pub mod table;
pub mod tags;
pub mod usage;
pub mod view;
pub mod visibility;
