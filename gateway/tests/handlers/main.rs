//! Handlers of the S3 API, called in this process: requests go through `S3Service::handle`, without a socket.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test reads the clock and makes folders"
)]

mod bodies;
mod conditions;
mod copies;
mod harness;
mod identity;
mod objects;
mod uploads;
