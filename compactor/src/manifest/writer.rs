//! Writes a manifest. The settings were measured (see `docs/formats/manifest.md`): delta-encoded keys
//! without a dictionary, small pages so that a seek decodes little, and statistics that are not truncated.

use std::io;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, Int32Builder, Int64Builder,
    ListBuilder, MapBuilder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder, UInt8Builder,
    UInt32Builder, UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use ingest::env::{Disk, FilePath};
use ingest::ids::RunId;
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::row::{ManifestRow, encode_checksums};
use super::sums::SumsBuilder;
use crate::sealed::{FileDigest, SealError, SealedWriter};

/// Rows that are collected before they are encoded.
const BATCH_ROWS: usize = 4096;
/// The largest number of rows of a row group.
const GROUP_ROWS: usize = 128 << 10;
/// The largest number of rows of a page.
const PAGE_ROWS: usize = 1024;
/// The number of rows from which on a row group ends with its bucket, so that pages do not contain rows of
/// two buckets.
const GROUP_ROWS_MIN: usize = 16 << 10;

/// Columns by which no condition prunes pages. Statistics for them would only take space on the disk and in
/// memory.
pub(super) const UNASKED: [&str; 15] = [
    "later",
    "md5",
    "parts",
    "headers.entries.keys",
    "headers.entries.values",
    "metadata.entries.keys",
    "metadata.entries.values",
    "tags.entries.keys",
    "tags.entries.values",
    "checksums",
    "segment",
    "segment_position",
    "segment_index",
    "payload_segment",
    "bulk_files.list.item",
];

fn map_type() -> DataType {
    let entries = Fields::from(vec![
        Field::new("keys", DataType::Utf8, false),
        Field::new("values", DataType::Utf8, true),
    ]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// Returns the columns of a manifest, in order. Readers compare a manifest's columns with these at open.
pub fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let files = DataType::List(Arc::new(Field::new("item", DataType::UInt64, true)));
    Arc::new(Schema::new(vec![
        Field::new("bucket_id", DataType::UInt64, false),
        Field::new("key", DataType::Utf8, false),
        Field::new("version", DataType::UInt64, false),
        Field::new("later", DataType::UInt64, false),
        Field::new("kind", DataType::UInt8, false),
        Field::new("is_null_version", DataType::Boolean, false),
        Field::new("last_modified", time, false),
        Field::new("size", DataType::Int64, true),
        Field::new("md5", DataType::FixedSizeBinary(16), true),
        Field::new("parts", DataType::Int32, true),
        Field::new("owner", DataType::Utf8, false),
        Field::new("content_type", DataType::Utf8, true),
        Field::new("headers", map_type(), false),
        Field::new("metadata", map_type(), false),
        Field::new("tags", map_type(), false),
        Field::new("checksums", DataType::Binary, false),
        Field::new("segment", DataType::UInt64, false),
        Field::new("segment_position", DataType::UInt64, false),
        Field::new("segment_index", DataType::UInt32, false),
        Field::new("payload_segment", DataType::UInt64, true),
        Field::new("bulk_files", files, false),
        Field::new("is_latest", DataType::Boolean, false),
        Field::new("storage_class", DataType::Utf8, true),
    ]))
}

fn properties() -> WriterProperties {
    let column = |name: &str| ColumnPath::from(name);
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).expect("1 is a level")))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_column_index_truncate_length(None)
        .set_statistics_truncate_length(None)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_column_dictionary_enabled(column("key"), false)
        .set_column_encoding(column("key"), Encoding::DELTA_BYTE_ARRAY)
        .set_column_dictionary_enabled(column("md5"), false)
        .set_column_compression(column("md5"), Compression::UNCOMPRESSED);
    for name in ["version", "later", "last_modified", "size", "segment_position"] {
        builder = builder
            .set_column_dictionary_enabled(column(name), false)
            .set_column_encoding(column(name), Encoding::DELTA_BINARY_PACKED);
    }
    // Other programs may skip row groups by these columns; no reader skips pages by them.
    for name in ["version", "kind", "is_null_version", "is_latest"] {
        builder = builder.set_column_statistics_enabled(column(name), EnabledStatistics::Chunk);
    }
    for path in UNASKED {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        builder = builder.set_column_statistics_enabled(path.into(), EnabledStatistics::None);
    }
    builder.build()
}

