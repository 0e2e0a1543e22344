//! The gateway: the S3 API, SQL over HTTP, the admin address, and the commands of `siltstone`.
//!
//! Imports go down only:
//!
//! ```text
//!   main ──► cli
//!     └────► server ──► admin, sql_service, api::service ──► dispatch ──► handlers ──► context ──► query, compactor
//! ```
//!
//! The crate `s3` has the protocol without I/O, and every layer may use it.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admin;
pub mod api;
pub mod cli;
pub mod config;
pub mod events;
#[cfg(test)]
#[path = "../../ingest/src/fuzz.rs"]
mod fuzz;
mod log_limit;
mod refusal;
mod request_counters;
mod request_operation;
mod request_report;
mod secret;
pub mod server;
pub mod sql_service;
pub mod users;
