//! A bound on log lines that any client can cause: 100 at once, then 10 a second, and a count of the lines that were
//! not written.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The number of lines that may be written at once.
const BURST: u32 = 100;
/// The time after which one more line may be written.
const PERIOD: Duration = Duration::from_millis(100);

/// The bound on one kind of line, shared by all threads.
pub struct LogLimit {
    state: Mutex<LimitState>,
}

struct LimitState {
    lines: u32,
    /// The time at which permitted lines were last added; `None` before the first line.
    at: Option<Instant>,
    unsaid: u64,
}

impl LogLimit {
    /// Makes the bound of a kind of which no line has been written. A burst is permitted at once.
    pub const fn new() -> Self {
        Self { state: Mutex::new(LimitState { lines: BURST, at: None, unsaid: 0 }) }
    }

    /// Takes the permission to write one line now, and returns the number of lines that were not written since the last
    /// one. `None` if no line may be written; the caller must not write it, and the line is counted.
    pub fn take(&self) -> Option<u64> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let at = *state.at.get_or_insert(now);
        let periods = now.saturating_duration_since(at).as_millis() / PERIOD.as_millis();
        let more = u32::try_from(periods).unwrap_or(BURST).min(BURST);
        if more > 0 {
            state.lines = (state.lines + more).min(BURST);
            state.at = Some(now);
        }
        if state.lines == 0 {
            state.unsaid += 1;
            return None;
        }
        state.lines -= 1;
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_burst_and_then_ten_lines_a_second() {
        let (limit, start) = (LogLimit::new(), Instant::now());
        let mut written = 0;
        let mut unsaid = 0;
        for at in 0..10_000u64 {
            if let Some(before) = limit.take_at(start + Duration::from_millis(at)) {
                written += 1;
                unsaid += before;
            }
        }
        assert!((100 + 95..=100 + 101).contains(&written), "{written}");
        let last = limit.take_at(start + Duration::from_secs(60));
        assert_eq!(written + unsaid + last.unwrap(), 10_000, "every line is written or counted");
    }
}
