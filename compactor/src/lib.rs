//! Everything derived from the log: folded state, segments, manifests, the catalog.
//!
//! ```text
//!   log ──► resolve + apply ──► tail ──freeze──► cut ──► run (manifest, key index, state) + segment
//!                                │                              │
//!                                └──────────► view ◄── catalog ─┴─ merge, collect
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod apply;
pub mod outcome;
pub mod state;
pub mod tail;
pub mod visible;
