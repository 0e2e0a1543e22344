//! Wall-clock time and monotonic time, each as a type of its own.

/// A point of wall-clock time in microseconds since 1970 (UTC). Must not be used to order events, because
/// clocks jump and differ between machines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WallTime(i64);

impl WallTime {
    /// Wraps microseconds since 1970 (UTC). Every value is accepted; times before 1970 are negative.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns microseconds since 1970 (UTC), negative for times before 1970.
    pub const fn micros(self) -> i64 {
        self.0
    }
}

/// A point of monotonic time in nanoseconds since the process (or the simulation) began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Tick(u64);

impl Tick {
    /// Wraps nanoseconds since the start. Only clocks and tests make ticks; they order events within
    /// one process only.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns nanoseconds since the start. Must never be compared with ticks of another process.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Returns the time from `earlier` to `self`; zero, never an error, when `earlier` is later.
    pub fn since(self, earlier: Tick) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
