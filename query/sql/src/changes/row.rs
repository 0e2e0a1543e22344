//! A record of the log as a row of `changes`.

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

/// The table's columns.
pub fn schema() -> SchemaRef {
    let field = |name: &str, kind: DataType, nullable| Field::new(name, kind, nullable);
    Arc::new(Schema::new(vec![
        field("partition", DataType::UInt32, false),
        field("offset", DataType::Int64, false),
        field("time", system_tables::time(), false),
        field("operation", DataType::Utf8, false),
        field("bucket", DataType::Utf8, true),
        field("key", DataType::Utf8, true),
        field("version_id", DataType::Utf8, true),
        field("size", DataType::Int64, true),
        field("principal", DataType::Utf8, true),
        field("request_id", DataType::Utf8, true),
        field("changed", DataType::Boolean, true),
    ]))
}

/// The columns that hang on what became of a record.
const OF_OUTCOMES: [&str; 3] = ["version_id", "size", "changed"];

/// The columns that are wanted.
pub struct ChangeColumns {
    /// Their schema.
    pub schema: SchemaRef,
    /// Whether it must be found out what became of each record.
    tell_outcomes: bool,
}

impl ChangeColumns {
    /// The columns with these numbers, or all.
    pub fn new(wanted: Option<&Vec<usize>>) -> Self {
        let all = schema();
        let schema = match wanted {
            Some(wanted) => Arc::new(all.project(wanted).expect("the planner knows the columns")),
            None => all,
        };
        let tell_outcomes = OF_OUTCOMES.iter().any(|name| schema.index_of(name).is_ok());
        Self { schema, tell_outcomes }
    }

    /// Rows as columns.
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
                "version_id" => texts(rows.map(|row| row.became.version_id.as_deref())),
                "size" => Arc::new(rows.map(|row| row.became.size).collect::<Int64Array>()),
                "principal" => texts(rows.map(|row| row.principal.as_deref())),
                "request_id" => texts(rows.map(|row| row.request.as_deref())),
                _ => Arc::new(rows.map(|row| row.became.changed).collect::<BooleanArray>()),
            }
        };
        let columns = self.schema.fields().iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// One request.
pub struct ChangeRow {
    partition: PartitionId,
    offset: Offset,
    time: WallTime,
    operation: &'static str,
    bucket: Option<String>,
    key: Option<String>,
    principal: Option<String>,
    request: Option<String>,
    became: ChangeOutcome,
}

/// What became of it, as far as that is known.
#[derive(Default)]
struct ChangeOutcome {
    version_id: Option<String>,
    size: Option<i64>,
    changed: Option<bool>,
}

/// The S3 operation that makes such records; `None` for what the store says to itself.
fn operation(body: &RecordBody) -> Option<&'static str> {
    Some(match body {
        RecordBody::CreateBucket(_) => "CreateBucket",
        RecordBody::DeleteBucket { .. } => "DeleteBucket",
        RecordBody::SetVersioning { .. } => "PutBucketVersioning",
        RecordBody::PutObject(_) => "PutObject",
        RecordBody::DeleteObject(_) => "DeleteObject",
        RecordBody::SetTags(_) => "PutObjectTagging",
        RecordBody::CreateUpload(_) => "CreateMultipartUpload",
        RecordBody::PutPart(_) => "UploadPart",
        RecordBody::CompleteUpload(_) => "CompleteMultipartUpload",
        RecordBody::AbortUpload { .. } => "AbortMultipartUpload",
        RecordBody::OpenWriter
        | RecordBody::Cut { .. }
        | RecordBody::Barrier
        | RecordBody::Data(_)
        | RecordBody::Digest(_)
        | RecordBody::Claim { .. }
        | RecordBody::Abandon { .. }
        | RecordBody::Room(_) => return None,
    })
}

fn bucket_of(body: &RecordBody, partition: PartitionId, offset: Offset) -> Option<BucketId> {
    match body {
        RecordBody::CreateBucket(_) => Some(bucket_id(partition, offset)),
        RecordBody::DeleteBucket { bucket, .. } | RecordBody::SetVersioning { bucket, .. } => {
            Some(*bucket)
        }
        other => other.target().map(|(bucket, _)| bucket),
    }
}

impl ChangeRow {
    /// A record's row, if it is a request and the asker may know of it: about a bucket that the asker may
    /// list, or the asker's own.
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
            // The time that dates what the record made; the log's own stamp is whatever some clock said.
            time: record.time,
            operation,
            bucket,
            key: record.body.target().map(|(_, key)| key.as_str().to_owned()),
            principal: some(record.principal),
            request: some(record.request),
            became,
        })
    }
}

/// A version's id as clients know it.
fn version_id(version: Offset, is_null: bool) -> String {
    if is_null { "null".into() } else { format!("{:032x}", version.get()) }
}

impl ChangeOutcome {
    fn of(body: &RecordBody, bucket: BucketId, offset: Offset, seen: &PartitionView) -> Self {
        // Memtables follow one another; the newest that may hold the record is the only one that can.
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
            | RecordBody::SetVersioning { .. } => state(StateKey::bucket(bucket)),
            RecordBody::CreateUpload(create) => {
                state(StateKey::upload(bucket, create.key.as_bytes(), create.upload))
            }
            RecordBody::AbortUpload { key, upload, .. } => {
                state(StateKey::upload(bucket, key.as_bytes(), *upload))
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

    /// Of a request about a version: what the memtable says that it made of it, else what the request names.
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
            (RecordBody::CompleteUpload(_), EntryValue::Object(object)) => {
                i64::try_from(object.attributes.size).ok()
            }
            _ => size,
        };
        Self { version_id: named.or(made), size, changed }
    }
}
