//! The cost of a run: wall-clock time, and processor time of this process.
//!
//! Client and server share the machine's cores. A rate means little without the client's share.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A running stopwatch.
pub struct Stopwatch {
    started: Instant,
    cpu: Duration,
}

/// The time between a start and a stop.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Wall-clock time.
    pub elapsed: Duration,
    /// Processor time of all threads of this process.
    pub cpu: Duration,
}

impl Stopwatch {
    /// Starts a stopwatch for wall-clock time and for the processor time of the whole process. Tasks that ran
    /// before are not included.
    pub fn start() -> Self {
        Self { started: Instant::now(), cpu: cpu() }
    }

    /// Returns the cost since the start. The stopwatch continues, so later calls include the time before.
    pub fn stop(&self) -> Cost {
        Cost { elapsed: self.started.elapsed(), cpu: cpu().saturating_sub(self.cpu) }
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

impl Cost {
    /// Returns `count` per second of wall-clock time. Not a finite number unless some time has passed between
    /// start and stop.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64()
    }

    /// Returns `bytes` in MiB per second of wall-clock time. Not a finite number unless some time has passed
    /// between start and stop.
    pub fn mib_per_second(&self, bytes: u64) -> f64 {
        self.per_second(bytes) / f64::from(1 << 20)
    }
}
