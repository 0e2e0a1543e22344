//! Output formats of results: JSON, CSV, Arrow, Parquet, or a text table.

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

/// The encoding of a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OutputFormat {
    /// A JSON array of objects, one object a line.
    #[default]
    Json,
    /// One JSON object a line.
    JsonLines,
    /// Comma-separated values after a line of column names.
    Csv,
    /// Arrow's stream of record batches.
    Arrow,
    /// A Parquet file.
    Parquet,
    /// A text table with frames.
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
    /// Returns the media type of the format, for the header `Content-Type`; never fails and does not depend on
    /// the result.
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

/// The rows of a row group of a Parquet file, which are held in memory until the group is complete.
const PARQUET_GROUP_ROWS: usize = 65_536;

/// The most bytes of a text table's rows: the widths of its columns are known only at the end, so all rows are
/// kept.
const TABLE_BYTES_MAX: usize = 32 << 20;

/// Converts an encoder's error.
fn failed(error: impl std::fmt::Display) -> SqlError {
    SqlError::Failed(error.to_string())
}

/// Encodes a result for the engine.
pub struct ResultWriter {
    format: OutputFormat,
    stage: WriteStage,
}

/// The state of an encoding.
enum WriteStage {
    Begin,
    /// The encoder, and the bytes before the first row. These are sent with the first rows, since alone they
    /// would be a packet of their own.
    Rows(RowEncoder, Vec<u8>),
    /// The columns and all rows so far, for a text table.
    Table(SchemaRef, Vec<RecordBatch>),
    End,
}

impl ResultWriter {
    /// Makes a sink that writes this format; nothing is written before the engine calls [`RowSink::begin`].
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
                        "the table exceeds {limit} MiB: use the format json or csv, or LIMIT"
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

/// Encodes rows in a format as they come, in order: head, rows, tail.
pub struct RowEncoder(EncoderForm);

/// The encoder of each format.
enum EncoderForm {
    Json { has_rows: bool },
    JsonLines,
    Csv,
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<ArrowWriter<Vec<u8>>>),
}

impl RowEncoder {
    /// Begins an encoding and returns the bytes before the first row. [`OutputFormat::Table`], which needs all
    /// rows first, is encoded as CSV.
    ///
    /// Errors: [`SqlError::Failed`] if the format has no form for a column's type.
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

    /// Returns the encoding of the next rows, in order; may be empty, since Parquet keeps rows until a row
    /// group is complete.
    ///
    /// Errors: [`SqlError::Failed`] if a value cannot be encoded; the encoder must then not be used again.
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

    /// Returns the bytes after the last row. For Parquet these contain all rows that were not returned before.
    ///
    /// Errors: [`SqlError::Failed`] if the format's end cannot be written.
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

/// Encodes each row as a JSON object on a line of its own, NULL values included.
fn json_lines(batch: &RecordBatch) -> Result<Vec<u8>, SqlError> {
    let builder = json::writer::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, json::writer::LineDelimited>(Vec::new());
    writer.write(batch).and_then(|()| writer.finish()).map_err(failed)?;
    Ok(writer.into_inner())
}

/// Encodes each row as a JSON object.
fn json_rows(batch: &RecordBatch) -> Result<Vec<Vec<u8>>, SqlError> {
    let lines = json_lines(batch)?;
    // Line breaks within texts are escaped in JSON, so each line is a row.
    let rows = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(rows.map(<[u8]>::to_vec).collect())
}

/// Appends rows as comma-separated values.
fn csv(batch: &RecordBatch, with_names: bool, out: &mut Vec<u8>) -> Result<(), SqlError> {
    let mut writer = csv::WriterBuilder::new().with_header(with_names).build(&mut *out);
    writer.write(batch).map_err(failed)?;
    drop(writer);
    out.flush().map_err(failed)
}

/// Converts nested columns to text, since CSV has no nesting.
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
