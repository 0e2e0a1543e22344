//! Converts rows to the columns and values of PostgreSQL's protocol.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, MapArray, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use futures::{StreamExt, stream};
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldInfo, QueryResponse};
use pgwire::error::{ErrorInfo, PgWireResult};
use pgwire::messages::data::DataRow;
use sql::{QueryRows, RowSink, SqlError};

use crate::failure;

/// The bytes after which a piece of a result is complete; a single row may have more.
const PIECE_BYTES: usize = 256 << 10;

/// The way in which a column is encoded.
enum ColumnFormat {
    /// Without conversion.
    AsItIs,
    /// After a cast to a type of Arrow that PostgreSQL has.
    Cast(DataType),
    /// As a text with a JSON object, for maps, which PostgreSQL has not.
    Json,
    /// As a text, for all types that PostgreSQL has not or arrow-pg cannot encode.
    Text,
}

/// Returns true for types that arrow-pg encodes without conversion. A type that is not listed becomes text:
/// arrow-pg must never receive one that it cannot encode.
fn is_written(kind: &DataType) -> bool {
    match kind {
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(_, _)
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(_, _)
        | DataType::Interval(_)
        | DataType::Duration(_) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            !item.data_type().is_nested() && is_written(item.data_type())
        }
        DataType::Struct(fields) => fields
            .iter()
            .all(|field| !field.data_type().is_nested() && is_written(field.data_type())),
        _ => false,
    }
}

/// Returns the way in which columns of a type are encoded.
fn how(kind: &DataType) -> ColumnFormat {
    match kind {
        DataType::Map(_, _) => ColumnFormat::Json,
        DataType::Float16 => ColumnFormat::Cast(DataType::Float32),
        DataType::FixedSizeBinary(_) => ColumnFormat::Cast(DataType::Binary),
        DataType::Dictionary(_, value) if is_written(value) && !value.is_nested() => {
            ColumnFormat::Cast(value.as_ref().clone())
        }
        kind if is_written(kind) => ColumnFormat::AsItIs,
        _ => ColumnFormat::Text,
    }
}

/// Returns the schema after conversion.
fn shown(schema: &Schema) -> Schema {
    let field = |field: &FieldRef| match how(field.data_type()) {
        ColumnFormat::AsItIs => field.clone(),
        ColumnFormat::Cast(kind) => Arc::new(Field::new(field.name(), kind, true)),
        ColumnFormat::Json | ColumnFormat::Text => {
            Arc::new(Field::new(field.name(), DataType::Utf8, true))
        }
    };
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}

/// Returns the descriptions of a result's columns, in order, for the client. Fails only if a type has no
/// counterpart in PostgreSQL, which conversion to text prevents.
pub fn fields(schema: &Schema, format: &Format) -> PgWireResult<Vec<FieldInfo>> {
    arrow_schema_to_pg_fields(&shown(schema), format, None)
}

/// Converts maps to JSON objects. Keys and values are texts in all tables here; values of other types are
/// printed.
fn json(maps: &MapArray) -> Result<ArrayRef, ArrowError> {
    let options = FormatOptions::default().with_null("");
    let keys = ArrayFormatter::try_new(maps.keys(), &options)?;
    let values = ArrayFormatter::try_new(maps.values(), &options)?;
    let offsets = maps.value_offsets();
    let object = |row: usize| {
        let pair = |at: usize| {
            let value = match maps.values().is_valid(at) {
                true => values.value(at).to_string().into(),
                false => serde_json::Value::Null,
            };
            (keys.value(at).to_string(), value)
        };
        let entries = offsets[row] as usize..offsets[row + 1] as usize;
        serde_json::Value::Object(entries.map(pair).collect()).to_string()
    };
    let texts = (0..maps.len()).map(|row| maps.is_valid(row).then(|| object(row)));
    Ok(Arc::new(texts.collect::<StringArray>()))
}

