//! The adapter against real brokers, one promise of the seam at a time.
//!
//! `SILTSTONE_KAFKA` names the brokers (`host:port,host:port`); without it what needs them is skipped, and
//! says so. Some tests need more, and say what. Every test makes a topic of its own and takes it down.
#![allow(clippy::unwrap_used)]

mod conformance;
mod connection;
mod faults;
mod order;
mod range;
mod topic;
mod trial;
mod waiting;
