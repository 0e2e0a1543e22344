//! `siltstone export`: an inventory of a bucket, in the columns of S3 Inventory, at one moment.
//!
//! ```text
//!   one query ─▶ Arrow, as it comes ─▶ Parquet, CSV or JSON lines ─▶ temporary file ─▶ sync, rename
//! ```
//! The server keeps the snapshot that the query reads as long as the answer goes on, so that what is written
//! meanwhile is not in it. Nothing here holds more than a batch and, for Parquet, a row group. A file has
//! its name only once it is whole.

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

/// What to export.
#[derive(clap::Args)]
pub struct ExportOptions {
    /// The bucket.
    bucket: String,
    /// How it is written.
    #[arg(long)]
    format: InventoryFormat,
    /// The file; `-` for standard output.
    #[arg(long, default_value = "-")]
    output: PathBuf,
    /// Every version and delete marker, not only current objects.
    #[arg(long)]
    versions: bool,
}

/// How an inventory is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum InventoryFormat {
    /// With the names and types that S3 Inventory gives its columns.
    Parquet,
    /// As S3 Inventory writes it: everything quoted, keys percent-encoded, no line of names.
    Csv,
    /// An object to a line.
    Jsonl,
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The query whose rows are the inventory. A scan of one bucket gives keys in order, and versions of a key
/// newest first.
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

/// Exports what is wished for, from a server.
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

/// Writes a file under a temporary name and gives it its own once all of it is durable.
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
        // What is half written helps nobody; that it may not be there is no further error.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Writes a query's rows as they come; gives how many there were, and where the answer stands.
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
    /// As the server would write it.
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

/// Writes rows as S3 Inventory does.
fn write_csv(batch: &RecordBatch, out: &mut impl Write) -> anyhow::Result<()> {
    let key = batch.schema().index_of("key")?;
    let mut columns = batch.columns().to_vec();
    let keys = columns[key].as_string_opt::<i32>().context("keys are no text")?;
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