/// Converts any column to texts; NULL stays NULL.
fn texts(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let text = |row: usize| -> Result<Option<String>, ArrowError> {
        match column.is_valid(row) {
            true => formatter.value(row).try_to_string().map(Some),
            false => Ok(None),
        }
    };
    let texts: Result<StringArray, ArrowError> = (0..column.len()).map(text).collect();
    Ok(Arc::new(texts?))
}

/// Converts all columns of a batch to types that arrow-pg encodes.
fn batch(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let column = |column: &ArrayRef| match how(column.data_type()) {
        ColumnFormat::AsItIs => Ok(column.clone()),
        ColumnFormat::Cast(kind) => cast(column, &kind),
        ColumnFormat::Json => column.as_map_opt().map_or_else(|| texts(column), json),
        ColumnFormat::Text => texts(column),
    };
    let columns: Result<Vec<ArrayRef>, ArrowError> = rows.columns().iter().map(column).collect();
    // A batch without columns still has rows.
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(shown(rows.schema_ref())), columns?, &options)
}

/// Encodes rows for a client, on the engine's threads.
pub struct RowWriter {
    format: Format,
    fields: Arc<Vec<FieldInfo>>,
}

impl RowWriter {
    /// Makes a sink for one result in the format, text or binary, that the client chose for each column; used
    /// only once.
    pub fn new(format: &Format) -> Self {
        Self { format: format.clone(), fields: Arc::default() }
    }
}

/// The error for a value that cannot be encoded.
fn unwritten(error: impl Into<ErrorInfo>) -> SqlError {
    let info = error.into();
    SqlError::Value(format!("a value cannot be sent over this protocol: {}", info.message))
}

impl RowSink for RowWriter {
    type Piece = Vec<DataRow>;

    fn begin(&mut self, schema: &SchemaRef) -> Result<(), SqlError> {
        self.fields = Arc::new(fields(schema, &self.format).map_err(unwritten)?);
        Ok(())
    }

    fn rows(&mut self, rows: &RecordBatch) -> Result<(Option<Vec<DataRow>>, usize), SqlError> {
        const ROWS: usize = 256;
        // Conversion copies: a slice bounds the memory and the time between two checks for cancellation.
        let some = rows.slice(0, rows.num_rows().min(ROWS));
        let some = batch(&some).map_err(|error| SqlError::Value(error.to_string()))?;
        let (mut piece, mut bytes) = (Vec::new(), 0);
        // The iterator repeats an error without end, so the first one must end the loop.
        for row in encode_recordbatch(self.fields.clone(), some) {
            let row = row.map_err(unwritten)?;
            bytes += row.data.len();
            piece.push(row);
            if bytes >= PIECE_BYTES {
                break;
            }
        }
        let taken = piece.len();
        Ok((Some(piece), taken))
    }

    fn end(&mut self) -> Result<Option<Vec<DataRow>>, SqlError> {
        Ok(None)
    }
}

/// Makes the response that sends a result's rows in order, as they arrive.
///
/// An error while the query runs is the last item, with its SQLSTATE; the client then knows that rows are
/// missing. Dropping the response cancels the query. Errors: only if the columns cannot be described.
pub fn response(
    rows: QueryRows<Vec<DataRow>>,
    format: &Format,
    text: String,
) -> PgWireResult<QueryResponse> {
    let fields = Arc::new(fields(&rows.schema, format)?);
    let pieces = stream::unfold(rows, move |mut rows| {
        let text = text.clone();
        async move {
            let next = rows.next().await?;
            let rows_of = |piece: Vec<DataRow>| piece.into_iter().map(Ok).collect();
            let sent: Vec<PgWireResult<DataRow>> =
                next.map_or_else(|error| vec![Err(failure::of(&error, &text))], rows_of);
            Some((stream::iter(sent), rows))
        }
    });
    Ok(QueryResponse::new(fields, pieces.flatten()))
}
