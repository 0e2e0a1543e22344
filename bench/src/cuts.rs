//! Cuts of the log at a fixed period while a load runs: without them a rate would leave out the cost of
//! folding the log.

use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::client::post_admin;

/// Posts one cut to the admin address, and returns after the server has published it.
///
/// Fails if the server cannot be reached, answers with an error, or takes longer than 60 s.
pub async fn cut(admin: &str) -> anyhow::Result<()> {
    post_admin(admin, "/cut").await.context("the server made no cut")
}

/// The cuts that were made while a load ran.
#[derive(Clone, Copy, Default, Debug)]
pub struct CutsMade {
    /// The number of cuts that were complete before the load ended.
    pub count: u64,
    /// The duration of the slowest of these cuts; 0 if there was none.
    pub slowest: Duration,
}

/// A task that makes cuts until it is stopped. Dropping the value stops the task after the cut under way.
pub struct CutLoop {
    stop: watch::Sender<bool>,
    task: JoinHandle<anyhow::Result<CutsMade>>,
}

impl CutLoop {
    /// Starts a task that cuts at every multiple of `period` from now on, until [`Self::finish`].
    ///
    /// A cut that takes longer than a period delays the next one, which then begins at once. After a cut that
    /// fails the task makes no more cuts. Must be called within a Tokio runtime.
    pub fn every(period: Duration, admin: String) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { stop, task: tokio::spawn(make(period, admin, stopped)) }
    }

    /// Stops the task and returns the cuts that were made.
    ///
    /// Waits for a cut that is under way, so that no cut overlaps the next measurement; that cut is not
    /// counted. Fails if one of the cuts has failed.
    pub async fn finish(self) -> anyhow::Result<CutsMade> {
        self.stop.send_replace(true);
        self.task.await?
    }
}

async fn make(
    period: Duration,
    admin: String,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<CutsMade> {
    let mut made = CutsMade::default();
    let mut next = Instant::now() + period;
    // The wait ends with a timeout unless the loop was stopped.
    while timeout_at(next, stopped.wait_for(|stopped| *stopped)).await.is_err() {
        let began = Instant::now();
        cut(&admin).await?;
        if !*stopped.borrow() {
            made.slowest = made.slowest.max(began.elapsed());
            made.count += 1;
        }
        next += period;
    }
    Ok(made)
}
