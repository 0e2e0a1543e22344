//! The large tables, `objects` and `versions`, over the entries of snapshots.

use std::sync::Arc;

use async_trait::async_trait;
use compactor::manifest;
use compactor::state::Buckets;
use compactor::view::Snapshot;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, StringBuilder, UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, UInt8Type};
use datafusion::catalog::Session;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use ingest::ids::BucketId;
use ingest::log::ReadError;
use query::scan::{KeyBounds, ScanBatch, VersionScope, split};
use query::tagged::candidates;

use crate::checksums;
use crate::error::external;
use crate::exec::{EntriesExec, ScanShare, TaggedKeys};
use crate::key_range;
use crate::prune;
use crate::tagged;

/// A column of the tables, by the way in which it is made from manifest columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableColumn {
    /// The bucket's name.
    Bucket,
    /// The object key.
    Key,
    /// The version's id as clients know it.
    VersionId,
    /// True if the version is the newest of its key.
    IsLatest,
    /// True if the version is a delete marker.
    IsDeleteMarker,
    /// The entity tag, without quotes.
    ETag,
    /// A map from algorithms to checksums.
    Checksums,
    /// The type of the checksums: of the whole object or of its parts.
    ChecksumType,
    /// One of the manifest's own columns.
    Manifest(&'static str),
}

/// The columns of `objects`, in order.
const OBJECTS: [(&str, TableColumn); 14] = [
    ("bucket", TableColumn::Bucket),
    ("key", TableColumn::Key),
    ("version_id", TableColumn::VersionId),
    ("last_modified", TableColumn::Manifest("last_modified")),
    ("size", TableColumn::Manifest("size")),
    ("etag", TableColumn::ETag),
    ("owner", TableColumn::Manifest("owner")),
    ("content_type", TableColumn::Manifest("content_type")),
    ("headers", TableColumn::Manifest("headers")),
    ("metadata", TableColumn::Manifest("metadata")),
    ("tags", TableColumn::Manifest("tags")),
    ("storage_class", TableColumn::Manifest("storage_class")),
    ("checksums", TableColumn::Checksums),
    ("checksum_type", TableColumn::ChecksumType),
];

/// The further columns of `versions`.
const ONLY_VERSIONS: [(&str, TableColumn); 2] =
    [("is_latest", TableColumn::IsLatest), ("is_delete_marker", TableColumn::IsDeleteMarker)];

/// Returns the index of a manifest's column, which must exist.
fn at(name: &str) -> usize {
    manifest::schema().index_of(name).expect("the manifest has this column")
}

impl TableColumn {
    /// Returns the column's field in the table's schema.
    fn field(self, name: &str) -> Field {
        match self {
            TableColumn::Bucket | TableColumn::Key | TableColumn::VersionId => {
                Field::new(name, DataType::Utf8, false)
            }
            TableColumn::IsLatest | TableColumn::IsDeleteMarker => {
                Field::new(name, DataType::Boolean, false)
            }
            TableColumn::ETag | TableColumn::ChecksumType => Field::new(name, DataType::Utf8, true),
            TableColumn::Checksums => manifest::schema().field(at("tags")).clone().with_name(name),
            TableColumn::Manifest(source) => {
                manifest::schema().field(at(source)).clone().with_name(name)
            }
        }
    }

    /// Returns the manifest columns from which the column is made.
    fn needs(self) -> Vec<usize> {
        match self {
            TableColumn::Bucket => vec![at("bucket_id")],
            TableColumn::Key => vec![at("key")],
            TableColumn::VersionId => vec![at("version"), at("is_null_version")],
            TableColumn::IsDeleteMarker => vec![at("kind")],
            TableColumn::IsLatest => Vec::new(),
            TableColumn::ETag => vec![at("md5"), at("parts")],
            TableColumn::Checksums | TableColumn::ChecksumType => vec![at("checksums")],
            TableColumn::Manifest(name) => vec![at(name)],
        }
    }
}

/// Returns a table's columns in order; `versions` has two that `objects` has not, before the time.
pub fn columns(shown: VersionScope) -> Vec<(&'static str, TableColumn)> {
    let mut columns = OBJECTS.to_vec();
    if shown == VersionScope::Versions {
        columns.splice(3..3, ONLY_VERSIONS);
    }
    columns
}

