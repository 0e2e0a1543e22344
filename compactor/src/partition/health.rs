//! The health of a partition: why it serves nothing, why the fold has stopped or waits, and how the
//! background jobs fare. Other parts report here; readiness and warnings are read from here.

use std::sync::Arc;

use bytes::Bytes;
use ingest::env::{DiskError, DiskErrorKind, Env, Fut, OpenMode};
use tokio::sync::watch;

use super::context::PartitionContext;
use super::failure_count::FailureCount;
use crate::layout::PartitionLayout;

/// See the module's description.
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
    /// Starts healthy, but for the quarantine that [`read_quarantine`] found.
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

    /// The partition that this is the health of.
    pub fn context(&self) -> &Arc<PartitionContext> {
        &self.context
    }

    /// The reason for quarantine, or `None` while the copy is healthy.
    pub fn quarantined(&self) -> Option<String> {
        self.quarantined.borrow().clone()
    }

    /// The reason why the fold has stopped, or `None` while it runs.
    pub fn stopped(&self) -> Option<String> {
        self.stopped.borrow().clone()
    }

    /// Tells that the fold has stopped, without a copy of the reason.
    pub fn is_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }

    /// Waits until the fold has stopped; gives the reason.
    pub async fn until_stopped(&self) -> String {
        let mut stopped = self.stopped.subscribe();
        let reason = stopped.wait_for(Option::is_some).await;
        reason.ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }

    /// Notes that the fold has stopped, for good: only a restart begins another one. Called by the writer,
    /// which must answer the records that wait.
    pub fn note_stop(&self, reason: String) {
        self.stopped.send_replace(Some(reason));
    }

    /// The reason why the fold waits, once it has waited long.
    pub fn held(&self) -> Option<String> {
        self.held.borrow().clone()
    }

    /// Notes why the fold waits, or with `None` that it goes on; gives the former reason.
    pub fn note_hold(&self, reason: Option<String>) -> Option<String> {
        self.held.send_replace(reason)
    }

    /// Tells that the log has been replayed. Before that memtables do not know all that they refer to, so
    /// no file may be removed; and records about nodes are history.
    pub fn is_replayed(&self) -> bool {
        *self.replayed.borrow()
    }

    /// Notes that the log has been replayed.
    pub fn note_replayed(&self) {
        self.replayed.send_replace(true);
    }

    /// Takes this node's copy out of service, over restarts too: the reason is written to a file. The write
    /// goes on after the return; when it fails, the quarantine ends with the process, and an error is logged.
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

/// Reads the reason for which an earlier process took this node's copy out of service; `None` when none did.
/// Fails when the file cannot be read for lack of handles or memory, which says nothing about the copy.
pub(super) async fn read_quarantine(
    env: &Env,
    layout: &PartitionLayout,
) -> Result<Option<String>, DiskError> {
    let unread =
        || "this node's copy was taken out of service; remove it and start again".to_owned();
    let file = match env.disk.open(&layout.quarantine(), OpenMode::Read).await {
        Ok(file) => file,
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(None),
        // That handles are short says nothing of the copy, and the start is tried again;
        Err(error) if !error.kind.is_of_the_bytes() => return Err(error),
        // one that may have been taken out of service is not served.
        Err(_) => return Ok(Some(unread())),
    };
    let len = file.len().await.unwrap_or_default() as usize;
    Ok(Some(match file.read_at(0, len).await {
        Ok(bytes) if !bytes.is_empty() => String::from_utf8_lossy(&bytes).into_owned(),
        _ => unread(),
    }))
}
