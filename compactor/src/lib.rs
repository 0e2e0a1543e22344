//! Everything derived from the log: folded state, segments, manifests, the catalog.
//!
//! ```text
//!   log ──► resolve + apply ──► tail ──freeze──► cut ──► run (manifest, key index, state) + segment
//!                                │                              │
//!                                └──────────► view ◄── catalog ─┴─ merge, collect
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod apply;
pub mod catalog;
mod collect;
pub mod cursor;
#[cfg(test)]
#[path = "../../ingest/src/fuzz.rs"]
mod fuzz;
#[cfg(test)]
#[path = "../../ingest/src/golden.rs"]
mod golden;
pub mod layout;
pub mod listed;
pub mod manifest;
#[cfg(test)]
#[path = "../../ingest/src/memory.rs"]
mod memory;
mod merge;
pub mod outcome;
pub mod partition;
pub mod placement;
pub mod publish;
pub mod refold;
pub mod resolve;
mod restore;
pub mod run_writer;
mod seal;
pub mod sealed;
pub mod segment;
pub mod state;
pub mod state_cursor;
pub mod table;
pub mod tags;
pub mod tail;
pub mod usage;
pub mod view;
pub mod visible;
