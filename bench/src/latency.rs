//! Latencies of requests: a histogram in microseconds, reported in milliseconds.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies of one kind of request.
#[derive(Clone)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// An empty histogram with a precision of three digits. The range grows with the values, so no latency is
    /// ever clamped.
    pub fn new() -> Self {
        // Three digits: p99 is exact to a tenth of a percent. The range grows with the values.
        Self(Histogram::new(3).expect("three digits are within what it allows"))
    }

    /// Adds one latency, rounded down to whole microseconds. Latencies may be added in any order.
    pub fn record(&mut self, took: Duration) {
        // Not `saturating_record`, which clamps values to the present range, at first 2 µs.
        self.0.record(took.as_micros() as u64).expect("it grows with what is recorded");
    }

    /// Adds all latencies of another histogram, which must be of the same kind of request for the percentiles
    /// to have a meaning.
    pub fn merge(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("it grows with what is added");
    }

    /// Returns the number of latencies, with all that were merged before; 0 before the first.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Returns the latency in milliseconds that `percent` of all latencies do not exceed; 0 before the first
    /// was added.
    pub fn percentile_ms(&self, percent: f64) -> f64 {
        self.0.value_at_percentile(percent) as f64 / 1000.0
    }

    /// Returns the longest latency in milliseconds, exact to three digits; 0 before the first was added.
    pub fn max_ms(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Latencies must not be clamped to the range of an empty histogram, which would show 4 ms as 2 µs.
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
