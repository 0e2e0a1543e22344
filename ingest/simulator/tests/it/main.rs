//! The ground floor in simulation: disk, log, and what they promise across crashes and faults.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    reason = "tests take their settings from the environment and say what they found"
)]

mod brokers;
mod bulk;
mod bulk_crash;
mod bulk_faults;
mod log_conformance;
mod log_crash;
mod log_faults;
mod nodes;
mod repeatable;
mod replaced_clients;
mod replicated_conformance;
mod replicated_losses;
