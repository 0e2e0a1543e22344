//! What a run cost: time on the wall, and processor time of this process.
//!
//! Client and server share the machine's cores. A rate means little without the client's share.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Started, not stopped.
pub struct Stopwatch {
    started: Instant,
    cpu: Duration,
}

/// Stopped.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Time on the wall.
    pub elapsed: Duration,
    /// Processor time of all threads of this process.
    pub cpu: Duration,
}

impl Stopwatch {
    /// Starts one.
    pub fn start() -> Self {
        Self { started: Instant::now(), cpu: cpu() }
    }

    /// Stops it.
    pub fn stop(&self) -> Cost {
        Cost { elapsed: self.started.elapsed(), cpu: cpu().saturating_sub(self.cpu) }
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

impl Cost {
    /// So many of something, per second on the wall.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64()
    }

    /// So many bytes, in MiB per second on the wall.
    pub fn mib_per_second(&self, bytes: u64) -> f64 {
        self.per_second(bytes) / f64::from(1 << 20)
    }
}
