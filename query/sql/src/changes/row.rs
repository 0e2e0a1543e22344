//! Converts a log record to a row of `changes`.

use std::sync::Arc;

use compactor::apply::bucket_id;
use compactor::memtable::Memtable;
use compactor::state::StateKey;
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;
use ingest::entry::{EntryKey, EntryValue};
use ingest::ids::{BucketId, Offset, PartitionId};
use ingest::log::CommittedRecord;
use ingest::record::{RecordBody, VersionRef};
use ingest::time::WallTime;

use crate::source::{PartitionView, Principal};
use crate::system_tables;

/// Returns the table's columns in order. `version_id`, `size` and `changed` depend on the outcome and are NULL
/// where they are unknown or do not apply.
pub fn schema() -> SchemaRef {
    let field = |name: &str, kind: DataType, nullable| Field::new(name, kind, nullable);
    Arc::new(Schema::new(vec![
        field("partition", DataType::UInt32, false),
        field("offset", DataType::Int64, false),
        field("time", system_tables::time(), false),
        field("operation", DataType::Utf8, false),
        field("bucket", DataType::Utf8, true),
        field("key", DataType::Utf8, true),
        field("source_key", DataType::Utf8, true),
        field("version_id", DataType::Utf8, true),
        field("size", DataType::Int64, true),
        field("principal", DataType::Utf8, true),
        field("request_id", DataType::Utf8, true),
        field("changed", DataType::Boolean, true),
    ]))
}

/// The columns whose values depend on a record's outcome.
const OF_OUTCOMES: [&str; 3] = ["version_id", "size", "changed"];

/// The columns that a query reads.
pub struct ChangeColumns {
    /// The schema of these columns.
    pub schema: SchemaRef,
    /// True if a column needs the outcome of each record.
    tell_outcomes: bool,
}

impl ChangeColumns {
    /// Selects columns by their index in [`schema`], in the given order, or all of them. Panics if an index is
    /// out of range, which the planner never produces.
    pub fn new(wanted: Option<&Vec<usize>>) -> Self {
        let all = schema();
        let schema = match wanted {
            Some(wanted) => Arc::new(all.project(wanted).expect("the planner knows the columns")),
            None => all,
        };
        let tell_outcomes = OF_OUTCOMES.iter().any(|name| schema.index_of(name).is_ok());
        Self { schema, tell_outcomes }
    }

