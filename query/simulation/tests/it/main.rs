//! The engine in simulation: what clients were told holds, across cuts, merges, restarts and power cuts.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    reason = "tests take their settings from the environment and say what they found"
)]

mod clock;
mod cluster;
mod cold;
mod costs;
mod crash;
mod crowded;
mod events;
mod faults;
mod first_lives;
mod flips;
mod full;
mod limits;
mod missing;
mod model;
mod races;
mod reads;
mod refold;
mod renames;
mod room;
mod rot;
mod scans;
mod story;
mod unsynced;
mod world;
