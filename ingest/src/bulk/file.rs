//! A bulk file that takes reservations, and its syncs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::frame::{FILE_HEAD_BYTES, FileHead};
use crate::env::{DiskError, DiskErrorKind, File};
use crate::words::BulkId;

pub struct OpenFile {
    pub id: BulkId,
    pub head: FileHead,
    pub file: Arc<dyn File>,
    /// Where the next extent begins.
    reserved: AtomicU64,
    /// Counts requests to sync.
    asked: AtomicU64,
    /// Held by the one sync under way: the last request that a sync has covered.
    synced: tokio::sync::Mutex<u64>,
    /// Set by the first failure, for good.
    failure: Mutex<Option<DiskError>>,
}

impl OpenFile {
    pub fn new(head: FileHead, file: Arc<dyn File>) -> Self {
        Self {
            id: head.id,
            head,
            file,
            reserved: AtomicU64::new(FILE_HEAD_BYTES as u64),
            asked: AtomicU64::new(0),
            synced: tokio::sync::Mutex::new(0),
            failure: Mutex::new(None),
        }
    }

    pub fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Takes space; reservations are made one at a time.
    pub fn reserve(&self, bytes: u64) -> u64 {
        self.reserved.fetch_add(bytes, Ordering::Relaxed)
    }

    pub fn has_failed(&self) -> bool {
        self.failure.lock().is_some()
    }

    pub fn fail(&self, error: &DiskError) {
        self.failure.lock().get_or_insert_with(|| error.clone());
    }

    /// Syncs everything written before the call. Calls that wait share the next sync. Once a write or sync
    /// has failed nobody is told that anything in this file is safe.
    pub async fn sync(&self) -> Result<(), DiskError> {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut synced = self.synced.lock().await;
        if let Some(failure) = self.failure.lock().clone() {
            return Err(DiskError { kind: DiskErrorKind::Io, ..failure });
        }
        if *synced >= mine {
            return Ok(());
        }
        let covers = self.asked.load(Ordering::SeqCst);
        if let Err(error) = self.file.sync().await {
            self.fail(&error);
            return Err(error);
        }
        *synced = covers;
        Ok(())
    }
}
