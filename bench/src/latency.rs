//! How long answers took: a histogram in microseconds, told in milliseconds.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies of one kind of request.
#[derive(Clone)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub fn new() -> Self {
        // Three digits: p99 is right to a tenth of a percent. It grows with what is recorded.
        Self(Histogram::new(3).expect("three digits are within what it allows"))
    }

    /// Adds one.
    pub fn record(&mut self, took: Duration) {
        // Not `saturating_record`: that one clamps to the range that there is, at first 2 µs.
        self.0.record(took.as_micros() as u64).expect("it grows with what is recorded");
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("it grows with what is added");
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// So many percent took at most so many milliseconds.
    pub fn percentile_ms(&self, percent: f64) -> f64 {
        self.0.value_at_percentile(percent) as f64 / 1000.0
    }

    /// The longest, in milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They once were clamped to the range of an empty histogram: 4 ms were told as 2 µs.
    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let (mut one, mut other) = (Latencies::new(), Latencies::new());
        for ms in 1..=1000 {
            let half = if ms % 2 == 0 { &mut one } else { &mut other };
            half.record(Duration::from_millis(ms));
        }
        one.record(Duration::ZERO);
        one.merge(&other);
        assert_eq!(one.count(), 1001);
        for (percent, ms) in [(50.0, 500.0), (99.0, 990.0)] {
            let found = one.percentile_ms(percent);
            assert!((found - ms).abs() <= ms / 500.0, "{percent}: {found}");
        }
        assert!((one.max_ms() - 1000.0).abs() <= 1.0, "{}", one.max_ms());
    }
}
