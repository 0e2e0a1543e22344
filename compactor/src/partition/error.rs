//! Errors of a partition: opening it, writing to it, merging its runs.

use ingest::bulk::BulkError;
use ingest::codec::EncodeError;
use ingest::env::DiskError;
use ingest::log::{AppendError, ReadError};

use super::readiness::UnreadyReason;
use crate::catalog::LoadError;

/// A partition could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The catalog cannot be used.
    #[error(transparent)]
    Catalog(#[from] LoadError),
    /// The log or a file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The bulk files cannot be used.
    #[error(transparent)]
    Bulk(#[from] BulkError),
    /// The fold stopped while it replayed.
    #[error("the fold stopped: {0}")]
    Fold(String),
}

/// A record was not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// What the outcome hangs on cannot be read. Nothing was appended.
    #[error("what was there before cannot be read: {0}")]
    Unreadable(#[source] ReadError),
    /// The record is longer than a record may be. Nothing was appended.
    #[error("the request is larger than can be stored: {0}")]
    TooLarge(#[from] EncodeError),
    /// The log did not take it, or says that it does not know.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// It is not in the log and never will be. Try again.
    #[error("the log did not take it in time; nothing was done")]
    NotDone,
    /// This node's copy is not to be trusted.
    #[error("{0}")]
    Quarantined(String),
    /// This node could not tell the outcome in time; nothing was appended. Try again later, or another node.
    #[error("{0}")]
    NotNow(UnreadyReason),
    /// Cuts lag behind; nothing was appended. Try again later.
    #[error("too much waits to be folded; try again later")]
    Overloaded,
    /// The record is in the log, and the fold stopped before it came to it: the outcome is unknown.
    #[error("the fold has stopped: {0}")]
    Stopped(String),
}

/// Runs could not be merged. Nothing has changed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the runs could not be merged: {0}")]
pub struct MergeError(pub(crate) String);
