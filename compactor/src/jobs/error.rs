//! The error of flushes and merges.

use ingest::bulk::BulkError;
use ingest::env::DiskError;
use ingest::log::ReadError;

use crate::catalog::store::EditError;
use crate::sealed::SealError;

/// A cut or merge could not write its files. Nothing has changed; it may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Writing failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What is to be folded cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Payload could not be made durable.
    #[error(transparent)]
    Bulk(#[from] BulkError),
    /// The catalog could not be published.
    #[error(transparent)]
    Edit(#[from] EditError),
}