/// Returns the schema of some columns, in the same order and under the same names.
pub fn schema(columns: &[(&'static str, TableColumn)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, column)| column.field(name));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Converts rows of a scan to some of a table's columns.
pub struct RowProjection {
    /// The wanted columns of the table.
    columns: Vec<(&'static str, TableColumn)>,
    /// The schema of these columns.
    pub schema: SchemaRef,
}

impl RowProjection {
    /// Selects a table's columns by their index, in the given order, or all of them. Panics if an index is out
    /// of range, which the planner never produces.
    pub fn new(shown: VersionScope, wanted: Option<&Vec<usize>>) -> Self {
        let all = columns(shown);
        let columns = match wanted {
            Some(wanted) => wanted.iter().map(|index| all[*index]).collect(),
            None => all,
        };
        Self { schema: schema(&columns), columns }
    }

    /// Returns the manifest columns that a scan must read for these columns; without an order, and with
    /// duplicates.
    pub fn needs(&self) -> Vec<usize> {
        self.columns.iter().flat_map(|(_, column)| column.needs()).collect()
    }

    /// Returns a projection to those of the columns that have one of these names, in the same order as before.
    pub fn only(&self, names: &[String]) -> Self {
        let is_wanted =
            |(name, _): &&(&str, TableColumn)| names.iter().any(|wanted| wanted == name);
        let columns: Vec<_> = self.columns.iter().filter(is_wanted).copied().collect();
        Self { schema: schema(&columns), columns }
    }

    /// Converts rows of a manifest, without knowledge of `is_latest`, which must not be among the columns.
    /// Errors: as for [`RowProjection::apply`].
    pub fn columns_of(&self, rows: &RecordBatch, buckets: &Buckets) -> Result<RecordBatch> {
        let is_latest = BooleanArray::new_null(rows.num_rows());
        self.apply(&ScanBatch { rows: rows.clone(), is_latest }, buckets)
    }

    /// Converts a batch of a scan to the table's columns, row by row in the same order. The batch must have the
    /// columns of [`RowProjection::needs`], and only buckets in `buckets`; otherwise the call panics.
    ///
    /// Errors: [`ReadError::Corrupt`], wrapped, if checksums cannot be decoded.
    pub fn apply(&self, batch: &ScanBatch, buckets: &Buckets) -> Result<RecordBatch> {
        let source =
            |name: &str| batch.rows.column_by_name(name).expect("a needed column is read").clone();
        let build = |column: &(&str, TableColumn)| -> Result<ArrayRef> {
            Ok(match column.1 {
                TableColumn::Bucket => bucket_names(source("bucket_id").as_primitive(), buckets),
                TableColumn::Key => source("key"),
                TableColumn::VersionId => {
                    let (versions, nulls) = (source("version"), source("is_null_version"));
                    version_ids(versions.as_primitive(), nulls.as_boolean())
                }
                TableColumn::IsLatest => Arc::new(batch.is_latest.clone()),
                TableColumn::IsDeleteMarker => {
                    let kinds = source("kind");
                    let marker = compactor::index_value::IndexValueKind::Marker.code();
                    let is_marker = kinds.as_primitive::<UInt8Type>().values().iter();
                    Arc::new(BooleanArray::from_iter(is_marker.map(|kind| Some(*kind == marker))))
                }
                TableColumn::ETag => etags(&source("md5"), &source("parts")),
                TableColumn::Checksums => checksums::texts(source("checksums").as_binary())?,
                TableColumn::ChecksumType => checksums::kinds(source("checksums").as_binary())?,
                TableColumn::Manifest(name) => source(name),
            })
        };
        let arrays: Vec<ArrayRef> = self.columns.iter().map(build).collect::<Result<_>>()?;
        // A batch without columns still has rows: `count(*)` needs their number.
        let rows = batch.rows.num_rows();
        let options =
            datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?)
    }
}

/// Returns the names of buckets by their ids.
fn bucket_names(ids: &UInt64Array, buckets: &Buckets) -> ArrayRef {
    let name_of = |id: u64| {
        let bucket = buckets.get(BucketId::new(id)).expect("a scan stays within known buckets");
        bucket.name.as_str()
    };
    // Rows of one bucket are consecutive, and most batches are of a single bucket.
    match (ids.values().first(), ids.values().last()) {
        (Some(first), Some(last)) if first == last => {
            Arc::new(StringArray::new_repeated(name_of(*first), ids.len()))
        }
        _ => {
            let mut names = StringBuilder::with_capacity(ids.len(), ids.len() * 16);
            for same in ids.values().chunk_by(|a, b| a == b) {
                let name = name_of(same[0]);
                same.iter().for_each(|_| names.append_value(name));
            }
            Arc::new(names.finish())
        }
    }
}

/// Returns versions' ids as clients know them.
fn version_ids(versions: &UInt64Array, nulls: &BooleanArray) -> ArrayRef {
    use std::fmt::Write as _;
    let mut ids = StringBuilder::with_capacity(versions.len(), versions.len() * 32);
    for (row, version) in versions.values().iter().enumerate() {
        if nulls.value(row) {
            ids.append_value("null");
        } else {
            write!(ids, "{version:032x}").expect("a builder takes text");
            // Ends the value that was written to the builder.
            ids.append_value("");
        }
    }
    Arc::new(ids.finish())
}

/// Writes an entity tag as clients know it, without quotes.
fn write_etag(out: &mut impl std::fmt::Write, md5: &[u8], parts: i32) -> std::fmt::Result {
    md5.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
    if parts > 0 {
        write!(out, "-{parts}")?;
    }
    Ok(())
}

/// Returns an entity tag as clients know it, without quotes: hexadecimal digits, and only for an object of
/// several parts a hyphen and their number.
pub fn etag(etag: &ingest::entry::ETag) -> String {
    let mut text = String::with_capacity(32);
    write_etag(&mut text, &etag.md5, i32::from(etag.parts)).expect("a string takes text");
    text
}

/// Returns entity tags as texts; NULL where the manifest has none.
fn etags(md5s: &ArrayRef, parts: &ArrayRef) -> ArrayRef {
    let (md5s, parts) = (md5s.as_fixed_size_binary(), parts.as_primitive::<Int32Type>());
    let mut etags = StringBuilder::with_capacity(md5s.len(), md5s.len() * 32);
    for row in 0..md5s.len() {
        if md5s.is_null(row) {
            etags.append_null();
            continue;
        }
        let parts = if parts.is_valid(row) { parts.value(row) } else { 0 };
        write_etag(&mut etags, md5s.value(row), parts).expect("a builder takes text");
        // Ends the value that was written to the builder.
        etags.append_value("");
    }
    Arc::new(etags.finish())
}

/// The table `objects` or `versions`, over the snapshots of all partitions.
pub struct EntriesTable {
    snapshots: Vec<Snapshot>,
    shown: VersionScope,
    schema: SchemaRef,
}

impl EntriesTable {
    /// Makes the table. Keeps the snapshots, and so their files, until the table and its scans are dropped;
    /// reads nothing before a scan.
    pub fn new(snapshots: &[Snapshot], shown: VersionScope) -> Self {
        Self { snapshots: snapshots.to_vec(), shown, schema: schema(&columns(shown)) }
    }
}

impl EntriesTable {
    /// Returns the keys that a condition on a tag leaves, if there is such a condition and they are few enough
    /// for look-ups.
    async fn by_tag(
        &self,
        snapshot: &Snapshot,
        bounds: &KeyBounds,
        conditions: &[Expr],
    ) -> Result<Option<TaggedKeys>, ReadError> {
        if self.shown != VersionScope::Objects {
            return Ok(None);
        }
        for tag in conditions.iter().filter_map(tagged::tag_of) {
            let keys = candidates(snapshot, bounds, &tag, tagged::LOOKUPS_MAX).await?;
            if let Some(keys) = keys {
                return Ok(Some(TaggedKeys { tag, keys: keys.into_iter().collect() }));
            }
        }
        Ok(None)
    }
}

impl std::fmt::Debug for EntriesTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at: Vec<_> = self.snapshots.iter().map(|snapshot| snapshot.at).collect();
        write!(f, "Entries({:?} at {at:?})", self.shown)
    }
}

#[async_trait]
impl TableProvider for EntriesTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let helps = |filter: &Expr| {
            let by_tag = self.shown == VersionScope::Objects && tagged::tag_of(filter).is_some();
            by_tag || key_range::narrows(filter) || prune::prunes(filter)
        };
        // Every use of a condition only reduces what is read: the planner must apply the condition again.
        let support = |filter: &&Expr| match helps(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let threads = session.config().target_partitions();
        let mut wanted: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        for (index, snapshot) in self.snapshots.iter().enumerate() {
            let bounds = key_range::bounds(filters, &snapshot.buckets);
            // A partition without wanted buckets is left out, unless no partition would remain: a plan needs a
            // node.
            let is_last = index + 1 == self.snapshots.len();
            if bounds.buckets().is_empty() && !(is_last && wanted.is_empty()) {
                continue;
            }
            let projection = RowProjection::new(self.shown, projection);
            let shares = match self.by_tag(snapshot, &bounds, filters).await.map_err(external)? {
                Some(tagged) => vec![ScanShare::Tagged(Arc::new(tagged))],
                None => {
                    let mut split = split(snapshot, &bounds).await.map_err(external)?;
                    if let Some(disjoint) = &mut split.disjoint {
                        prune::prune(disjoint, filters, session)?;
                    }
                    ScanShare::all(split, threads)
                }
            };
            let exec =
                EntriesExec::new(snapshot.clone(), self.shown, bounds, shares, projection, limit)?;
            wanted.push(Arc::new(exec));
        }
        match wanted.len() {
            1 => Ok(wanted.remove(0)),
            _ => UnionExec::try_new(wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_versions_and_etags() {
        let versions = UInt64Array::from(vec![10, 11]);
        let ids = version_ids(&versions, &BooleanArray::from(vec![false, true]));
        let ids = ids.as_string::<i32>();
        assert_eq!(ids.value(0), "0000000000000000000000000000000a");
        assert_eq!(ids.value(1), "null");
    }

    #[test]
    fn versions_have_what_objects_have_and_two_more() {
        let (objects, versions) =
            (schema(&columns(VersionScope::Objects)), schema(&columns(VersionScope::Versions)));
        assert_eq!(objects.fields().len() + 2, versions.fields().len());
        assert!(
            objects.fields().iter().all(|field| versions.field_with_name(field.name()).is_ok())
        );
    }
}
