//! `siltstone export`: an inventory of a bucket at one moment, with the columns of S3 Inventory.
//!
//! ```text
//!   one query ─▶ Arrow, streamed ─▶ Parquet, CSV or JSON lines ─▶ temporary file ─▶ sync, rename
//! ```
//! The server keeps the snapshot of the query until the response ends, so later writes are not in the inventory. The
//! memory is bounded by one batch and, for Parquet, one row group. A file gets its name only after all of it has been
//! written.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::ValueEnum;
use sql::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use sql::arrow::buffer::Buffer;
use sql::arrow::csv::{QuoteStyle, WriterBuilder};
use sql::arrow::datatypes::SchemaRef;
use sql::arrow::ipc::reader::StreamDecoder;
use sql::{OutputFormat, RowEncoder};

use super::client::SqlClient;
use crate::server::identity::sync_folder_of;
use crate::sql_service::OFFSET_HEADER;

/// The options of an export.
#[derive(clap::Args)]
pub struct ExportOptions {
    /// The bucket.
    bucket: String,
    /// The format of the inventory.
    #[arg(long)]
    format: InventoryFormat,
    /// The file; `-` for standard output.
    #[arg(long, default_value = "-")]
    output: PathBuf,
    /// Include every version and delete marker, not only current objects.
    #[arg(long)]
    versions: bool,
}

/// The format of an inventory.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum InventoryFormat {
    /// Parquet, with the names and types of S3 Inventory's columns.
    Parquet,
    /// CSV in S3 Inventory's form: all values quoted, keys percent-encoded, no header line.
    Csv,
    /// JSON, one object on each line.
    Jsonl,
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The query whose rows are the inventory, in the order of the keys.
fn query(bucket: &str, with_versions: bool) -> String {
    let (table, of_versions) = match with_versions {
        true => ("versions", "version_id, is_latest, is_delete_marker, "),
        false => ("objects", ""),
    };
    format!(
        "SELECT bucket, key, {of_versions}size, last_modified AS last_modified_date, etag AS e_tag, \
         storage_class, coalesce(etag LIKE '%-%', false) AS is_multipart_uploaded, \
         CASE WHEN etag IS NOT NULL THEN 'NOT-SSE' END AS encryption_status, \
         nullif(array_to_string(map_keys(checksums), ','), '') AS checksum_algorithm, \
         owner AS object_owner FROM {table} WHERE bucket = {} ORDER BY key",
        quoted(bucket)
    )
}

/// Writes an inventory to a file or to standard output, and prints the number of rows and the offset to standard error.
/// Fails if the user may not list the bucket, if the query fails, and if the output cannot be written. A file is
/// durable on return, and gets its name only after all of it is durable.
pub fn run(sql: &SqlClient, wishes: &ExportOptions) -> anyhow::Result<ExitCode> {
    let bucket = &wishes.bucket;
    let known = format!("SELECT count(*) AS n FROM buckets WHERE name = {}", quoted(bucket));
    if sql.text(&known, "csv")? != "n\n1\n" {
        bail!("NoSuchBucket: there is no bucket `{bucket}` that these keys may list");
    }
    let query = query(bucket, wishes.versions);
    let (rows, at) = if wishes.output.as_os_str() == "-" {
        let mut out = std::io::stdout().lock();
        let told = write(sql, &query, wishes.format, &mut out)?;
        out.flush()?;
        told
    } else {
        write_file(&wishes.output, |out| write(sql, &query, wishes.format, out))?
    };
    eprintln!("{rows} rows at offset {at}");
    Ok(ExitCode::SUCCESS)
}

