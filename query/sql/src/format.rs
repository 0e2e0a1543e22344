//! Results as bytes: JSON, CSV, Arrow, Parquet, or a table for people.

use std::io::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::json;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::arrow::util::pretty::pretty_format_batches_with_schema;

use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::encode::RowSink;
use crate::error::SqlError;

/// How a result is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OutputFormat {
    /// An array of objects, one to a line.
    #[default]
    Json,
    /// An object to a line.
    JsonLines,
    /// Comma-separated values with a line of names.
    Csv,
    /// Arrow's stream of record batches.
    Arrow,
    /// A Parquet file.
    Parquet,
    /// A table with frames.
    Table,
}

const FORMATS: [(&str, OutputFormat); 6] = [
    ("json", OutputFormat::Json),
    ("jsonl", OutputFormat::JsonLines),
    ("csv", OutputFormat::Csv),
    ("arrow", OutputFormat::Arrow),
    ("parquet", OutputFormat::Parquet),
    ("table", OutputFormat::Table),
];

impl FromStr for OutputFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = FORMATS.iter().find(|(name, _)| *name == text);
        found.map(|(_, format)| *format).ok_or_else(|| {
            let names: Vec<&str> = FORMATS.iter().map(|(name, _)| *name).collect();
            format!("a format is one of {}, not `{text}`", names.join(", "))
        })
    }
}

impl OutputFormat {
    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            OutputFormat::Json => "application/json",
            OutputFormat::JsonLines => "application/x-ndjson",
            OutputFormat::Csv => "text/csv; charset=utf-8",
            OutputFormat::Arrow => "application/vnd.apache.arrow.stream",
            OutputFormat::Parquet => "application/vnd.apache.parquet",
            OutputFormat::Table => "text/plain; charset=utf-8",
        }
    }
}

/// Rows of a Parquet file are gathered into groups, in memory.
const PARQUET_GROUP_ROWS: usize = 65_536;

/// A table is framed when all its rows are known, so they are kept; more than this is refused.
const TABLE_BYTES_MAX: usize = 32 << 20;

fn failed(error: impl std::fmt::Display) -> SqlError {
    SqlError::Failed(error.to_string())
}

/// Writes a result in a format, for the engine.
pub struct ResultWriter {
    format: OutputFormat,
    stage: WriteStage,
}

/// How far a result has been written.
enum WriteStage {
    Begin,
    /// The encoder, and what stands before the first row until that is written, too: it would be a packet of its own.
    Rows(RowEncoder, Vec<u8>),
    Table(SchemaRef, Vec<RecordBatch>),
    End,
}

impl ResultWriter {
    /// Writes in this format.
    pub fn new(format: OutputFormat) -> Self {
        Self { format, stage: WriteStage::Begin }
    }
}

impl RowSink for ResultWriter {
    type Piece = Vec<u8>;

    fn begin(&mut self, schema: &SchemaRef) -> Result<(), SqlError> {
        self.stage = match self.format {
            OutputFormat::Table => WriteStage::Table(schema.clone(), Vec::new()),
            format => {
                let (encoder, head) = RowEncoder::begin(format, schema)?;
                WriteStage::Rows(encoder, head)
            }
        };
        Ok(())
    }

    fn rows(&mut self, rows: &RecordBatch) -> Result<(Option<Vec<u8>>, usize), SqlError> {
        let piece = match &mut self.stage {
            WriteStage::Rows(encoder, head) => {
                let mut out = std::mem::take(head);
                out.extend(encoder.rows(rows)?);
                Some(out)
            }
            WriteStage::Table(_, batches) => {
                batches.push(rows.clone());
                let bytes: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
                if bytes > TABLE_BYTES_MAX {
                    let limit = TABLE_BYTES_MAX >> 20;
                    return Err(SqlError::Memory(format!(
                        "a table of more than {limit} MiB: ask for json or csv, or use LIMIT"
                    )));
                }
                None
            }
            WriteStage::Begin | WriteStage::End => None,
        };
        Ok((piece, rows.num_rows()))
    }

