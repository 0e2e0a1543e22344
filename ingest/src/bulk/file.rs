//! An open bulk file. Uploads share it, and one task owns its syncs.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::BulkError;
use super::format::BulkFileId;
use crate::env::{DiskError, Env, File, Task};
use crate::mutant::Mutant;

/// A file that uploads are written to, at places that do not overlap.
pub struct BulkFile {
    pub identity: BulkFileId,
    /// The open file. Uploads write through it, but only [`BulkFile::request_sync`] syncs it.
    pub handle: Arc<dyn File>,
    syncs: Arc<SyncQueue>,
    /// The sync task, cancelled when the last upload drops the file, since no caller waits for a sync
    /// then. The lock only makes the field shareable between threads, and is never taken.
    _syncer: Mutex<Task>,
}

/// State that the uploads of a file share with its sync task.
#[derive(Default)]
struct SyncQueue {
    progress: Mutex<WriteProgress>,
    /// Wakes the task.
    requested: Notify,
    /// Wakes the callers that wait for the task.
    moved: Notify,
}

#[derive(Default)]
struct WriteProgress {
    /// Number of syncs that have been requested.
    requested: u64,
    /// The number of the newest completed request: bytes written before that request are durable.
    done: u64,
    /// The reason why the file has failed. Set once; nothing is made durable after it.
    failure: Option<String>,
}

/// The number of a requested sync, for [`BulkFile::synced`].
#[derive(Clone, Copy)]
pub struct SyncRequest(u64);

impl BulkFile {
    /// Takes a new file whose header is written, and starts its sync task. The caller syncs the folder
    /// before any payload is acknowledged.
    pub fn new(env: &Env, identity: BulkFileId, handle: Arc<dyn File>) -> Self {
        let syncs = Arc::new(SyncQueue::default());
        let skips_sync = env.mutated(Mutant::SkipBulkSync);
        let task = syncs.clone().run(handle.clone(), skips_sync);
        let syncer = env.rt.spawn("bulk syncs", Box::pin(task));
        Self { identity, handle, syncs, _syncer: Mutex::new(syncer) }
    }

    /// Marks the file as failed: every upload that is not durable yet fails, and no new one begins in
    /// it. Bytes that a failed sync or write leaves behind are in doubt for ever, so nothing is
    /// retried. Only the first call counts.
    pub fn fail(&self, error: &DiskError) {
        self.syncs.fail(error);
    }

    /// The error of every upload in this file, once it has failed; none before. Never reset.
    pub fn failure(&self) -> Option<BulkError> {
        self.syncs.progress.lock().failure.as_ref().map(|reason| self.failed(reason))
    }

    /// The error of an upload in a failed file.
    fn failed(&self, reason: &str) -> BulkError {
        BulkError::Failed { file: self.handle.path().to_string(), reason: reason.into() }
    }

    /// Requests a sync of all bytes whose write has ended before this call. Never waits. Requests that
    /// come during one sync share the next.
    pub fn request_sync(&self) -> SyncRequest {
        let mut progress = self.syncs.progress.lock();
        progress.requested += 1;
        self.syncs.requested.notify_one();
        SyncRequest(progress.requested)
    }

    /// Waits until the bytes that a request covers are durable. Fails when the file fails before. May
    /// be dropped at any time; the sync continues.
    pub async fn synced(&self, request: SyncRequest) -> Result<(), BulkError> {
        loop {
            // Registered before the state is read, so that no change in between is missed.
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
    /// Syncs whenever a sync is requested, one at a time. Ends when the file fails.
    async fn run(self: Arc<Self>, file: Arc<dyn File>, skips_sync: bool) {
        loop {
            self.requested.notified().await;
            // Read before the sync begins: a request that comes during the sync may cover bytes that
            // this sync does not.
            let covered = self.progress.lock().requested;
            let synced = if skips_sync { Ok(()) } else { file.sync().await };
            match synced {
                Ok(()) => {
                    let mut progress = self.progress.lock();
                    // A write that failed meanwhile must not be covered up by a sync that succeeds.
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

    /// Marks the file as failed, and wakes all callers that wait for a sync.
    fn fail(&self, error: &DiskError) {
        {
            let mut progress = self.progress.lock();
            if progress.failure.is_some() {
                return;
            }
            progress.failure = Some(error.to_string());
        }
        tracing::error!(%error, "a bulk file has failed; its unfinished uploads fail");
        self.moved.notify_waiters();
    }
}
