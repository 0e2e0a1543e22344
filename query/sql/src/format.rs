//! Results as text: JSON, CSV, or a table for people.

use std::io::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::arrow::util::pretty::pretty_format_batches_with_schema;

use crate::engine::Rows;
use crate::error::SqlError;

/// How a result is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// An array of objects, one to a line.
    #[default]
    Json,
    /// Comma-separated values with a line of names.
    Csv,
    /// A table with frames.
    Table,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Format::Json),
            "csv" => Ok(Format::Csv),
            "table" => Ok(Format::Table),
            other => Err(format!("a format is json, csv or table, not `{other}`")),
        }
    }
}

impl Format {
    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Csv => "text/csv; charset=utf-8",
            Format::Table => "text/plain; charset=utf-8",
        }
    }
}

/// A table is framed when all its rows are known, so they are kept; more than this is refused.
const TABLE_BYTES_MAX: usize = 32 << 20;

fn failed(error: &ArrowError) -> SqlError {
    SqlError::Failed(error.to_string())
}

/// Writes a result piece by piece.
pub struct Writer {
    rows: Rows,
    format: Format,
    has_begun: bool,
    has_ended: bool,
    has_rows: bool,
}

impl Rows {
    /// As text.
    pub fn written(self, format: Format) -> Writer {
        Writer { rows: self, format, has_begun: false, has_ended: false, has_rows: false }
    }
}

impl Writer {
    /// The next piece; none at the end. After an error the text is not whole.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, SqlError> {
        if self.has_ended {
            return Ok(None);
        }
        if self.format == Format::Table {
            self.has_ended = true;
            return self.table().await.map(Some);
        }
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let mut out = Vec::new();
        if is_first {
            match self.format {
                Format::Json => out.push(b'['),
                _ => {
                    let names = texts(&RecordBatch::new_empty(self.rows.schema.clone()));
                    csv(&names.map_err(|e| failed(&e))?, true, &mut out)?;
                }
            }
        }
        match self.rows.next().await.transpose()? {
            Some(batch) if self.format == Format::Json => {
                for row in json_rows(&batch)? {
                    let separator: &[u8] = if self.has_rows { b",\n" } else { b"\n" };
                    self.has_rows = true;
                    out.extend_from_slice(separator);
                    out.extend_from_slice(&row);
                }
            }
            Some(batch) => csv(&texts(&batch).map_err(|e| failed(&e))?, false, &mut out)?,
            None => {
                self.has_ended = true;
                if self.format == Format::Json {
                    out.extend_from_slice(b"\n]\n");
                }
            }
        }
        Ok(Some(out))
    }

    async fn table(&mut self) -> Result<Vec<u8>, SqlError> {
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = self.rows.next().await.transpose()? {
            bytes += batch.get_array_memory_size();
            if bytes > TABLE_BYTES_MAX {
                let limit = TABLE_BYTES_MAX >> 20;
                return Err(SqlError::Memory(format!(
                    "a table of more than {limit} MiB: ask for json or csv, or use LIMIT"
                )));
            }
            batches.push(batch);
        }
        let table = pretty_format_batches_with_schema(self.rows.schema.clone(), &batches);
        Ok(format!("{}\n", table.map_err(|e| failed(&e))?).into_bytes())
    }
}

/// Each row as a JSON object.
fn json_rows(batch: &RecordBatch) -> Result<Vec<Vec<u8>>, SqlError> {
    let builder = json::writer::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, json::writer::LineDelimited>(Vec::new());
    writer.write(batch).and_then(|()| writer.finish()).map_err(|e| failed(&e))?;
    let lines = writer.into_inner();
    let rows = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(rows.map(<[u8]>::to_vec).collect())
}

fn csv(batch: &RecordBatch, with_names: bool, out: &mut Vec<u8>) -> Result<(), SqlError> {
    let mut writer = csv::WriterBuilder::new().with_header(with_names).build(&mut *out);
    writer.write(batch).map_err(|e| failed(&e))?;
    drop(writer);
    out.flush().map_err(|e| SqlError::Failed(e.to_string()))
}

/// Nested columns as text, since CSV has no nesting.
fn texts(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let options = FormatOptions::default();
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if !field.data_type().is_nested() {
            fields.push(field.as_ref().clone());
            columns.push(column.clone());
            continue;
        }
        let formatter = ArrayFormatter::try_new(column, &options)?;
        let values = (0..column.len()).map(|row| formatter.value(row).to_string());
        fields.push(Field::new(field.name(), DataType::Utf8, true));
        columns.push(Arc::new(StringArray::from_iter_values(values)));
    }
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let options =
        datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options)
}