    /// Converts rows to a batch of the columns, in the same order. Fails only if Arrow refuses the columns.
    pub fn batch(&self, rows: Vec<ChangeRow>) -> Result<RecordBatch> {
        fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
            Arc::new(values.collect::<StringArray>())
        }
        let some = |text: &'static str| Some(text);
        let column = |field: &Arc<Field>| -> ArrayRef {
            let rows = rows.iter();
            match field.name().as_str() {
                "partition" => {
                    Arc::new(UInt32Array::from_iter_values(rows.map(|row| row.partition.get())))
                }
                "offset" => {
                    Arc::new(Int64Array::from_iter_values(rows.map(|row| row.offset.get() as i64)))
                }
                "time" => {
                    let times = rows.map(|row| row.time.micros());
                    let times = TimestampMicrosecondArray::from_iter_values(times);
                    Arc::new(times.with_timezone("UTC"))
                }
                "operation" => texts(rows.map(|row| some(row.operation))),
                "bucket" => texts(rows.map(|row| row.bucket.as_deref())),
                "key" => texts(rows.map(|row| row.key.as_deref())),
                "source_key" => texts(rows.map(|row| row.source_key.as_deref())),
                "version_id" => texts(rows.map(|row| row.became.version_id.as_deref())),
                "size" => Arc::new(rows.map(|row| row.became.size).collect::<Int64Array>()),
                "principal" => texts(rows.map(|row| row.principal.as_deref())),
                "request_id" => texts(rows.map(|row| row.request.as_deref())),
                _ => Arc::new(rows.map(|row| row.became.changed).collect::<BooleanArray>()),
            }
        };
        let columns = self.schema.fields().iter().map(column).collect();
        // A batch without columns still has rows: `count(*)` needs their number.
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// One request of the log.
pub struct ChangeRow {
    partition: PartitionId,
    offset: Offset,
    time: WallTime,
    operation: &'static str,
    bucket: Option<String>,
    key: Option<String>,
    /// The former key of a renamed object.
    source_key: Option<String>,
    principal: Option<String>,
    request: Option<String>,
    became: ChangeOutcome,
}

/// The outcome of a request; `None` where the memtables no longer contain it.
#[derive(Default)]
struct ChangeOutcome {
    version_id: Option<String>,
    size: Option<i64>,
    /// False if the record changed nothing, for example because a precondition failed.
    changed: Option<bool>,
}

/// Returns the S3 operation of a record, or `None` for records that no request made.
fn operation(body: &RecordBody) -> Option<&'static str> {
    Some(match body {
        RecordBody::CreateBucket(_) => "CreateBucket",
        RecordBody::DeleteBucket { .. } => "DeleteBucket",
        RecordBody::SetBucketConfig(set) => set.operation(),
        RecordBody::PutObject(_) => "PutObject",
        RecordBody::DeleteObject(_) => "DeleteObject",
        RecordBody::SetTags(_) => "PutObjectTagging",
        RecordBody::RenameObject(_) => "RenameObject",
        RecordBody::CreateUpload(_) => "CreateMultipartUpload",
        RecordBody::PutPart(_) => "UploadPart",
        RecordBody::CompleteUpload(_) => "CompleteMultipartUpload",
        RecordBody::AbortUpload(_) => "AbortMultipartUpload",
        RecordBody::OpenWriter
        | RecordBody::Cut { .. }
        | RecordBody::Barrier
        | RecordBody::Data(_)
        | RecordBody::Digest(_)
        | RecordBody::Claim { .. }
        | RecordBody::Abandon { .. }
        | RecordBody::Room(_)
        | RecordBody::EventCursor(_) => return None,
    })
}

/// Returns the bucket of a request. CREATE BUCKET names none: the bucket's id follows from the record's offset.
fn bucket_of(body: &RecordBody, partition: PartitionId, offset: Offset) -> Option<BucketId> {
    match body {
        RecordBody::CreateBucket(_) => Some(bucket_id(partition, offset)),
        RecordBody::DeleteBucket { bucket, .. } => Some(*bucket),
        RecordBody::SetBucketConfig(set) => Some(set.bucket),
        other => other.target().map(|(bucket, _)| bucket),
    }
}

impl ChangeRow {
    /// Converts a record to a row, or returns `None` if the record is not a request or the principal must not
    /// see it.
    ///
    /// Visible are requests about buckets in [`PartitionView::followed`], requests of the principal's own, and
    /// for an operator all requests.
    pub fn of(
        committed: CommittedRecord,
        seen: &PartitionView,
        asker: &Principal,
        columns: &ChangeColumns,
    ) -> Option<Self> {
        let CommittedRecord { offset, record, .. } = committed;
        let operation = operation(&record.body)?;
        let partition = seen.snapshot.view.partition;
        let bucket = bucket_of(&record.body, partition, offset)?;
        let named = seen.followed.get(bucket);
        // A record without a principal is nobody's own.
        let is_own = !record.principal.is_empty() && record.principal == asker.id;
        if named.is_none() && !is_own && !asker.is_operator {
            return None;
        }
        let became = match columns.tell_outcomes {
            true => ChangeOutcome::of(&record.body, bucket, offset, seen),
            false => ChangeOutcome::default(),
        };
        let bucket = match &record.body {
            RecordBody::CreateBucket(create) => Some(create.name.as_str().to_owned()),
            _ => named.map(|bucket| bucket.name.as_str().to_owned()),
        };
        let some = |text: String| (!text.is_empty()).then_some(text);
        Some(Self {
            partition,
            offset,
            // The same time as in the object's metadata. The log's own time stamp may come from another clock.
            time: record.time,
            operation,
            bucket,
            key: record.body.target().map(|(_, key)| key.as_str().to_owned()),
            source_key: match &record.body {
                RecordBody::RenameObject(rename) => Some(rename.source.as_str().to_owned()),
                _ => None,
            },
            principal: some(record.principal.clone()),
            request: some(record.request.clone()),
            became,
        })
    }
}

