//! The lowest package: identifiers, the record format, the log, the payload files, and the environment.
//!
//! ```text
//!   gateway ──► ingest ──► compactor ──► query ──► gateway
//!              (here)
//! ```
//!
//! A write becomes a [`record::Record`], is appended to a [`log::Log`] and is acknowledged once that
//! log calls it durable and the fold has applied it. Payload too large for a record is written first,
//! to a bulk file ([`bulk`]), and the record names it by extent and digest.
//!
//! Everything that the core may touch outside itself comes in through [`env::Env`], so that the same
//! code runs on a real machine and in a seeded simulation. `clippy.toml` bans the back doors.
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
pub mod record;
pub mod time;
