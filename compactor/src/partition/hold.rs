//! Waiting for what cannot be read now: the fold is held, not stopped.
//!
//! A record's outcome follows from what was there before, so a fold that cannot read it can neither go on nor
//! guess. Most reasons pass (handles run out, a device hiccups, a broker is away), so it tries again with
//! growing pauses, and goes on by itself once it can. A hold that lasts is told: writes are refused before
//! they are appended, the node is not ready, and the reason is named. Damage that was seen twice is told at
//! once; it is tried again, too, since a file may be put back.

use std::sync::Arc;
use std::time::Duration;

use ingest::log::ReadError;
use ingest::time::Tick;

use super::context::PartitionContext;
use super::health::Health;

/// The first pause; each is twice the one before.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A hold is told when it has lasted so long: what blinks is nobody's business.
const TOLD_AFTER: Duration = Duration::from_secs(1);
/// A partition that is being opened waits so long; then the start fails, and says why.
const OPEN_PATIENCE: Duration = Duration::from_secs(60);

/// One thing that is waited for, again and again.
pub(super) struct FoldHold {
    context: Arc<PartitionContext>,
    health: Arc<Health>,
    /// The thing that is waited for, for messages.
    what: &'static str,
    /// When the first try failed; none before.
    since: Option<Tick>,
    pause: Duration,
    is_told: bool,
}

impl FoldHold {
    pub fn new(health: &Arc<Health>, what: &'static str) -> Self {
        let (context, health) = (health.context().clone(), health.clone());
        Self { context, health, what, since: None, pause: PAUSE_MIN, is_told: false }
    }

    /// Waits before the next try.
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

    /// Waits before the next try while a partition is being opened; gives up on what does not pass by itself.
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

    /// Ends the wait: the thing has been read.
    pub fn end(&mut self) {
        if self.is_told && self.health.note_hold(None).is_some() {
            tracing::info!(partition = %self.context.id, what = self.what, "the fold goes on");
        }
        (self.since, self.pause, self.is_told) = (None, PAUSE_MIN, false);
    }

    fn lasts(&mut self) -> Duration {
        let now = self.context.env.clock.now();
        now.since(*self.since.get_or_insert(now))
    }

    async fn pause(&mut self) {
        self.context.env.clock.sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}
