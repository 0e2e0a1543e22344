//! The time that this process gives its records, bounded by its monotonic clock.
//!
//! A wall clock may be wrong, and its times stay in the log, because the log's time never goes back. A
//! record's time may therefore exceed the last known time by the time that the monotonic clock has measured
//! since, and a slack. Beyond that the wall clock is not trusted: records get the time that the monotonic
//! clock allows, the jump is logged, and an operator who knows that the clock is right confirms it
//! ([`TimeBound::believe`]).
//!
//! At the start the last known time is the log's. Later the wall clock never changes it, so that small
//! steps do not add up; only another node's record or an operator does. The time for which a process was
//! down is unknown: at a start a clock is trusted that is at most [`DOWN_MAX`] ahead of the log. See
//! `docs/decisions/time.md`.

use std::time::Duration;

use ingest::time::{Tick, WallTime};

/// The largest lead of the wall clock over the time that the monotonic clock allows.
pub const TIME_SLACK: Duration = Duration::from_secs(60);
/// The largest lead of the wall clock over the log's last time at a start.
pub const DOWN_MAX: Duration = Duration::from_secs(30 * 86_400);

/// The last trusted time, and the decision about the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeBound {
    /// A trusted time, and the monotonic time at which it was valid.
    known: (WallTime, Tick),
    /// True if the last record got another time than the wall clock's.
    is_held: bool,
}

fn later(time: WallTime, by: Duration) -> WallTime {
    WallTime::from_micros(time.micros().saturating_add(by.as_micros() as i64))
}

impl TimeBound {
    /// Begins after the log's last time. A log without a time (the epoch) gives no bound, and the wall
    /// clock is trusted.
    pub fn start(last: WallTime, wall: WallTime, now: Tick) -> Self {
        let is_believed = last == WallTime::default() || wall <= later(last, DOWN_MAX);
        // A wall clock that is behind the log is wrong, because the log's time is trusted.
        let known = if is_believed { wall.max(last) } else { last };
        Self { known: (known, now), is_held: false }
    }

    /// Returns the time that follows from the last trusted time and the monotonic clock.
    fn expected(&self, now: Tick) -> WallTime {
        later(self.known.0, now.since(self.known.1))
    }

    /// Returns the microseconds by which the wall clock is ahead of the expected time, negative if it is
    /// behind.
    pub fn ahead_micros(&self, wall: WallTime, now: Tick) -> i64 {
        wall.micros().saturating_sub(self.expected(now).micros())
    }

    /// Returns true if a wall clock is not trusted: it is ahead of the expected time by more than
    /// [`TIME_SLACK`]. A clock that is behind is never doubted.
    pub fn doubts(&self, wall: WallTime, now: Tick) -> bool {
        wall > later(self.expected(now), TIME_SLACK)
    }

    /// Returns the time for a record that is appended now, and true if trust in the wall clock has changed
    /// since the last call.
    pub fn stamp(&mut self, wall: WallTime, now: Tick) -> (WallTime, bool) {
        let is_held = self.doubts(wall, now);
        let has_changed = std::mem::replace(&mut self.is_held, is_held) != is_held;
        (self.trusted(wall, now), has_changed)
    }

    /// Returns the wall clock's time if the clock is trusted, and else the expected time. For comparisons with times of
    /// records; changes nothing.
    pub fn trusted(&self, wall: WallTime, now: Tick) -> WallTime {
        if self.doubts(wall, now) { self.expected(now) } else { wall }
    }

    /// Notes the time of another process's record, which only moves the trusted time forward. Must be
    /// called in the order of the log.
    pub fn saw(&mut self, time: WallTime, now: Tick) {
        if time > self.expected(now) {
            self.known = (time, now);
        }
    }

    /// Trusts the wall clock from now on, also backward, because an operator has confirmed it.
    pub fn believe(&mut self, wall: WallTime, now: Tick) {
        *self = Self { known: (wall, now), is_held: false };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const DAY: i64 = 86_400 * SECOND;
    const LAST: i64 = 20_000 * DAY;

    fn wall(micros: i64) -> WallTime {
        WallTime::from_micros(micros)
    }

    fn tick(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    /// The log's last time, the wall clock at the start, and the wall clock ten seconds later; then the
    /// time that a record gets.
    #[test]
    fn a_record_gets_the_time_that_the_monotonic_clock_allows() {
        let expected = LAST + 5 * SECOND + 10 * SECOND;
        let start = LAST + 5 * SECOND;
        let table = [
            ("on time", LAST, start, expected, expected),
            ("within the slack", LAST, start, expected + 60 * SECOND, expected + 60 * SECOND),
            ("just beyond", LAST, start, expected + 60 * SECOND + 1, expected),
            ("an hour ahead", LAST, start, expected + 3600 * SECOND, expected),
            ("twenty years ahead", LAST, start, expected + 7300 * DAY, expected),
            ("the end of time", LAST, start, i64::MAX, expected),
            ("behind", LAST, start, LAST - DAY, LAST - DAY),
            ("down for a month", LAST, LAST + 30 * DAY, LAST + 30 * DAY, LAST + 30 * DAY),
            ("started ahead", LAST, LAST + 30 * DAY + 1, LAST + 31 * DAY, LAST + 10 * SECOND),
            ("started behind", LAST, 0, LAST + 10 * SECOND, LAST + 10 * SECOND),
            ("started behind, then ahead", LAST, 0, LAST + DAY, LAST + 10 * SECOND),
            ("a first start", 0, LAST, LAST + 10 * SECOND, LAST + 10 * SECOND),
        ];
        for (what, last, at_start, then, given) in table {
            let mut bound = TimeBound::start(wall(last), wall(at_start), tick(3));
            let (time, has_changed) = bound.stamp(wall(then), tick(13));
            assert_eq!(time.micros(), given, "{what}");
            assert_eq!(has_changed, then > given, "{what}");
        }
    }

    /// A clock that runs twice as fast, and one that steps by less than the slack again and again.
    #[test]
    fn small_steps_do_not_add_up() {
        let mut bound = TimeBound::start(wall(LAST), wall(LAST), tick(0));
        for second in 1..10_000 {
            let right = LAST + second as i64 * SECOND;
            for wrong in [right + second as i64 * SECOND, right + 59 * SECOND * second as i64] {
                let (time, _) = bound.stamp(wall(wrong), tick(second));
                assert!(time <= later(wall(right), TIME_SLACK), "after {second} s: {time:?}");
            }
        }
    }

    #[test]
    fn an_operator_and_another_node_are_believed() {
        let mut bound = TimeBound::start(wall(LAST), wall(LAST), tick(0));
        let jumped = LAST + 400 * DAY;
        assert_eq!(bound.stamp(wall(jumped), tick(1)), (wall(LAST + SECOND), true));
        assert!(bound.doubts(wall(jumped), tick(1)));
        bound.believe(wall(jumped), tick(1));
        assert_eq!(bound.stamp(wall(jumped + SECOND), tick(2)).0, wall(jumped + SECOND));
        // And what an operator of another node has said comes with that node's records.
        bound.saw(wall(jumped + 100 * DAY), tick(2));
        let then = wall(jumped + 100 * DAY + SECOND);
        assert_eq!(bound.stamp(then, tick(3)).0, then);
        // An older record says nothing.
        bound.saw(wall(LAST), tick(3));
        assert!(!bound.doubts(then, tick(3)));
    }
}
