//! A run depends on its seed alone.

use std::sync::Arc;

use parking_lot::Mutex;
use simulator::trace::{Trace, assert_repeatable};
use simulator::{CrashSurvival, Sim, SimDisk};

use crate::log_crash::{Known, workload};

fn run(seed: u64, keeps_lines: bool) -> Arc<Trace> {
    let trace = Arc::new(Trace::new(keeps_lines));
    let sim = Sim::with_trace(seed, trace.clone());
    let disk = SimDisk::new(&sim);
    let known = Mutex::new(Known::default());
    disk.crash_at(30 + seed % 50);
    let _ = sim.block_on(&disk, workload(&sim, &disk, &known, 1, 6));
    sim.crash(&disk, CrashSurvival::Random(seed));
    let _ = sim.block_on(&disk, workload(&sim, &disk, &known, 7, 6));
    trace
}

#[test]
fn a_seed_runs_twice_with_equal_traces() {
    (0..200).for_each(|seed| assert_repeatable(seed, run));
}

#[test]
fn the_order_of_seeds_does_not_matter() {
    let forward: Vec<u64> = (0..20).map(|seed| run(seed, false).digest()).collect();
    let mut backward: Vec<u64> = (0..20).rev().map(|seed| run(seed, false).digest()).collect();
    backward.reverse();
    assert_eq!(forward, backward);
}
