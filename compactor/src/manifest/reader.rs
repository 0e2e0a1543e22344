//! Opens a manifest and reads its bytes; each byte is verified against the checksums before use.

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

/// Counts of the reads of manifests, for metrics.
#[derive(Default, Debug)]
pub struct ReadCounts {
    /// Requested ranges.
    pub ranges: AtomicU64,
    /// Requested bytes; the bytes that were read are whole blocks.
    pub bytes: AtomicU64,
}

/// An open manifest. The metadata, page index included, and the checksums are held in memory.
pub struct Manifest {
    file: Arc<dyn File>,
    run: RunId,
    len: u64,
    sums: Vec<u32>,
    metadata: ArrowReaderMetadata,
}

impl Manifest {
    /// Opens a manifest: reads and verifies the checksums, then reads the Parquet metadata.
    ///
    /// Fails with corruption if a file is missing, has another length, or has other columns than a
    /// manifest; every failure of that kind is confirmed by a second read. Other errors are transient.
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

    /// Returns the file's path, for error messages.
    pub fn path(&self) -> &FilePath {
        self.file.path()
    }

    /// Returns the id of the run that the manifest belongs to.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Returns the Parquet metadata with its page index, as read and verified at open.
    pub fn metadata(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }

    /// Makes a reader of verified bytes that adds its reads to `counts`.
    pub fn reader(self: &Arc<Self>, counts: Arc<ReadCounts>) -> ManifestReader {
        ManifestReader { manifest: self.clone(), counts }
    }

    /// Makes a cursor over all rows, in the order of their sort keys. Fails if the Parquet stream cannot be
    /// built.
    pub fn cursor(self: &Arc<Self>) -> Result<ManifestCursor, ReadError> {
        ManifestCursor::new(self)
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, ReadError> {
        read_verified(&self.file, self.run, self.len, &self.sums, range).await
    }
}

/// The parts of a manifest that are needed to read bytes before the metadata is known.
struct RawFile {
    file: Arc<dyn File>,
    run: RunId,
    len: u64,
    sums: Vec<u32>,
}

/// Reads the Parquet metadata's bytes, verified like all others.
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

/// Reads the blocks that a range touches, verifies them, and returns the range. Damage is confirmed by a
/// second read.
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
    // Checksums cover whole blocks, so the range is widened to their bounds.
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

/// A reader of verified bytes for Arrow's Parquet reader.
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
