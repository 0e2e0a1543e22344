//! Cuts at a cadence while a load runs: a rate that is only good until the log is folded is no rate.

use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::client::post_admin;

/// Asks for one cut, and waits until it is published.
pub async fn cut(admin: &str) -> anyhow::Result<()> {
    post_admin(admin, "/cut").await.context("the server made no cut")
}

/// Cuts that were made while a load ran.
#[derive(Clone, Copy, Default, Debug)]
pub struct CutsMade {
    /// How many were complete before the load was.
    pub count: u64,
    /// The slowest of them.
    pub slowest: Duration,
}

/// Cuts that are being made.
pub struct CutLoop {
    stop: watch::Sender<bool>,
    task: JoinHandle<anyhow::Result<CutsMade>>,
}

impl CutLoop {
    /// Cuts at every multiple of `period` from now on, until `finish`. After a cut that takes longer the
    /// next one begins at once.
    pub fn every(period: Duration, admin: String) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { stop, task: tokio::spawn(make(period, admin, stopped)) }
    }

    /// Tells of the cuts that were made. Waits for one that is under way, so that whatever is measured
    /// next does not run beside it, and leaves it out.
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
    // The wait runs out as long as nobody stops it.
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