/// Writes a file under a temporary name and renames it after all of it is durable. After an error the temporary file is
/// removed.
fn write_file<T>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let Some(name) = path.file_name() else { bail!("{} names no file", path.display()) };
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let written = || {
        let file = File::create(&temporary);
        let file = file.with_context(|| format!("cannot write {}", temporary.display()))?;
        let mut out = BufWriter::new(file);
        let told = write(&mut out)?;
        out.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        std::fs::rename(&temporary, path)?;
        sync_folder_of(path)?;
        Ok(told)
    };
    let written = written();
    if written.is_err() {
        // Best effort: the file may not even have been created.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Writes the rows of a query as they arrive. Returns the number of rows, and the offset of the snapshot.
fn write(
    sql: &SqlClient,
    query: &str,
    form: InventoryFormat,
    out: &mut impl Write,
) -> anyhow::Result<(usize, String)> {
    let mut at = String::new();
    let mut decoder = StreamDecoder::new();
    let mut writer: Option<InventoryWriter> = None;
    let mut rows = 0;
    let head = |headers: &http::HeaderMap| {
        let told = headers.get(OFFSET_HEADER).and_then(|value| value.to_str().ok());
        at = told.unwrap_or_default().to_owned();
        Ok(())
    };
    let piece = |bytes: Bytes| {
        let mut bytes = Buffer::from(bytes);
        while !bytes.is_empty() {
            let batch = decoder.decode(&mut bytes)?;
            if let (None, Some(schema)) = (&writer, decoder.schema()) {
                writer = Some(InventoryWriter::begin(form, &schema, out)?);
            }
            if let (Some(batch), Some(writer)) = (batch, &mut writer) {
                rows += batch.num_rows();
                writer.rows(&batch, out)?;
            }
        }
        Ok(())
    };
    sql.stream(query, "arrow", head, piece)?;
    decoder.finish()?;
    writer.context("the answer has no columns")?.end(out)?;
    Ok((rows, at))
}

enum InventoryWriter {
    /// The format of the server's own results.
    Plain(RowEncoder),
    Csv,
}

impl InventoryWriter {
    fn begin(
        form: InventoryFormat,
        schema: &SchemaRef,
        out: &mut impl Write,
    ) -> anyhow::Result<Self> {
        let format = match form {
            InventoryFormat::Parquet => OutputFormat::Parquet,
            InventoryFormat::Jsonl => OutputFormat::JsonLines,
            InventoryFormat::Csv => return Ok(InventoryWriter::Csv),
        };
        let (encoder, begin) = RowEncoder::begin(format, schema)?;
        out.write_all(&begin)?;
        Ok(InventoryWriter::Plain(encoder))
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut impl Write) -> anyhow::Result<()> {
        match self {
            InventoryWriter::Plain(encoder) => Ok(out.write_all(&encoder.rows(batch)?)?),
            InventoryWriter::Csv => write_csv(batch, out),
        }
    }

    fn end(self, out: &mut impl Write) -> anyhow::Result<()> {
        match self {
            InventoryWriter::Plain(encoder) => Ok(out.write_all(&encoder.end()?)?),
            InventoryWriter::Csv => Ok(()),
        }
    }
}

/// Writes rows in S3 Inventory's form of CSV.
fn write_csv(batch: &RecordBatch, out: &mut impl Write) -> anyhow::Result<()> {
    let key = batch.schema().index_of("key")?;
    let mut columns = batch.columns().to_vec();
    let keys = columns[key].as_string_opt::<i32>().context("the column of keys is not text")?;
    columns[key] = Arc::new(encoded(keys)) as ArrayRef;
    let batch = RecordBatch::try_new(batch.schema(), columns)?;
    let mut writer = WriterBuilder::new()
        .with_header(false)
        .with_quote_style(QuoteStyle::Always)
        .with_timestamp_tz_format("%Y-%m-%dT%H:%M:%S%.3fZ".into())
        .build(out);
    Ok(writer.write(&batch)?)
}

fn encoded(keys: &StringArray) -> StringArray {
    StringArray::from_iter_values(
        (0..keys.len()).map(|row| s3::names::encode_path(keys.value(row))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_name_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inventory");
        let failed = write_file(&path, |out| {
            out.write_all(b"half")?;
            anyhow::Result::<()>::Err(anyhow::anyhow!("broken off"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        write_file(&path, |out| Ok(out.write_all(b"whole")?)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
