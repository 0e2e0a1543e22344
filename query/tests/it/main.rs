//! The engine in simulation: what clients were told holds, across cuts, merges, restarts and power cuts.

mod crash;
mod world;
