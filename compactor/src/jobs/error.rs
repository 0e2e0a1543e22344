//! The error of flushes and merges.

use ingest::bulk::BulkError;
use ingest::env::DiskError;
use ingest::log::ReadError;
use ingest::place::Place;

use crate::catalog::store::EditError;
use crate::sealed::SealError;

/// The error of a flush or merge, which is tried again. Readers see no change, unless the catalog was
/// published and only the trim of the log failed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A new file could not be written.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The disk failed to create, remove or sync.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A source cannot be read (a record in the log, a run, a segment), or the log cannot be trimmed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Payload in bulk files could not be made durable. The flush job then stops the partition.
    #[error(transparent)]
    Bulk(#[from] BulkError),
    /// The catalog could not be published, or its new files could not be opened.
    #[error(transparent)]
    Edit(#[from] EditError),
}

impl JobError {
    /// Returns the place of the file or folder that could not be written; `None` for any other error.
    pub fn place(&self) -> Option<Place> {
        match self {
            JobError::Seal(SealError::Disk(error)) | JobError::Disk(error) => {
                Some(error.path.place())
            }
            _ => None,
        }
    }
}
