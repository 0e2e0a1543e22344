//! The clock that dates this process's records.

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
    /// Begins behind `last`, the time of the last folded record.
    pub fn new(context: Arc<PartitionContext>, last: WallTime) -> Self {
        let clock = &context.env.clock;
        let bound = TimeBound::start(last, clock.wall(), clock.now());
        Self { bound: Mutex::new(bound), context }
    }

    /// The partition whose records are dated.
    pub fn context(&self) -> &Arc<PartitionContext> {
        &self.context
    }

    /// Begins again behind `last`. Called once, when replay has come to the end of the log, before anything
    /// is appended.
    pub fn restart(&self, last: WallTime) {
        let clock = &self.context.env.clock;
        *self.bound.lock() = TimeBound::start(last, clock.wall(), clock.now());
    }

    /// The time for a record that is appended now. Logs when belief in the wall clock changes.
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

    /// Notes the time of a record that another process wrote.
    pub fn saw(&self, time: WallTime) {
        self.bound.lock().saw(time, self.context.env.clock.now());
    }

    /// The seconds by which the wall clock is ahead of the time that the monotonic clock allows, below zero
    /// when it is behind; true when it is so far ahead that it is not believed.
    pub fn ahead(&self) -> (f64, bool) {
        let clock = &self.context.env.clock;
        let (wall, now) = (clock.wall(), clock.now());
        let bound = *self.bound.lock();
        (bound.ahead_micros(wall, now) as f64 / 1e6, bound.doubts(wall, now))
    }

    /// Believes the wall clock from now on: an operator has confirmed it.
    pub fn believe(&self) {
        let clock = &self.context.env.clock;
        self.bound.lock().believe(clock.wall(), clock.now());
        tracing::warn!(partition = %self.context.id, "the wall clock is believed: an operator says so");
    }
}
