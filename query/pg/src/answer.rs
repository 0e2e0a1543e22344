//! Rows as PostgreSQL's clients read them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, MapArray, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use futures::{StreamExt, stream};
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldInfo, QueryResponse};
use pgwire::error::PgWireResult;
use pgwire::messages::data::DataRow;
use sql::Rows;

use crate::failure;

/// The columns as clients see them. PostgreSQL has no maps: they are texts with JSON.
fn shown(schema: &Schema) -> Schema {
    let field = |field: &Arc<Field>| match field.data_type() {
        DataType::Map(_, _) => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
        _ => field.clone(),
    };
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}

/// The columns' descriptions.
pub fn fields(schema: &Schema, format: &Format) -> PgWireResult<Vec<FieldInfo>> {
    arrow_schema_to_pg_fields(&shown(schema), format, None)
}

/// A map as JSON. Keys and values are texts in all of our tables; others are printed.
fn json(maps: &MapArray) -> ArrayRef {
    let text = |values: &ArrayRef, row: usize| -> serde_json::Value {
        match values.as_string_opt::<i32>() {
            Some(texts) if texts.is_valid(row) => texts.value(row).into(),
            _ => serde_json::Value::Null,
        }
    };
    let object = |row: usize| {
        let entries = maps.value(row);
        let (keys, values) = (entries.column(0), entries.column(1));
        let pair = |at: usize| {
            let key = keys.as_string_opt::<i32>().map_or("", |keys| keys.value(at));
            (key.to_owned(), text(values, at))
        };
        serde_json::Value::Object((0..entries.len()).map(pair).collect()).to_string()
    };
    let texts = (0..maps.len()).map(|row| maps.is_valid(row).then(|| object(row)));
    Arc::new(texts.collect::<StringArray>())
}

fn batch(rows: &RecordBatch) -> PgWireResult<RecordBatch> {
    let column = |column: &ArrayRef| column.as_map_opt().map_or_else(|| column.clone(), json);
    let columns = rows.columns().iter().map(column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let schema = Arc::new(shown(rows.schema_ref()));
    RecordBatch::try_new_with_options(schema, columns, &options)
        .map_err(|error| failure::failure("XX000", error.to_string()))
}

/// Sends rows as they come; an error ends them, and the client is told.
pub fn response(rows: Rows, format: &Format, text: String) -> PgWireResult<QueryResponse> {
    let fields = Arc::new(fields(&rows.schema, format)?);
    let encoded = fields.clone();
    let batches = stream::unfold(rows, move |mut rows| {
        let (fields, text) = (encoded.clone(), text.clone());
        async move {
            let next = match rows.next().await? {
                Ok(next) => batch(&next),
                Err(error) => Err(failure::of(&error, &text)),
            };
            let rows_of = |batch| encode_recordbatch(fields, batch).collect();
            let encoded: Vec<PgWireResult<DataRow>> = next.map_or_else(|e| vec![Err(e)], rows_of);
            Some((stream::iter(encoded), rows))
        }
    });
    Ok(QueryResponse::new(fields, batches.flatten()))
}
