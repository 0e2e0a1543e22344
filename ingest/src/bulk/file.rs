//! An open bulk file: its writers share it, one task owns its syncs.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::BulkError;
use super::format::BulkFileId;
use crate::env::{DiskError, Env, File, Task};
use crate::mutant::Mutant;

/// A file that uploads are written to.
pub struct BulkFile {
    pub identity: BulkFileId,
    pub handle: Arc<dyn File>,
    syncs: Arc<SyncQueue>,
    /// Cancelled with the last upload's handle: then nobody waits for a sync. The lock is for sharing
    /// between threads only, nobody ever takes it.
    _syncer: Mutex<Task>,
}

/// What the uploads of a file and its sync task share.
#[derive(Default)]
struct SyncQueue {
    progress: Mutex<WriteProgress>,
    /// Wakes the task.
    requested: Notify,
    /// Wakes those who wait for the task.
    moved: Notify,
}

#[derive(Default)]
struct WriteProgress {
    /// How many syncs have been asked for.
    requested: u64,
    /// Everything written before this request was made is durable.
    done: u64,
    /// Why the file is given up. Nothing is made durable after it.
    failure: Option<String>,
}

/// A sync that has been asked for.
#[derive(Clone, Copy)]
pub struct SyncRequest(u64);

impl BulkFile {
    pub fn new(env: &Env, identity: BulkFileId, handle: Arc<dyn File>) -> Self {
        let syncs = Arc::new(SyncQueue::default());
        let skips_sync = env.mutated(Mutant::SkipBulkSync);
        let task = syncs.clone().run(handle.clone(), skips_sync);
        let syncer = env.rt.spawn("bulk syncs", Box::pin(task));
        Self { identity, handle, syncs, _syncer: Mutex::new(syncer) }
    }

    /// Gives the file up: every upload that is not durable yet fails, and none begins in it again. What
    /// a failed sync or write leaves behind is in doubt for ever, so nothing is tried a second time.
    pub fn fail(&self, error: &DiskError) {
        self.syncs.fail(error);
    }

    /// Why the file has been given up, if it has.
    pub fn failure(&self) -> Option<BulkError> {
        self.syncs.progress.lock().failure.as_ref().map(|reason| self.failed(reason))
    }

    fn failed(&self, reason: &str) -> BulkError {
        BulkError::Failed { file: self.handle.path().to_string(), reason: reason.into() }
    }

    /// Asks for a sync of everything whose write has ended. Requests that come while one sync runs share
    /// the next.
    pub fn request_sync(&self) -> SyncRequest {
        let mut progress = self.syncs.progress.lock();
        progress.requested += 1;
        self.syncs.requested.notify_one();
        SyncRequest(progress.requested)
    }

    /// Waits until what a request covers is durable.
    pub async fn synced(&self, request: SyncRequest) -> Result<(), BulkError> {
        loop {
            // Registered before the look, so that no move in between is missed.
            let moved = self.syncs.moved.notified();
            {
                let progress = self.syncs.progress.lock();
                if progress.done >= request.0 {
                    return Ok(());
                }
                if let Some(reason) = &progress.failure {
                    return Err(self.failed(reason));
                }
            }
            moved.await;
        }
    }
}

impl SyncQueue {
    async fn run(self: Arc<Self>, file: Arc<dyn File>, skips_sync: bool) {
        loop {
            self.requested.notified().await;
            let covered = self.progress.lock().requested;
            let synced = if skips_sync { Ok(()) } else { file.sync().await };
            match synced {
                Ok(()) => {
                    let mut progress = self.progress.lock();
                    // A file that was given up meanwhile makes nothing durable any more.
                    if progress.failure.is_some() {
                        return;
                    }
                    progress.done = covered;
                }
                Err(error) => return self.fail(&error),
            }
            self.moved.notify_waiters();
        }
    }

    fn fail(&self, error: &DiskError) {
        {
            let mut progress = self.progress.lock();
            if progress.failure.is_some() {
                return;
            }
            progress.failure = Some(error.to_string());
        }
        tracing::error!(%error, "a bulk file is given up; its unfinished uploads fail");
        self.moved.notify_waiters();
    }
}