/// Returns a version's id as clients know it: `null`, or 32 hexadecimal digits.
fn version_id(version: Offset, is_null: bool) -> String {
    if is_null { "null".into() } else { format!("{:032x}", version.get()) }
}

impl ChangeOutcome {
    /// Reads a record's outcome from the snapshot's memtables.
    fn of(body: &RecordBody, bucket: BucketId, offset: Offset, seen: &PartitionView) -> Self {
        // Memtables cover consecutive offsets and come newest first: only the first that begins at or below the
        // offset can contain the record.
        let mut memtables = seen.snapshot.memtables();
        let memtable = memtables
            .find(|(memtable, _)| memtable.first() <= offset)
            .map(|(memtable, _)| memtable.as_ref());
        let state = |key: StateKey| memtable.map(|memtable| memtable.changed_at(offset, &key));
        let size = match body {
            RecordBody::PutObject(put) => i64::try_from(put.attributes.size).ok(),
            RecordBody::PutPart(put) => i64::try_from(put.part.size).ok(),
            _ => None,
        };
        let changed = match body {
            RecordBody::CreateBucket(_)
            | RecordBody::DeleteBucket { .. }
            | RecordBody::SetBucketConfig(_) => state(StateKey::bucket(bucket)),
            RecordBody::CreateUpload(create) => {
                state(StateKey::upload(bucket, create.key.as_bytes(), create.upload))
            }
            RecordBody::AbortUpload(abort) => {
                state(StateKey::upload(bucket, abort.key.as_bytes(), abort.upload))
            }
            RecordBody::PutPart(put) => state(StateKey::part(put.upload, put.number)),
            RecordBody::DeleteObject(delete) => {
                return Self::of_version(body, memtable, offset, delete.version, None);
            }
            RecordBody::SetTags(set) => {
                return Self::of_version(body, memtable, offset, set.version, None);
            }
            _ => return Self::of_version(body, memtable, offset, VersionRef::Current, size),
        };
        Self { version_id: None, size, changed }
    }

    /// Returns the outcome of a request about a version. The version's id is the one in the request, otherwise
    /// the one that the record made.
    fn of_version(
        body: &RecordBody,
        memtable: Option<&Memtable>,
        offset: Offset,
        named: VersionRef,
        size: Option<i64>,
    ) -> Self {
        let made = |memtable: &Memtable| {
            let (bucket, key) = body.target()?;
            memtable.made_at(offset, bucket, key.as_bytes())
        };
        let made: Option<Option<(EntryKey, EntryValue)>> = memtable.map(made);
        let changed = made.as_ref().map(Option::is_some);
        let named = match named {
            VersionRef::Current => None,
            VersionRef::Null => Some(version_id(Offset::ZERO, true)),
            VersionRef::At(version) => Some(version_id(version, false)),
        };
        let Some((key, statement)) = made.flatten() else {
            return Self { version_id: named, size, changed };
        };
        let made = Some(version_id(key.version(), statement.is_null()));
        let size = match (body, &statement) {
            (
                RecordBody::CompleteUpload(_) | RecordBody::RenameObject(_),
                EntryValue::Object(object),
            ) => i64::try_from(object.attributes.size).ok(),
            _ => size,
        };
        Self { version_id: named.or(made), size, changed }
    }
}
