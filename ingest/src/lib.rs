//! The lowest package: identifiers, the record format, the log, the payload files, and the environment.
//!
//! ```text
//!   gateway ──► ingest ──► compactor ──► query ──► gateway
//!              (here)
//! ```
//!
//! A write becomes a [`record::Record`] and is appended to a [`log::Log`]. The write is acknowledged
//! only after the log has made the record durable and the fold has applied it. Payload that is too
//! large for a record is written to a bulk file ([`bulk`]) before the record, which names the payload
//! by extent and digest.
//!
//! The core reaches disk, clock, randomness and tasks only through [`env::Env`], so that the same code
//! runs on a real machine and in a seeded simulation. `clippy.toml` refuses the direct calls and names
//! the replacements.
#![cfg_attr(test, allow(clippy::unwrap_used))]

// Test code that other crates take in by path names this one from outside.
#[cfg(test)]
extern crate self as ingest;

pub mod bulk;
pub mod codec;
pub mod entry;
pub mod env;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod golden;
pub mod ids;
pub mod log;
#[cfg(test)]
mod memory;
pub mod mutant;
pub mod name;
pub mod place;
pub mod record;
pub mod tail;
pub mod time;
