//! The table `tags`: one row for each tag of each current object.
//!
//! A plan node over `objects` converts each object's map of tags to rows, in the order of the objects.
//! Conditions on bucket and key select the objects to read; a tag's name and value are compared afterwards.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use compactor::view::Snapshot;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::StreamExt;
use query::scan::VersionScope;

use crate::table::EntriesTable;

/// The columns that come from `objects`, under the same names.
const OF_OBJECTS: [&str; 3] = ["bucket", "key", "version_id"];

/// Returns the table's columns.
fn schema() -> SchemaRef {
    let names = OF_OBJECTS.into_iter().chain(["name", "value"]);
    let fields = names.map(|name| Field::new(name, DataType::Utf8, false));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The table, over the snapshots of all partitions.
#[derive(Debug)]
pub struct TagsTable {
    objects: EntriesTable,
    schema: SchemaRef,
}

impl TagsTable {
    /// Makes the table. Keeps the snapshots until the table and its scans are dropped; reads nothing before a
    /// scan.
    pub fn new(snapshots: &[Snapshot]) -> Self {
        Self { objects: EntriesTable::new(snapshots, VersionScope::Objects), schema: schema() }
    }
}

#[async_trait]
impl TableProvider for TagsTable {
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
        self.objects.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let wanted = projection.unwrap_or(&all);
        let of_objects = self.objects.schema();
        let mut columns = Vec::new();
        for index in wanted.iter().filter(|index| **index < OF_OBJECTS.len()) {
            columns.push(of_objects.index_of(OF_OBJECTS[*index])?);
        }
        columns.push(of_objects.index_of("tags")?);
        // An object may have no tags, so a limit on tags is no limit on objects: the stream ends early instead.
        let objects = self.objects.scan(session, Some(&columns), filters, None).await?;
        let schema = Arc::new(self.schema.project(wanted)?);
        Ok(Arc::new(TagsExec::new(objects, schema)?))
    }
}

/// Converts the maps in the last column of its input, `tags`, to rows.
struct TagsExec {
    objects: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl TagsExec {
    fn new(objects: Arc<dyn ExecutionPlan>, schema: SchemaRef) -> Result<Self> {
        // All tags of a key are consecutive: rows ordered by key stay so.
        let mut orderings = Vec::new();
        if let (Some(ordering), Ok(key)) = (objects.output_ordering(), col("key", &schema))
            && ordering.first().expr.eq(&col("key", &objects.schema())?)
        {
            orderings.push(vec![PhysicalSortExpr::new(key, ordering.first().options)]);
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(schema, orderings),
            objects.output_partitioning().clone(),
            objects.pipeline_behavior(),
            objects.boundedness(),
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { objects, properties: Arc::new(properties), metrics })
    }

    /// Makes the same node over another input. Fails unless there is exactly one.
    fn over(&self, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(objects), true) => Ok(Arc::new(Self::new(objects, self.schema())?)),
            _ => Err(DataFusionError::Internal("TagsExec has one input".into())),
        }
    }
}

impl fmt::Debug for TagsExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TagsExec({:?})", self.objects)
    }
}

impl DisplayAs for TagsExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TagsExec")
    }
}

impl ExecutionPlan for TagsExec {
    fn name(&self) -> &'static str {
        "TagsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.objects]
    }

    /// Returns false: the conversion costs too little to repartition the input for it.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.over(children)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.over(children)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let objects = self.objects.execute(partition, context)?;
        let of = schema.clone();
        let rows = objects.map(move |batch| {
            let batch = batch?;
            let _timer = baseline.elapsed_compute().timer();
            let rows = rows(&batch, &of)?;
            baseline.record_output(rows.num_rows());
            Ok(rows)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// Makes one row for each tag of a batch of objects, in the order of the objects.
fn rows(objects: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let (tags, others) = objects.columns().split_last().expect("tags are read for every answer");
    let tags = tags.as_map();
    let offsets = tags.value_offsets();
    // A slice of a batch has offsets that do not begin at 0.
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let of_pair = |pairs: &ArrayRef| pairs.slice(first as usize, (last - first) as usize);
    let counts = offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize);
    let objects_of: UInt32Array = counts
        .enumerate()
        .flat_map(|(row, count)| std::iter::repeat_n(row as u32, count))
        .collect();
    let mut others = others.iter();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        columns.push(match field.name().as_str() {
            "name" => of_pair(tags.keys()),
            "value" => of_pair(tags.values()),
            _ => {
                let column = others.next().expect("objects are read with the columns wanted");
                take(column, &objects_of, None)?
            }
        });
    }
    let options =
        datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(objects_of.len()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{MapBuilder, StringArray, StringBuilder};

    use super::*;

    #[test]
    fn each_tag_is_a_row_also_of_a_slice() {
        let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for (row, count) in [2, 0, 1].into_iter().enumerate() {
            for number in 0..count {
                maps.keys().append_value(format!("n{row}{number}"));
                maps.values().append_value(format!("v{row}{number}"));
            }
            maps.append(true).expect("a batch of these columns");
        }
        let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
        let objects =
            RecordBatch::try_from_iter([("key", keys), ("tags", Arc::new(maps.finish()) as _)]);
        let objects = objects.expect("a batch of these columns");
        let schema = Arc::new(schema().project(&[1, 3, 4]).expect("a batch of these columns"));
        let text = |rows: &RecordBatch| -> Vec<String> {
            let column = |index: usize| rows.column(index).as_string::<i32>();
            let row =
                |row: usize| (0..3).map(|c| column(c).value(row)).collect::<Vec<_>>().join(" ");
            (0..rows.num_rows()).map(row).collect()
        };
        let all = rows(&objects, &schema).expect("a batch of these columns");
        assert_eq!(text(&all), ["a n00 v00", "a n01 v01", "c n20 v20"]);
        assert_eq!(
            text(&rows(&objects.slice(1, 2), &schema).expect("a batch of these columns")),
            ["c n20 v20"]
        );
        let none = Arc::new(schema.project(&[]).expect("a batch of these columns"));
        assert_eq!(
            rows(&objects.project(&[1]).expect("a batch of these columns"), &none)
                .expect("a batch of these columns")
                .num_rows(),
            3
        );
    }
}
