//! What makes of rows what a door sends.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use crate::error::SqlError;

/// Writes a result's rows, piece by piece. It works on the engine's threads, so that whoever serves uploads and
/// downloads only hands pieces over. The engine asks between pieces whether the query is still wanted.
pub trait RowSink: Send + 'static {
    /// The piece that is handed over.
    type Piece: Send + 'static;

    /// Takes the columns, before any row.
    fn begin(&mut self, schema: &SchemaRef) -> Result<(), SqlError>;

    /// Writes some of a batch's rows from its first on, at least one. Gives a piece, and how many rows it took.
    fn rows(&mut self, rows: &RecordBatch) -> Result<(Option<Self::Piece>, usize), SqlError>;

    /// The bytes after the last row.
    fn end(&mut self) -> Result<Option<Self::Piece>, SqlError>;
}
