//! The engine in simulation: what clients were told holds, across cuts, merges, restarts and power cuts.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    reason = "tests take their settings from the environment and say what they found"
)]

mod cluster;
mod crash;
mod faults;
mod flips;
mod full;
mod model;
mod races;
mod room;
mod scans;
mod story;
mod world;