/// The output of the Parquet encoder, kept in memory until it is appended to the file.
#[derive(Clone, Default)]
struct EncodedBuffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for EncodedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a manifest and its sums. Memory: one encoded row group, about 6 MB, and 4096 rows.
pub struct ManifestWriter {
    file: SealedWriter,
    sums_file: SealedWriter,
    summer: SumsBuilder,
    buffer: EncodedBuffer,
    writer: ArrowWriter<EncodedBuffer>,
    rows: Vec<ManifestRow>,
    last_bucket: Option<u64>,
}

impl ManifestWriter {
    /// Creates both files. Fails if one of them exists already, or the disk fails.
    pub async fn create(
        disk: &Arc<dyn Disk>,
        path: &FilePath,
        sums_path: &FilePath,
        run: RunId,
    ) -> Result<Self, SealError> {
        let buffer = EncodedBuffer::default();
        let writer = ArrowWriter::try_new(buffer.clone(), schema(), Some(properties()))
            .map_err(|error| encode_error(path, &error))?;
        Ok(Self {
            file: SealedWriter::create(disk, path).await?,
            sums_file: SealedWriter::create(disk, sums_path).await?,
            summer: SumsBuilder::new(run),
            buffer,
            writer,
            rows: Vec::new(),
            last_bucket: None,
        })
    }

    /// Adds a row. Rows must come in the order of their sort keys, which is not checked here. On an error
    /// the files must be discarded.
    pub async fn push(&mut self, row: ManifestRow) -> Result<(), SealError> {
        let is_other_bucket = self.last_bucket.is_some_and(|last| last != row.bucket);
        self.last_bucket = Some(row.bucket);
        if is_other_bucket {
            let in_group = self.rows.len() + self.writer.in_progress_rows();
            if in_group >= GROUP_ROWS_MIN {
                self.encode_rows()?;
                self.writer.flush().map_err(|error| encode_error(self.file.path(), &error))?;
                self.drain().await?;
            }
        }
        self.rows.push(row);
        if self.rows.len() == BATCH_ROWS {
            self.encode_rows()?;
            self.drain().await?;
        }
        Ok(())
    }

    /// Passes the collected rows to the Parquet encoder.
    fn encode_rows(&mut self) -> Result<(), SealError> {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }
        let path = self.file.path();
        let encoded = record_batch(&rows)
            .map_err(|e| SealError::Encode { file: path.clone(), detail: e.to_string() })?;
        self.writer.write(&encoded).map_err(|error| encode_error(path, &error))
    }

    /// Appends the encoder's output to the file, and adds it to the checksums.
    async fn drain(&mut self) -> Result<(), SealError> {
        let bytes = std::mem::take(&mut *self.buffer.0.lock());
        self.summer.add(&bytes);
        self.file.append(&bytes).await
    }

    /// Ends both files and syncs them; returns the digest of the manifest, then that of the sums. The
    /// caller must sync the folder before a catalog names the run. On an error neither file may be used.
    pub async fn finish(mut self) -> Result<(FileDigest, FileDigest), SealError> {
        self.encode_rows()?;
        self.writer.finish().map_err(|error| encode_error(self.file.path(), &error))?;
        self.drain().await?;
        self.sums_file.append(&self.summer.finish()).await?;
        Ok((self.file.finish().await?, self.sums_file.finish().await?))
    }
}

fn encode_error(path: &FilePath, error: &parquet::errors::ParquetError) -> SealError {
    SealError::Encode { file: path.clone(), detail: error.to_string() }
}

type Pairs = MapBuilder<StringBuilder, StringBuilder>;
/// Selects a row's pairs of names and values.
type PairsOf<'a> = &'a dyn Fn(&ManifestRow) -> Option<&Vec<(String, String)>>;

