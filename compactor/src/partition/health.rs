//! The health of a partition: quarantine, a stopped or waiting fold, and failures of background jobs. Other
//! parts report here; readiness and warnings read from here.

use std::sync::Arc;

use bytes::Bytes;
use ingest::env::{DiskError, DiskErrorKind, Env, Fut, OpenMode};
use tokio::sync::watch;

use super::context::PartitionContext;
use super::failure_count::FailureCount;
use crate::layout::PartitionLayout;

/// The health of one partition.
pub(crate) struct Health {
    context: Arc<PartitionContext>,
    /// The reason for quarantine, or `None` while the copy is healthy.
    quarantined: watch::Sender<Option<String>>,
    /// The reason why the fold has stopped, or `None` while it runs.
    stopped: watch::Sender<Option<String>>,
    /// The reason why the fold waits, once it has waited long; `None` otherwise.
    held: watch::Sender<Option<String>>,
    /// True once the log has been replayed.
    replayed: watch::Sender<bool>,
    /// Flushes that failed in a row.
    pub flushes: FailureCount,
    /// Merges that failed in a row.
    pub merges: FailureCount,
}

impl Health {
    /// Begins healthy, except for the quarantine that [`read_quarantine`] has found.
    pub fn new(context: Arc<PartitionContext>, quarantine: Option<String>) -> Self {
        Self {
            context,
            quarantined: watch::Sender::new(quarantine),
            stopped: watch::Sender::new(None),
            held: watch::Sender::new(None),
            replayed: watch::Sender::new(false),
            flushes: FailureCount::default(),
            merges: FailureCount::default(),
        }
    }

    /// Returns the context of the partition, for parts that only hold its health.
    pub fn context(&self) -> &Arc<PartitionContext> {
        &self.context
    }

    /// Returns the reason for quarantine, or `None` while the copy is healthy. Never becomes `None` again
    /// within a process.
    pub fn quarantined(&self) -> Option<String> {
        self.quarantined.borrow().clone()
    }

    /// Returns the reason why the fold has stopped, or `None` while it runs. Only a restart begins another
    /// fold.
    pub fn stopped(&self) -> Option<String> {
        self.stopped.borrow().clone()
    }

    /// Returns true if the fold has stopped, without a copy of the reason.
    pub fn is_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }

    /// Waits until the fold has stopped; returns the reason. Ends at once after the stop. May be cancelled.
    pub async fn until_stopped(&self) -> String {
        let mut stopped = self.stopped.subscribe();
        let reason = stopped.wait_for(Option::is_some).await;
        reason.ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }

    /// Notes that the fold has stopped for good, since only a restart begins another one. Called by the
    /// writer only, which must then fail the waiting requests.
    pub fn note_stop(&self, reason: String) {
        self.stopped.send_replace(Some(reason));
    }

    /// Returns the reason why the fold waits, once it has waited for a second or met damage; `None`
    /// otherwise.
    pub fn held(&self) -> Option<String> {
        self.held.borrow().clone()
    }

    /// Notes the reason why the fold waits, or with `None` that it continues; returns the former reason.
    /// Called by the fold only.
    pub fn note_hold(&self, reason: Option<String>) -> Option<String> {
        self.held.send_replace(reason)
    }

    /// Returns true once the log has been replayed. Before that the memtables do not have all references,
    /// so no file may be removed, and records about nodes are history without effect.
    pub fn is_replayed(&self) -> bool {
        *self.replayed.borrow()
    }

    /// Notes that the log has been replayed. Called once, by the fold, before it accepts new records.
    pub fn note_replayed(&self) {
        self.replayed.send_replace(true);
    }

    /// Puts this node's copy in quarantine, also for later processes: the reason is written to a file.
    /// Fresh reads and all writes are refused at once; the file is written after the return. If that fails,
    /// the quarantine ends with the process, and an error is logged. Later calls only replace the reason in
    /// memory.
    pub fn quarantine(&self, reason: String) {
        if self.quarantined.send_replace(Some(reason.clone())).is_some() {
            return;
        }
        let (disk, path) = (self.context.env.disk.clone(), self.context.layout.quarantine());
        let keep: Fut<'static, ()> = Box::pin(async move {
            let written = async {
                let file = disk.open(&path, OpenMode::Create).await?;
                file.write_synced(0, Bytes::from(reason)).await?;
                disk.sync_folder(path.folder().as_ref()).await
            };
            if let Err(error) = written.await {
                tracing::error!(%error, "the quarantine will not outlast this process");
            }
        });
        self.context.env.rt.spawn("quarantine", keep).detach();
    }
}

/// Reads the reason for which an earlier process put this node's copy in quarantine; `None` if none did.
/// Fails if handles or memory are exhausted, which does not concern the copy. A file that cannot be read
/// otherwise counts as quarantine.
pub(super) async fn read_quarantine(
    env: &Env,
    layout: &PartitionLayout,
) -> Result<Option<String>, DiskError> {
    let unread =
        || "this node's copy was taken out of service; remove it and start again".to_owned();
    let file = match env.disk.open(&layout.quarantine(), OpenMode::Read).await {
        Ok(file) => file,
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(None),
        // Exhausted handles do not concern the copy, and the start is tried again;
        Err(error) if !error.kind.is_of_the_bytes() => return Err(error),
        // but a copy that may be in quarantine must not serve.
        Err(_) => return Ok(Some(unread())),
    };
    let len = file.len().await.unwrap_or_default() as usize;
    Ok(Some(match file.read_at(0, len).await {
        Ok(bytes) if !bytes.is_empty() => String::from_utf8_lossy(&bytes).into_owned(),
        _ => unread(),
    }))
}
