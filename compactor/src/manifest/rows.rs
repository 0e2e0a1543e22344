//! Reads a manifest's rows in order, one batch at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, Int32Array, Int64Array,
    ListArray, MapArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt8Array,
    UInt32Array, UInt64Array,
};
use arrow::datatypes::UInt64Type;
use futures::StreamExt;
use ingest::codec::Decoder;
use ingest::entry::{SegmentLocation, StorageClass, StoredChecksum};
use ingest::ids::{BulkId, SegmentId};
use ingest::log::ReadError;
use ingest::time::WallTime;
use parquet::arrow::async_reader::{ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;

use super::reader::{Manifest, ManifestReader, ReadCounts};
use super::row::{ManifestRow, ObjectColumns};
use crate::index_value::IndexValueKind;
use crate::sealed;

/// Reads rows in order. Memory: up to 1024 decoded rows, and a few pages of each column.
pub struct ManifestCursor {
    manifest: Arc<Manifest>,
    stream: ParquetRecordBatchStream<ManifestReader>,
    rows: VecDeque<ManifestRow>,
}

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 1024;

impl ManifestCursor {
    pub(super) fn new(manifest: &Arc<Manifest>) -> Result<Self, ReadError> {
        let reader = manifest.reader(Arc::new(ReadCounts::default()));
        let metadata = manifest.metadata().clone();
        let stream = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| read_error(manifest, error))?;
        Ok(Self { manifest: manifest.clone(), stream, rows: VecDeque::new() })
    }

    /// Returns the next row in the order of sort keys; `None` at the end. Fails with corruption if a page
    /// or a row cannot be decoded, and with a transient error if the file cannot be read at present. After
    /// an error the cursor must not be used again.
    pub async fn next(&mut self) -> Result<Option<ManifestRow>, ReadError> {
        loop {
            if let Some(row) = self.rows.pop_front() {
                return Ok(Some(row));
            }
            match self.stream.next().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(read_error(&self.manifest, error)),
                Some(Ok(columns)) => {
                    let rows = rows(&columns).ok_or_else(|| {
                        sealed::corruption(self.manifest.path(), 0, "a row cannot be decoded")
                    })?;
                    self.rows = rows.into();
                }
            }
        }
    }
}

/// Converts an error of the Parquet reader: returns the read error that caused it, if there is one,
/// otherwise a corruption of the manifest.
pub fn read_error(manifest: &Manifest, error: ParquetError) -> ReadError {
    match error {
        ParquetError::External(inner) => match inner.downcast::<ReadError>() {
            Ok(error) => *error,
            Err(other) => sealed::corruption(manifest.path(), 0, other.to_string()),
        },
        other => sealed::corruption(manifest.path(), 0, other.to_string()),
    }
}

/// Decodes the map of one row; `None` if the column has other types.
fn pairs(column: &MapArray, row: usize) -> Option<Vec<(String, String)>> {
    let entries = column.value(row);
    let keys = entries.column(0).as_any().downcast_ref::<StringArray>()?;
    let values = entries.column(1).as_any().downcast_ref::<StringArray>()?;
    Some(
        (0..entries.len())
            .map(|i| (keys.value(i).to_owned(), values.value(i).to_owned()))
            .collect(),
    )
}

/// Decodes the checksums of one row; `None` if they are malformed.
fn checksums(bytes: &[u8]) -> Option<Vec<StoredChecksum>> {
    let mut from = Decoder::new(bytes::Bytes::copy_from_slice(bytes));
    let mut found = Vec::new();
    while from.remaining() > 0 {
        found.push(StoredChecksum::decode(&mut from).ok()?);
    }
    Some(found)
}

/// Converts columns to rows, in order; `None` if a column has another type or a value that no writer makes.
fn rows(columns: &RecordBatch) -> Option<Vec<ManifestRow>> {
    let column = |index: usize| columns.column(index).as_any();
    let number = |index: usize| column(index).downcast_ref::<UInt64Array>();
    let (bucket, version, later) = (number(0)?, number(2)?, number(3)?);
    let key = column(1).downcast_ref::<StringArray>()?;
    let kind = column(4).downcast_ref::<UInt8Array>()?;
    let is_null = column(5).downcast_ref::<BooleanArray>()?;
    let time = column(6).downcast_ref::<TimestampMicrosecondArray>()?;
    let size = column(7).downcast_ref::<Int64Array>()?;
    let md5 = column(8).downcast_ref::<FixedSizeBinaryArray>()?;
    let parts = column(9).downcast_ref::<Int32Array>()?;
    let owner = column(10).downcast_ref::<StringArray>()?;
    let content_type = column(11).downcast_ref::<StringArray>()?;
    let map = |index: usize| column(index).downcast_ref::<MapArray>();
    let (headers, metadata, tags) = (map(12)?, map(13)?, map(14)?);
    let sums = column(15).downcast_ref::<BinaryArray>()?;
    let (segment, position) = (number(16)?, number(17)?);
    let index = column(18).downcast_ref::<UInt32Array>()?;
    let payload_segment = number(19)?;
    let bulk_files = column(20).downcast_ref::<ListArray>()?;
    let is_latest = column(21).downcast_ref::<BooleanArray>()?;
    let storage_class = column(22).downcast_ref::<StringArray>()?;
    let mut found = Vec::with_capacity(columns.num_rows());
    for row in 0..columns.num_rows() {
        let kind = IndexValueKind::from_code(kind.value(row))?;
        let object = match kind {
            IndexValueKind::Object => Some(ObjectColumns {
                size: u64::try_from(size.value(row)).ok()?,
                md5: md5.value(row).try_into().ok()?,
                parts: u16::try_from(parts.value(row)).ok()?,
                content_type: content_type
                    .is_valid(row)
                    .then(|| content_type.value(row).to_owned()),
                headers: pairs(headers, row)?,
                metadata: pairs(metadata, row)?,
                tags: pairs(tags, row)?,
                checksums: checksums(sums.value(row))?,
                storage_class: StorageClass::named(storage_class.value(row))?,
            }),
            _ => None,
        };
        let files = bulk_files.value(row);
        let files = files.as_primitive_opt::<UInt64Type>()?;
        found.push(ManifestRow {
            bucket: bucket.value(row),
            key: key.value(row).to_owned(),
            version: version.value(row),
            sequence: version.value(row).wrapping_add(later.value(row)),
            kind,
            is_null: is_null.value(row),
            created: WallTime::from_micros(time.value(row)),
            object,
            owner: owner.value(row).to_owned(),
            header: SegmentLocation {
                segment: SegmentId::new(segment.value(row)),
                position: position.value(row),
                index: index.value(row),
            },
            payload_segment: payload_segment
                .is_valid(row)
                .then(|| SegmentId::new(payload_segment.value(row))),
            bulk_files: files.values().iter().map(|file| BulkId::new(*file)).collect(),
            is_latest: is_latest.value(row),
        });
    }
    Some(found)
}
