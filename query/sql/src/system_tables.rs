//! The small tables: `buckets`, `uploads`, `partitions`, `segments`.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use compactor::state::BucketState;
use compactor::view::Snapshot;
use datafusion::arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
    UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use ingest::ids::UploadId;
use ingest::record::Versioning;
use ingest::time::WallTime;
use query::listing::{ListRequest, ListStart};
use query::uploads::{self, UploadItem, UploadPage};

use crate::error::external;
use crate::source::PartitionView;

/// Makes a schema of columns without NULL.
fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    let fields = fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), false));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Returns the type of all times in tables: microseconds in UTC. Clients and tests must see the same type
/// everywhere.
pub fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn texts(values: impl Iterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn times(values: impl Iterator<Item = WallTime>) -> ArrayRef {
    let times = TimestampMicrosecondArray::from_iter_values(values.map(WallTime::micros));
    Arc::new(times.with_timezone("UTC"))
}

/// Makes the table `buckets`, ordered by name, with the buckets that the snapshots contain: only those that the
/// principal may list. Fails only if Arrow refuses the rows.
pub fn buckets(snapshots: &[Snapshot]) -> Result<MemTable> {
    let schema = schema(&[
        ("name", DataType::Utf8),
        ("created", time()),
        ("owner", DataType::Utf8),
        ("region", DataType::Utf8),
        ("versioning", DataType::Utf8),
    ]);
    let mut all: Vec<_> = snapshots.iter().flat_map(|snapshot| snapshot.buckets.iter()).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let columns = vec![
        texts(all.iter().map(|bucket| bucket.name.as_str().to_owned())),
        times(all.iter().map(|bucket| bucket.created)),
        texts(all.iter().map(|bucket| bucket.owner.clone())),
        texts(all.iter().map(|bucket| bucket.region.clone())),
        texts(all.iter().map(|bucket| versioning(bucket.versioning).to_owned())),
    ];
    let rows = RecordBatch::try_new(schema.clone(), columns)?;
    MemTable::try_new(schema, vec![vec![rows]])
}

/// Returns S3's name of a versioning state. For a bucket that never had versioning S3 has no name: `Off`.
fn versioning(versioning: Versioning) -> &'static str {
    match versioning {
        Versioning::Off => "Off",
        Versioning::On => "Enabled",
        Versioning::Suspended => "Suspended",
    }
}

/// Makes the table `partitions`: the first offset that each log still has, and the offset of the snapshot. A
/// reader of `changes` sees here whether records were trimmed before they were read.
///
/// Fails only if Arrow refuses the rows.
pub fn partitions(seen: &[PartitionView]) -> Result<MemTable> {
    let schema = schema(&[
        ("partition", DataType::UInt32),
        ("first_offset", DataType::Int64),
        ("next_offset", DataType::Int64),
    ]);
    let ids = || seen.iter().map(|seen| seen.snapshot.view.partition);
    let firsts = ids().zip(seen).map(|(id, seen)| seen.log.status(id).first.get() as i64);
    let nexts = seen.iter().map(|seen| seen.snapshot.at.get() as i64);
    let columns = vec![
        Arc::new(UInt32Array::from_iter_values(ids().map(|id| id.get()))) as ArrayRef,
        Arc::new(Int64Array::from_iter_values(firsts)),
        Arc::new(Int64Array::from_iter_values(nexts)),
    ];
    let rows = RecordBatch::try_new(schema.clone(), columns)?;
    MemTable::try_new(schema, vec![vec![rows]])
}

