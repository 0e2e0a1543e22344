//! The plan node that scans entries.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use compactor::view::Snapshot;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use query::scan::{Bounds, Counts, Request, Scan, Shown, scan};

use crate::error::external;
use crate::table::Projection;

/// Scans `objects` or `versions` of one snapshot within bounds, in the order of bucket ids and keys.
pub struct EntriesExec {
    snapshot: Snapshot,
    shown: Shown,
    bounds: Bounds,
    projection: Arc<Projection>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl EntriesExec {
    /// Makes the node.
    pub fn new(
        snapshot: Snapshot,
        shown: Shown,
        bounds: Bounds,
        projection: Projection,
        limit: Option<usize>,
    ) -> Result<Self> {
        let schema = projection.schema.clone();
        // Buckets come in the order of their ids, which no column shows: one bucket's keys are in order.
        let mut orderings: Vec<Vec<PhysicalSortExpr>> = Vec::new();
        if bounds.buckets().len() == 1 && schema.index_of("key").is_ok() {
            orderings.push(vec![PhysicalSortExpr::new_default(col("key", &schema)?)]);
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(schema, orderings),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            snapshot,
            shown,
            bounds,
            projection: Arc::new(projection),
            limit,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl fmt::Debug for EntriesExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntriesExec({:?}, {:?})", self.shown, self.bounds)
    }
}

impl DisplayAs for EntriesExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |id: &ingest::words::BucketId| {
            self.snapshot.buckets.get(*id).map_or_else(String::new, |b| b.name.as_str().to_owned())
        };
        let buckets = self.bounds.buckets();
        match buckets {
            [] => write!(f, "EntriesExec: {:?} of no bucket", self.shown)?,
            [only] => write!(f, "EntriesExec: {:?} of {}", self.shown, names(only))?,
            _ => write!(f, "EntriesExec: {:?} of {} buckets", self.shown, buckets.len())?,
        }
        write!(f, ", keys {}", self.bounds)?;
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for EntriesExec {
    fn name(&self) -> &'static str {
        "EntriesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let request = Request {
            shown: self.shown,
            bounds: self.bounds.clone(),
            columns: self.projection.needs(),
            batch_rows: context.session_config().batch_size(),
        };
        let counts = Counts::default();
        let running = Running {
            scan: scan(&self.snapshot, request, counts.clone()).map_err(external)?,
            snapshot: self.snapshot.clone(),
            projection: self.projection.clone(),
            left: self.limit.unwrap_or(usize::MAX),
            baseline: BaselineMetrics::new(&self.metrics, partition),
            counts,
            metrics: self.metrics.clone(),
        };
        let stream = futures::stream::try_unfold(running, |mut running| async move {
            Ok(running.next().await?.map(|batch| (batch, running)))
        });
        let schema = self.projection.schema.clone();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

struct Running {
    scan: Scan,
    snapshot: Snapshot,
    projection: Arc<Projection>,
    left: usize,
    baseline: BaselineMetrics,
    counts: Counts,
    metrics: ExecutionPlanMetricsSet,
}

impl Running {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.left == 0 {
            return Ok(None);
        }
        let Some(batch) = self.scan.next().await.map_err(external)? else { return Ok(None) };
        let _timer = self.baseline.elapsed_compute().timer();
        let mut rows = self.projection.apply(&batch, &self.snapshot.buckets)?;
        if rows.num_rows() > self.left {
            rows = rows.slice(0, self.left);
        }
        self.left -= rows.num_rows();
        self.baseline.record_output(rows.num_rows());
        Ok(Some(rows))
    }
}

impl Drop for Running {
    /// However the scan ended, what it read is told once.
    fn drop(&mut self) {
        let pages = &self.counts.pages;
        let told = [
            ("runs_read", &pages.runs),
            ("row_groups_read", &pages.groups),
            ("row_groups_total", &pages.groups_total),
            ("key_pages_read", &pages.key_pages),
            ("bytes_read", &self.counts.reads.bytes),
        ];
        for (name, count) in told {
            let counter = MetricBuilder::new(&self.metrics).global_counter(name);
            counter.add(count.load(Ordering::Relaxed) as usize);
        }
    }
}
