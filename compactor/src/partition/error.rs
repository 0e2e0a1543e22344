//! The errors of a partition: opening it, writing to it, merging its runs.

use ingest::bulk::BulkError;
use ingest::codec::EncodeError;
use ingest::env::DiskError;
use ingest::log::{AppendError, ReadError};

use super::readiness::UnreadyReason;
use crate::catalog::LoadError;

/// The error of opening a partition, which then serves neither reads nor writes.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The catalog cannot be loaded.
    #[error(transparent)]
    Catalog(#[from] LoadError),
    /// The log or a sealed file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The bulk files cannot be opened.
    #[error(transparent)]
    Bulk(#[from] BulkError),
    /// A state entry of the catalog cannot be decoded, or this process's writer could not be opened in the
    /// log.
    #[error("the fold stopped: {0}")]
    Fold(String),
}

/// The error of a record without an outcome. For each variant the docs name the state of the record in the
/// log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The prior state on which the outcome depends cannot be read. Nothing was appended.
    #[error("the prior state cannot be read: {0}")]
    Unreadable(#[source] ReadError),
    /// The record is longer than the format allows. Nothing was appended; a retry fails again.
    #[error("the request is larger than can be stored: {0}")]
    TooLarge(#[from] EncodeError),
    /// The log refused the record, or this node did for lack of space; nothing was appended then. With
    /// [`AppendError::Unknown`] the record may be in the log, and may be applied later.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The record is certainly not in effect in the log, now and later. A retry is safe.
    #[error("the log did not accept the record in time; nothing was done")]
    NotDone,
    /// The copy on this node is quarantined. Nothing was appended; another node may accept the record.
    #[error("{0}")]
    Quarantined(String),
    /// The outcome could not be known in time on this node. Nothing was appended; retry later, or on
    /// another node.
    #[error("{0}")]
    NotNow(UnreadyReason),
    /// Flushes lag behind. Nothing was appended; retry later.
    #[error("flushes lag behind; try again later")]
    Overloaded,
    /// The fold has stopped. The record may be in the log, and a restart may apply it: the outcome is
    /// unknown.
    #[error("the fold has stopped: {0}")]
    Stopped(String),
}

/// The error of a requested merge of all runs. Readers see no change.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the runs could not be merged: {0}")]
pub struct MergeError(pub(crate) String);
