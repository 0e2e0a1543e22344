//! The clock that gives this process's records their times.

use std::sync::Arc;

use ingest::mutant::Mutant;
use ingest::time::WallTime;
use parking_lot::Mutex;

use super::context::PartitionContext;
use super::time_bound::TimeBound;

/// The wall clock, bounded by [`TimeBound`].
pub(crate) struct RecordClock {
    context: Arc<PartitionContext>,
    bound: Mutex<TimeBound>,
}

impl RecordClock {
    /// Begins after `last`, the time of the last folded record.
    pub fn new(context: Arc<PartitionContext>, last: WallTime) -> Self {
        let clock = &context.env.clock;
        let bound = TimeBound::start(last, clock.wall(), clock.now());
        Self { bound: Mutex::new(bound), context }
    }

    /// Returns the context of the partition whose records get their times here.
    pub fn context(&self) -> &Arc<PartitionContext> {
        &self.context
    }

    /// Begins again after `last`. Called once, after replay has reached the end of the log, and before any
    /// record is appended.
    pub fn restart(&self, last: WallTime) {
        let clock = &self.context.env.clock;
        *self.bound.lock() = TimeBound::start(last, clock.wall(), clock.now());
    }

    /// Returns the time for a record that is appended now. Logs every change of trust in the wall clock.
    /// Times of successive calls need not rise; the fold keeps the log's time from going back.
    pub fn stamp(&self) -> WallTime {
        let clock = &self.context.env.clock;
        let (wall, now) = (clock.wall(), clock.now());
        if self.context.env.mutated(Mutant::BelieveAnyClock) {
            return wall;
        }
        let mut bound = self.bound.lock();
        let (time, has_changed) = bound.stamp(wall, now);
        let partition = self.context.id;
        if has_changed && bound.doubts(wall, now) {
            let ahead = bound.ahead_micros(wall, now) / 1_000_000;
            tracing::error!(%partition, ahead_seconds = ahead, "the wall clock has jumped ahead and is not believed: confirm it with `siltstone clock --believe` if it is right");
        } else if has_changed {
            tracing::info!(%partition, "the wall clock is believed again");
        }
        time
    }

    /// Returns the present time for comparisons with times of records: a wall clock that has jumped ahead is not believed.
    pub fn trusted(&self) -> WallTime {
        let clock = &self.context.env.clock;
        let bound = *self.bound.lock();
        bound.trusted(clock.wall(), clock.now())
    }

    /// Notes the time of a record that another process wrote. Called by the fold, only for records that
    /// changed something.
    pub fn saw(&self, time: WallTime) {
        self.bound.lock().saw(time, self.context.env.clock.now());
    }

    /// Returns the seconds by which the wall clock is ahead of the time that the monotonic clock allows,
    /// negative if it is behind; true if it is so far ahead that it is not trusted.
    pub fn ahead(&self) -> (f64, bool) {
        let clock = &self.context.env.clock;
        let (wall, now) = (clock.wall(), clock.now());
        let bound = *self.bound.lock();
        (bound.ahead_micros(wall, now) as f64 / 1e6, bound.doubts(wall, now))
    }

    /// Trusts the wall clock from now on. Called only after an operator has confirmed it.
    pub fn believe(&self) {
        let clock = &self.context.env.clock;
        self.bound.lock().believe(clock.wall(), clock.now());
        tracing::warn!(partition = %self.context.id, "the wall clock is believed: an operator says so");
    }
}