fn append_pairs(
    builder: &mut Pairs,
    pairs: Option<&Vec<(String, String)>>,
) -> Result<(), arrow::error::ArrowError> {
    for (name, value) in pairs.into_iter().flatten() {
        builder.keys().append_value(name);
        builder.values().append_value(value);
    }
    builder.append(true)
}

/// Converts rows to Arrow columns in the order of [`schema`]. Fails only if the values do not fit the
/// columns' types.
pub fn record_batch(rows: &[ManifestRow]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let numbers = |of: &dyn Fn(&ManifestRow) -> Option<u64>| -> ArrayRef {
        let mut builder = UInt64Builder::with_capacity(rows.len());
        rows.iter().for_each(|row| builder.append_option(of(row)));
        Arc::new(builder.finish())
    };
    let texts = |of: &dyn Fn(&ManifestRow) -> Option<String>| -> ArrayRef {
        let mut builder = StringBuilder::new();
        rows.iter().for_each(|row| builder.append_option(of(row)));
        Arc::new(builder.finish())
    };
    let pairs = |of: PairsOf| {
        let mut builder = Pairs::new(None, StringBuilder::new(), StringBuilder::new());
        rows.iter().try_for_each(|row| append_pairs(&mut builder, of(row)))?;
        Ok::<ArrayRef, arrow::error::ArrowError>(Arc::new(builder.finish()))
    };
    let mut kinds = UInt8Builder::new();
    let mut nulls = BooleanBuilder::new();
    let mut latest = BooleanBuilder::new();
    let mut times = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let mut sizes = Int64Builder::new();
    let mut md5s = FixedSizeBinaryBuilder::new(16);
    let mut parts = Int32Builder::new();
    let mut checksums = BinaryBuilder::new();
    let mut indexes = UInt32Builder::new();
    let mut bulks = ListBuilder::new(UInt64Builder::new());
    for row in rows {
        kinds.append_value(row.kind.code());
        nulls.append_value(row.is_null);
        latest.append_value(row.is_latest);
        times.append_value(row.created.micros());
        let object = row.object.as_ref();
        sizes.append_option(object.map(|object| object.size as i64));
        match object {
            Some(object) => md5s.append_value(object.md5)?,
            None => md5s.append_null(),
        }
        parts.append_option(object.map(|object| i32::from(object.parts)));
        checksums.append_value(encode_checksums(object.map_or(&[], |object| &object.checksums)));
        indexes.append_value(row.header.index);
        row.bulk_files.iter().for_each(|file| bulks.values().append_value(file.get()));
        bulks.append(true);
    }
    let columns: Vec<ArrayRef> = vec![
        numbers(&|row| Some(row.bucket)),
        texts(&|row| Some(row.key.clone())),
        numbers(&|row| Some(row.version)),
        numbers(&|row| Some(row.sequence.wrapping_sub(row.version))),
        Arc::new(kinds.finish()),
        Arc::new(nulls.finish()),
        Arc::new(times.finish()),
        Arc::new(sizes.finish()),
        Arc::new(md5s.finish()),
        Arc::new(parts.finish()),
        texts(&|row| Some(row.owner.clone())),
        texts(&|row| row.object.as_ref().and_then(|object| object.content_type.clone())),
        pairs(&|row| row.object.as_ref().map(|object| &object.headers))?,
        pairs(&|row| row.object.as_ref().map(|object| &object.metadata))?,
        pairs(&|row| row.object.as_ref().map(|object| &object.tags))?,
        Arc::new(checksums.finish()),
        numbers(&|row| Some(row.header.segment.get())),
        numbers(&|row| Some(row.header.position)),
        Arc::new(indexes.finish()),
        numbers(&|row| row.payload_segment.map(|segment| segment.get())),
        Arc::new(bulks.finish()),
        Arc::new(latest.finish()),
        texts(&|row| row.object.as_ref().map(|object| object.storage_class.name().to_owned())),
    ];
    RecordBatch::try_new(schema(), columns)
}
