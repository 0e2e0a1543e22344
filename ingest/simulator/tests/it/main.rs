//! The ground floor in simulation: disk, log, and what they promise across crashes and faults.

mod bulk;
mod bulk_crash;
mod bulk_faults;
mod log_conformance;
mod log_crash;
mod log_faults;
mod repeatable;
