//! Opens a manifest and reads its bytes, each verified before it is believed.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use ingest::env::{Disk, File, FilePath};
use ingest::ids::RunId;
use ingest::log::{ReadError, confirm};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use super::rows::ManifestCursor;
use super::sums::{self, SUM_BLOCK};
use super::writer::schema;
use crate::sealed::{self, FileDigest};

/// How much of a manifest has been read, for metrics.
#[derive(Default, Debug)]
pub struct ReadCounts {
    /// Ranges asked for.
    pub ranges: AtomicU64,
    /// Bytes asked for.
    pub bytes: AtomicU64,
}

/// An open manifest. Its metadata, page index included, is held in memory.
pub struct Manifest {
    file: Arc<dyn File>,
    run: RunId,
    len: u64,
    sums: Vec<u32>,
    metadata: ArrowReaderMetadata,
}

impl Manifest {
    /// Opens a manifest: verifies the sums, then reads the metadata.
    pub async fn open(
        disk: &Arc<dyn Disk>,
        path: &FilePath,
        sums_path: &FilePath,
        run: RunId,
        digest: &FileDigest,
        sums_digest: &FileDigest,
    ) -> Result<Arc<Self>, ReadError> {
        confirm(move || Self::open_once(disk, path, sums_path, run, digest, sums_digest)).await
    }

    async fn open_once(
        disk: &Arc<dyn Disk>,
        path: &FilePath,
        sums_path: &FilePath,
        run: RunId,
        digest: &FileDigest,
        sums_digest: &FileDigest,
    ) -> Result<Arc<Self>, ReadError> {
        let sums_file = sealed::open(disk, sums_path, sums_digest.len).await?;
        let bytes = sealed::read(&sums_file, 0, sums_digest.len as usize).await?;
        let sums = sums::decode(bytes, run, digest.len).map_err(|error| {
            sealed::corruption(sums_path, error.position as u64, error.to_string())
        })?;
        let file = sealed::open(disk, path, digest.len).await?;
        let raw = RawFile { file, run, len: digest.len, sums };
        let malformed = |error: ParquetError| match error {
            ParquetError::External(inner) => match inner.downcast::<ReadError>() {
                Ok(error) => *error,
                Err(other) => sealed::corruption(path, 0, other.to_string()),
            },
            other => sealed::corruption(path, 0, other.to_string()),
        };
        let mut reader = RawReader { raw: &raw };
        let metadata = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Required)
            .load_and_finish(&mut reader, digest.len)
            .await
            .map_err(malformed)?;
        let options = ArrowReaderOptions::new();
        let metadata =
            ArrowReaderMetadata::try_new(Arc::new(metadata), options).map_err(malformed)?;
        if metadata.schema().fields() != schema().fields() {
            return Err(sealed::corruption(path, 0, "the columns are not a manifest's"));
        }
        let RawFile { file, run, len, sums } = raw;
        Ok(Arc::new(Self { file, run, len, sums, metadata }))
    }

    /// The file's path.
    pub fn path(&self) -> &FilePath {
        self.file.path()
    }

    /// The run.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The metadata, for Arrow readers.
    pub fn metadata(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }

    /// A reader of verified bytes.
    pub fn reader(self: &Arc<Self>, counts: Arc<ReadCounts>) -> ManifestReader {
        ManifestReader { manifest: self.clone(), counts }
    }

    /// All rows in order.
    pub fn cursor(self: &Arc<Self>) -> Result<ManifestCursor, ReadError> {
        ManifestCursor::new(self)
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, ReadError> {
        read_verified(&self.file, self.run, self.len, &self.sums, range).await
    }
}

/// What is needed to read bytes before the metadata is known.
struct RawFile {
    file: Arc<dyn File>,
    run: RunId,
    len: u64,
    sums: Vec<u32>,
}

struct RawReader<'a> {
    raw: &'a RawFile,
}

impl parquet::arrow::async_reader::MetadataFetch for &mut RawReader<'_> {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        let raw = self.raw;
        read_verified(&raw.file, raw.run, raw.len, &raw.sums, range)
            .map(|read| read.map_err(|error| ParquetError::External(Box::new(error))))
            .boxed()
    }
}

/// Reads the blocks that a range touches, verifies them, and gives the range.
async fn read_verified(
    file: &Arc<dyn File>,
    run: RunId,
    len: u64,
    sums: &[u32],
    range: Range<u64>,
) -> Result<Bytes, ReadError> {
    confirm(move || read_once(file, run, len, sums, range.clone())).await
}

async fn read_once(
    file: &Arc<dyn File>,
    run: RunId,
    len: u64,
    sums: &[u32],
    range: Range<u64>,
) -> Result<Bytes, ReadError> {
    if range.start > range.end || range.end > len {
        return Err(sealed::corruption(file.path(), range.start, "a range beyond the file"));
    }
    let start = range.start / SUM_BLOCK * SUM_BLOCK;
    let end = range.end.next_multiple_of(SUM_BLOCK).min(len);
    let bytes = sealed::read(file, start, (end - start) as usize).await?;
    for (index, block) in bytes.chunks(SUM_BLOCK as usize).enumerate() {
        let position = start + index as u64 * SUM_BLOCK;
        let kept = sums[(position / SUM_BLOCK) as usize];
        let computed = sums::block_sum(run, position, block);
        if kept != computed {
            let detail = format!("block checksum {kept:08x}, computed {computed:08x}");
            return Err(sealed::corruption(file.path(), position, detail));
        }
    }
    let from = (range.start - start) as usize;
    Ok(bytes.slice(from..from + (range.end - range.start) as usize))
}

/// Verified bytes for Arrow's Parquet reader.
#[derive(Clone)]
pub struct ManifestReader {
    manifest: Arc<Manifest>,
    counts: Arc<ReadCounts>,
}

impl AsyncFileReader for ManifestReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.counts.ranges.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes.fetch_add(range.end.saturating_sub(range.start), Ordering::Relaxed);
        async move {
            let read = self.manifest.read(range).await;
            read.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let metadata = self.manifest.metadata.metadata().clone();
        async move { Ok(metadata) }.boxed()
    }
}
