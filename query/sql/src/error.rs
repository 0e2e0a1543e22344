//! What may become of a query.

use datafusion::error::DataFusionError;
use ingest::log::ReadError;

/// A query was not answered, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The text is no query, names what is not there, or wants to change something.
    #[error("{0}")]
    Refused(String),
    /// A file could not be read; the rest of the answer would be missing.
    #[error("{0}")]
    Read(String),
    /// The query needs more memory than queries may have.
    #[error("{0}")]
    Memory(String),
    /// The query took longer than queries may.
    #[error("the query was ended after {0} seconds")]
    Deadline(u64),
    /// Something else went wrong while it ran.
    #[error("{0}")]
    Failed(String),
}

impl SqlError {
    /// An error met while planning: the query's fault unless it says otherwise.
    pub(crate) fn planning(error: &DataFusionError) -> Self {
        match Self::running(error) {
            SqlError::Failed(text) => SqlError::Refused(text),
            other => other,
        }
    }

    /// An error met while running: operators pass it on in wrappings of their own.
    pub(crate) fn running(error: &DataFusionError) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(this) = cause {
            if let Some(read) = this.downcast_ref::<ReadError>() {
                return SqlError::Read(read.to_string());
            }
            cause = match this.downcast_ref::<DataFusionError>() {
                Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
                _ => this.source(),
            };
        }
        match error.find_root() {
            DataFusionError::ResourcesExhausted(text) => SqlError::Memory(text.clone()),
            root => SqlError::Failed(root.strip_backtrace()),
        }
    }
}
