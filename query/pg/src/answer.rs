//! Rows as PostgreSQL's clients read them.

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

/// A piece of an answer has so many bytes, unless a single row has more.
const PIECE_BYTES: usize = 256 << 10;

/// How a column is written.
enum ColumnFormat {
    AsItIs,
    /// As another of Arrow's types, which PostgreSQL has.
    Cast(DataType),
    /// As a text with JSON: PostgreSQL has no maps.
    Json,
    /// As a text: PostgreSQL has nothing alike, or what writes rows has no form for it.
    Text,
}

/// Types that are written as they are. What is not known here is a text: what writes rows must not meet it.
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

/// The columns as clients see them.
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

/// The columns' descriptions.
pub fn fields(schema: &Schema, format: &Format) -> PgWireResult<Vec<FieldInfo>> {
    arrow_schema_to_pg_fields(&shown(schema), format, None)
}

/// A map as JSON. Keys and values are texts in all of our tables; others are printed.
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

/// Any column as texts.
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

fn batch(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let column = |column: &ArrayRef| match how(column.data_type()) {
        ColumnFormat::AsItIs => Ok(column.clone()),
        ColumnFormat::Cast(kind) => cast(column, &kind),
        ColumnFormat::Json => column.as_map_opt().map_or_else(|| texts(column), json),
        ColumnFormat::Text => texts(column),
    };
    let columns: Result<Vec<ArrayRef>, ArrowError> = rows.columns().iter().map(column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(shown(rows.schema_ref())), columns?, &options)
}

/// Writes rows in the form that a client wished, for the engine.
pub struct RowWriter {
    format: Format,
    fields: Arc<Vec<FieldInfo>>,
}

impl RowWriter {
    /// Writes values in this form.
    pub fn new(format: &Format) -> Self {
        Self { format: format.clone(), fields: Arc::default() }
    }
}

/// A value that cannot be written.
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
        let some = rows.slice(0, rows.num_rows().min(ROWS));
        let some = batch(&some).map_err(|error| SqlError::Value(error.to_string()))?;
        let (mut piece, mut bytes) = (Vec::new(), 0);
        // After an error this iterator gives the same error for ever.
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

/// Sends rows as they come; an error ends them, and the client is told.
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
