//! The seam between the engine and the encoding of results.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use crate::error::SqlError;

/// Encodes a result's rows piece by piece. Called on the engine's threads, so that the threads that serve
/// uploads and downloads only pass pieces on. The engine checks between calls that the query is not cancelled;
/// a call should therefore be short.
///
/// Calls come in order: `begin` once, `rows` any number of times, then `end` once. After an error there are no
/// more calls.
pub trait RowSink: Send + 'static {
    /// A piece of the encoded result.
    type Piece: Send + 'static;

    /// Receives the columns, before any row. An error ends the query before its result begins.
    fn begin(&mut self, schema: &SchemaRef) -> Result<(), SqlError>;

    /// Encodes rows of a batch from its first row on, at least one. Returns a piece, if there is one already,
    /// and the number of rows that were encoded; the engine calls again with the rest. An error ends the query.
    fn rows(&mut self, rows: &RecordBatch) -> Result<(Option<Self::Piece>, usize), SqlError>;

    /// Returns the bytes after the last row, if any. Not called after an error.
    fn end(&mut self) -> Result<Option<Self::Piece>, SqlError>;
}