    fn end(&mut self) -> Result<Option<Vec<u8>>, SqlError> {
        match std::mem::replace(&mut self.stage, WriteStage::End) {
            WriteStage::Rows(encoder, mut head) => {
                head.extend(encoder.end()?);
                Ok(Some(head))
            }
            WriteStage::Table(schema, batches) => {
                let table = pretty_format_batches_with_schema(schema, &batches).map_err(failed)?;
                Ok(Some(format!("{table}\n").into_bytes()))
            }
            WriteStage::Begin | WriteStage::End => Ok(None),
        }
    }
}

/// Writes rows in a format as they come.
pub struct RowEncoder(EncoderForm);

enum EncoderForm {
    Json { has_rows: bool },
    JsonLines,
    Csv,
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<ArrowWriter<Vec<u8>>>),
}

impl RowEncoder {
    /// Begins, with what stands before the first row. A table, which needs all its rows first, is written
    /// as CSV.
    pub fn begin(format: OutputFormat, schema: &SchemaRef) -> Result<(Self, Vec<u8>), SqlError> {
        let mut out = Vec::new();
        let form = match format {
            OutputFormat::Json => {
                out.push(b'[');
                EncoderForm::Json { has_rows: false }
            }
            OutputFormat::JsonLines => EncoderForm::JsonLines,
            OutputFormat::Csv | OutputFormat::Table => {
                let names = texts(&RecordBatch::new_empty(schema.clone())).map_err(failed)?;
                csv(&names, true, &mut out)?;
                EncoderForm::Csv
            }
            OutputFormat::Arrow => {
                let writer = StreamWriter::try_new(Vec::new(), schema).map_err(failed)?;
                EncoderForm::Arrow(Box::new(writer))
            }
            OutputFormat::Parquet => {
                let zstd = Compression::ZSTD(ZstdLevel::default());
                let properties = WriterProperties::builder()
                    .set_compression(zstd)
                    .set_max_row_group_row_count(Some(PARQUET_GROUP_ROWS))
                    .build();
                let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties));
                EncoderForm::Parquet(Box::new(writer.map_err(failed)?))
            }
        };
        Ok((Self(form), out))
    }

    /// The next rows.
    pub fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, SqlError> {
        let mut out = Vec::new();
        match &mut self.0 {
            EncoderForm::Json { has_rows } => {
                for row in json_rows(batch)? {
                    let separator: &[u8] = if *has_rows { b",\n" } else { b"\n" };
                    *has_rows = true;
                    out.extend_from_slice(separator);
                    out.extend_from_slice(&row);
                }
            }
            EncoderForm::JsonLines => out = json_lines(batch)?,
            EncoderForm::Csv => csv(&texts(batch).map_err(failed)?, false, &mut out)?,
            EncoderForm::Arrow(writer) => {
                writer.write(batch).map_err(failed)?;
                out = std::mem::take(writer.get_mut());
            }
            EncoderForm::Parquet(writer) => {
                writer.write(batch).map_err(failed)?;
                out = std::mem::take(writer.inner_mut());
            }
        }
        Ok(out)
    }

    /// What stands after the last row.
    pub fn end(self) -> Result<Vec<u8>, SqlError> {
        match self.0 {
            EncoderForm::Json { .. } => Ok(b"\n]\n".to_vec()),
            EncoderForm::JsonLines | EncoderForm::Csv => Ok(Vec::new()),
            EncoderForm::Arrow(mut writer) => {
                writer.finish().map_err(failed)?;
                Ok(std::mem::take(writer.get_mut()))
            }
            EncoderForm::Parquet(writer) => writer.into_inner().map_err(failed),
        }
    }
}

/// Each row as a JSON object on a line of its own.
fn json_lines(batch: &RecordBatch) -> Result<Vec<u8>, SqlError> {
    let builder = json::writer::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, json::writer::LineDelimited>(Vec::new());
    writer.write(batch).and_then(|()| writer.finish()).map_err(failed)?;
    Ok(writer.into_inner())
}

/// Each row as a JSON object.
fn json_rows(batch: &RecordBatch) -> Result<Vec<Vec<u8>>, SqlError> {
    let lines = json_lines(batch)?;
    let rows = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(rows.map(<[u8]>::to_vec).collect())
}

fn csv(batch: &RecordBatch, with_names: bool, out: &mut Vec<u8>) -> Result<(), SqlError> {
    let mut writer = csv::WriterBuilder::new().with_header(with_names).build(&mut *out);
    writer.write(batch).map_err(failed)?;
    drop(writer);
    out.flush().map_err(failed)
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
