//! The table function `list_objects`: S3's listing, for SQL.
//!
//! `list_objects(bucket [, prefix [, delimiter [, start_after [, max_keys]]]])` returns keys and common
//! prefixes in the order of ListObjectsV2, from the same cursor. Without `max_keys` it continues to the end.
//! Memory: a page.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use compactor::view::Snapshot;
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{ScalarValue, plan_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use ingest::name::BucketName;
use query::listing::{self, ListItem, ListPage, ListRequest, ListStart};

use crate::error::external;
use crate::{key_range, system_tables, table};

/// The items of a page, which is also a batch of rows.
const PAGE: usize = 1000;

/// The table function, over the snapshots of all partitions.
pub struct ListObjects {
    /// The snapshots, one of which may contain the bucket.
    pub snapshots: Vec<Snapshot>,
}

impl fmt::Debug for ListObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("list_objects")
    }
}

/// Returns the text argument at an index; `None` if it is absent or NULL. Fails if it is not a text.
fn text(arguments: &[Expr], at: usize, name: &str) -> Result<Option<String>> {
    match arguments.get(at) {
        None => Ok(None),
        Some(Expr::Literal(
            ScalarValue::Null
            | ScalarValue::Utf8(None)
            | ScalarValue::LargeUtf8(None)
            | ScalarValue::Utf8View(None),
            _,
        )) => Ok(None),
        Some(given) => key_range::text(given).map(Some).ok_or_else(|| {
            plan_datafusion_err!("list_objects: {name} must be a text, not {given}")
        }),
    }
}

/// Returns the numeric argument at an index; `None` if it is absent or NULL. Fails if it is not a number from 0
/// on.
fn count(arguments: &[Expr], at: usize, name: &str) -> Result<Option<usize>> {
    match arguments.get(at) {
        None | Some(Expr::Literal(ScalarValue::Null, _)) => Ok(None),
        Some(Expr::Literal(ScalarValue::Int64(Some(value)), _)) => usize::try_from(*value)
            .map(Some)
            .map_err(|_| plan_datafusion_err!("list_objects: {name} must not be negative")),
        Some(other) => plan_err!("list_objects: {name} must be a number, not {other}"),
    }
}

impl TableFunctionImpl for ListObjects {
    fn call_with_args(&self, called: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let given = called.exprs();
        if given.len() > 5 {
            return plan_err!(
                "list_objects takes a bucket, a prefix, a delimiter, a key to start after and a number of keys"
            );
        }
        let Some(bucket) = text(given, 0, "bucket")? else {
            return plan_err!("list_objects: the bucket is missing");
        };
        let missing = || plan_datafusion_err!("list_objects: there is no bucket '{bucket}'");
        // An invalid name is the name of no bucket.
        let name = BucketName::new(bucket.clone().into_bytes()).map_err(|_| missing())?;
        let found = self.snapshots.iter().find_map(|snapshot| {
            snapshot.buckets.named(&name).map(|bucket| (snapshot.clone(), bucket.id))
        });
        let (snapshot, bucket) = found.ok_or_else(missing)?;
        let bytes = |text: Option<String>| Bytes::from(text.unwrap_or_default());
        let start_after = text(given, 3, "start_after")?.filter(|key| !key.is_empty());
        let request = ListRequest {
            bucket,
            prefix: bytes(text(given, 1, "prefix")?),
            delimiter: bytes(text(given, 2, "delimiter")?),
            from: start_after.map_or(ListStart::Start, |key| ListStart::After(key.into())),
            max: PAGE,
        };
        let left = count(given, 4, "max_keys")?.unwrap_or(usize::MAX);
        let listing = ListStream { snapshot, request, left, schema: schema() };
        Ok(Arc::new(StreamingTable::try_new(schema(), vec![Arc::new(listing)])?))
    }
}

/// Returns the function's columns; of a common prefix only `key` and `is_prefix` have values.
fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("is_prefix", DataType::Boolean, false),
        Field::new("last_modified", system_tables::time(), true),
        Field::new("size", DataType::Int64, true),
        Field::new("etag", DataType::Utf8, true),
    ]))
}

/// A listing in pages, with the number of items that are left.
struct ListStream {
    snapshot: Snapshot,
    request: ListRequest,
    left: usize,
    schema: SchemaRef,
}

impl fmt::Debug for ListStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "list_objects({:?})", self.request)
    }
}

/// Converts a page to columns.
fn columns(page: &ListPage, schema: &SchemaRef) -> Result<RecordBatch> {
    let lines = || {
        page.listed.iter().map(|listed| match listed {
            ListItem::Line(line) => Some(line),
            ListItem::Prefix(_) => None,
        })
    };
    let names = page.listed.iter().map(|listed| match listed {
        ListItem::Line(line) => String::from_utf8_lossy(&line.key),
        ListItem::Prefix(prefix) => String::from_utf8_lossy(prefix),
    });
    let times = lines().map(|line| line.map(|line| line.created.micros()));
    let etags = lines().map(|line| line.map(|line| table::etag(&line.etag)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(names)),
        Arc::new(BooleanArray::from_iter(lines().map(|line| Some(line.is_none())))),
        Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        Arc::new(lines().map(|line| line.map(|line| line.size as i64)).collect::<Int64Array>()),
        Arc::new(etags.collect::<StringArray>()),
    ];
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

impl PartitionStream for ListStream {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (snapshot, schema) = (self.snapshot.clone(), self.schema.clone());
        let begin = Some((self.request.clone(), self.left));
        let pages = futures::stream::try_unfold(begin, move |state| {
            let (snapshot, schema) = (snapshot.clone(), schema.clone());
            async move {
                let Some((mut request, left)) = state.filter(|(_, left)| *left > 0) else {
                    return Ok(None);
                };
                request.max = left.min(PAGE);
                let page = listing::objects(&snapshot, &request).await.map_err(external)?;
                let rows = columns(&page, &schema)?;
                let left = left - rows.num_rows();
                let rest = page.next.map(|from| (ListRequest { from, ..request }, left));
                Ok(Some((rows, rest)))
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), pages))
    }
}
