//! The hold: the fold waits for data that it cannot read at present, instead of stopping.
//!
//! A record's outcome depends on prior state, so a fold that cannot read this state can neither continue
//! nor guess. Most causes pass (exhausted handles, a device error, an unreachable broker), so the fold
//! tries again with growing pauses and continues by itself. A long hold is reported: writes are refused
//! before they are appended, the node is not ready, and the reason is shown. Damage that two reads have
//! found is reported at once; it is tried again too, since a file may be restored.

use std::sync::Arc;
use std::time::Duration;

use ingest::log::ReadError;
use ingest::time::Tick;

use super::context::PartitionContext;
use super::health::Health;

/// The first pause; each pause is twice the one before.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The time after which a hold is reported. Shorter holds need no action.
const TOLD_AFTER: Duration = Duration::from_secs(1);
/// The longest hold while a partition is being opened; then the open fails with the error.
const OPEN_PATIENCE: Duration = Duration::from_secs(60);

/// One hold: the repeated wait for one kind of data.
pub(super) struct FoldHold {
    context: Arc<PartitionContext>,
    health: Arc<Health>,
    /// The data that is waited for, for messages.
    what: &'static str,
    /// The time of the first failed try; `None` before.
    since: Option<Tick>,
    pause: Duration,
    is_told: bool,
}

impl FoldHold {
    /// Begins without a failed try.
    pub fn new(health: &Arc<Health>, what: &'static str) -> Self {
        let (context, health) = (health.context().clone(), health.clone());
        Self { context, health, what, since: None, pause: PAUSE_MIN, is_told: false }
    }

    /// Waits before the next try: 10 ms at first, then twice as long each time, up to 1 second. Reports the
    /// hold after one second, and at once if the error cannot pass by itself.
    pub async fn wait(&mut self, error: &ReadError) {
        let lasts = self.lasts();
        if !self.is_told && (lasts >= TOLD_AFTER || !error.is_transient()) {
            self.is_told = true;
            tracing::error!(%error, partition = %self.context.id, what = self.what, "the fold is held; trying again");
        }
        if self.is_told {
            let reason = format!("the fold is held: {} cannot be read: {error}", self.what);
            self.health.note_hold(Some(reason));
        }
        self.pause().await;
    }

    /// Waits before the next try while a partition is being opened. Fails with the error if it cannot pass
    /// by itself, or after 60 seconds; the caller must then end the open.
    pub async fn at_open(&mut self, error: ReadError) -> Result<(), ReadError> {
        if !error.is_transient() || self.lasts() >= OPEN_PATIENCE {
            return Err(error);
        }
        if !self.is_told {
            self.is_told = true;
            tracing::warn!(%error, partition = %self.context.id, what = self.what, "not now; trying again");
        }
        self.pause().await;
        Ok(())
    }

    /// Ends the hold after a successful read: the next failure begins a new one. Clears the report, if this
    /// hold has made one.
    pub fn end(&mut self) {
        if self.is_told && self.health.note_hold(None).is_some() {
            tracing::info!(partition = %self.context.id, what = self.what, "the fold goes on");
        }
        (self.since, self.pause, self.is_told) = (None, PAUSE_MIN, false);
    }

    /// Returns the time since the first failed try.
    fn lasts(&mut self) -> Duration {
        let now = self.context.env.clock.now();
        now.since(*self.since.get_or_insert(now))
    }

    async fn pause(&mut self) {
        self.context.env.clock.sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}