/// Makes the table `segments`: the files of sealed payload, by partition and in the catalog's order. A file
/// contains objects of many buckets, so the table is only for operators, and callers must check that.
pub fn segments(snapshots: &[Snapshot]) -> Result<MemTable> {
    let schema = schema(&[
        ("partition", DataType::UInt32),
        ("segment", DataType::UInt64),
        ("bytes", DataType::UInt64),
        ("objects", DataType::UInt64),
        ("references", DataType::UInt64),
    ]);
    let catalogs = snapshots.iter().map(|snapshot| &snapshot.view.sealed.catalog);
    let all: Vec<_> = catalogs
        .flat_map(|catalog| catalog.segments.iter().map(|segment| (catalog.partition, segment)))
        .collect();
    let partitions = all.iter().map(|(partition, _)| partition.get());
    let numbers = |of: &dyn Fn(&compactor::catalog::SegmentMeta) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(all.iter().map(|(_, segment)| of(segment))))
    };
    let columns = vec![
        Arc::new(UInt32Array::from_iter_values(partitions)) as ArrayRef,
        numbers(&|segment| segment.id.get()),
        numbers(&|segment| segment.file.len),
        numbers(&|segment| segment.objects),
        numbers(&|segment| segment.references),
    ];
    let rows = RecordBatch::try_new(schema.clone(), columns)?;
    MemTable::try_new(schema, vec![vec![rows]])
}

/// Makes the table `uploads`: open multipart uploads, as one stream for each partition. Within a stream rows
/// are ordered by bucket, key and upload id.
///
/// Rows are read a page at a time while the query runs. Fails only if DataFusion refuses the table.
pub fn uploads(snapshots: &[Snapshot]) -> Result<StreamingTable> {
    let schema = schema(&[
        ("bucket", DataType::Utf8),
        ("key", DataType::Utf8),
        ("upload_id", DataType::Utf8),
        ("initiated", time()),
        ("owner", DataType::Utf8),
    ]);
    let stream = |snapshot: &Snapshot| -> Arc<dyn PartitionStream> {
        Arc::new(UploadsTable { snapshot: snapshot.clone(), schema: schema.clone() })
    };
    StreamingTable::try_new(schema.clone(), snapshots.iter().map(stream).collect())
}

/// The uploads of one partition.
struct UploadsTable {
    snapshot: Snapshot,
    schema: SchemaRef,
}

impl fmt::Debug for UploadsTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uploads(at {})", self.snapshot.at)
    }
}

/// The uploads of a page, which is also a batch of rows.
const PAGE: usize = 1000;

/// Converts a page of a bucket's uploads to columns.
fn upload_rows(bucket: &BucketState, page: &UploadPage, schema: &SchemaRef) -> Result<RecordBatch> {
    let open = || {
        page.listed.iter().filter_map(|listed| match listed {
            UploadItem::Upload(upload) => Some(upload),
            UploadItem::Prefix(_) => None,
        })
    };
    let columns = vec![
        texts(open().map(|_| bucket.name.as_str().to_owned())),
        texts(open().map(|upload| String::from_utf8_lossy(&upload.key).into_owned())),
        texts(open().map(|upload| hex::encode(upload.id.0))),
        times(open().map(|upload| upload.open.created)),
        texts(open().map(|upload| upload.open.attributes.owner.clone())),
    ];
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// Returns the start of a bucket's next page, or `None` if there is none.
fn after(page: &UploadPage) -> Option<(ListStart, Option<UploadId>)> {
    match page.listed.last().filter(|_| page.is_truncated)? {
        UploadItem::Upload(upload) => Some((ListStart::After(upload.key.clone()), Some(upload.id))),
        UploadItem::Prefix(prefix) => Some((ListStart::AfterPrefix(prefix.clone()), None)),
    }
}

impl PartitionStream for UploadsTable {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let snapshot = self.snapshot.clone();
        let buckets: VecDeque<_> = snapshot.buckets.iter().cloned().collect();
        let schema = self.schema.clone();
        let begin = (buckets, (ListStart::Start, None));
        let rows = futures::stream::try_unfold(begin, move |(mut buckets, (from, id))| {
            let (snapshot, schema) = (snapshot.clone(), schema.clone());
            async move {
                let Some(bucket) = buckets.front().cloned() else { return Ok(None) };
                let (prefix, delimiter) = (Bytes::new(), Bytes::new());
                let request = ListRequest { bucket: bucket.id, prefix, delimiter, from, max: PAGE };
                let page = uploads::uploads(&snapshot, &request, id).await.map_err(external)?;
                let rows = upload_rows(&bucket, &page, &schema)?;
                let next = after(&page).unwrap_or_else(|| {
                    buckets.pop_front();
                    (ListStart::Start, None)
                });
                Ok(Some((rows, (buckets, next))))
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}
