//! The table `changes`: the requests in each partition's log, in order, as far as the log still goes back.
//!
//! ```text
//!   log ──review──▶ records from the lower bound to the snapshot ─▶ whose? ─▶ rows
//!                        memtables of the snapshot ── what became of each ──┘
//! ```
//! A record says what was asked. What became of it is known while the snapshot's memtables hold it, which on
//! one machine is as long as the log does. Nothing is read beyond the snapshot, so that an answer stands
//! at one offset. What has been let go of is missing at the beginning only: a record that is let go of
//! while a scan is on its way to it fails the scan.

mod range;
mod row;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use ingest::ids::Offset;
use ingest::log::{CommittedRecord, LogReader, ReadError};

use crate::error::external;
use crate::source::{PartitionView, Principal};
use range::OffsetRange;
use row::{ChangeColumns, ChangeRow};

/// The table, over the logs of all partitions.
pub struct ChangesTable {
    seen: Vec<PartitionView>,
    asker: Option<Principal>,
    schema: SchemaRef,
}

impl ChangesTable {
    /// Makes the table. Without an asker it has no rows.
    pub fn new(seen: &[PartitionView], asker: Option<&Principal>) -> Self {
        Self { seen: seen.to_vec(), asker: asker.cloned(), schema: row::schema() }
    }
}

impl fmt::Debug for ChangesTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at: Vec<_> = self.seen.iter().map(|seen| seen.snapshot.at).collect();
        write!(f, "Changes(below {at:?})")
    }
}

#[async_trait]
impl TableProvider for ChangesTable {
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
        let support = |filter: &&Expr| match OffsetRange::of(std::slice::from_ref(*filter)) {
            range if range == OffsetRange::default() => TableProviderFilterPushDown::Unsupported,
            _ => TableProviderFilterPushDown::Inexact,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = ChangeColumns::new(projection);
        let range = OffsetRange::of(filters);
        let is_read = |seen: &&PartitionView| range.has_partition(seen.snapshot.view.partition);
        let read: Vec<PartitionView> = self.seen.iter().filter(is_read).cloned().collect();
        match &self.asker {
            Some(asker) if !read.is_empty() => {
                Ok(Arc::new(ChangesExec::new(read, asker.clone(), range, columns)?))
            }
            _ => Ok(Arc::new(EmptyExec::new(columns.schema))),
        }
    }
}

/// Reads logs, each a scan partition, in the order of their offsets.
struct ChangesExec {
    read: Vec<PartitionView>,
    asker: Principal,
    range: OffsetRange,
    columns: Arc<ChangeColumns>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ChangesExec {
    fn new(
        read: Vec<PartitionView>,
        asker: Principal,
        range: OffsetRange,
        columns: ChangeColumns,
    ) -> Result<Self> {
        let schema = columns.schema.clone();
        let mut orderings = Vec::new();
        if schema.index_of("offset").is_ok() {
            orderings.push(vec![PhysicalSortExpr::new_default(col("offset", &schema)?)]);
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(schema, orderings),
            Partitioning::UnknownPartitioning(read.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            read,
            asker,
            range,
            columns: Arc::new(columns),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl fmt::Debug for ChangesExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChangesExec({:?})", self.range)
    }
}

impl DisplayAs for ChangesExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChangesExec: partitions={}, offsets {}", self.read.len(), self.range)
    }
}

impl ExecutionPlan for ChangesExec {
    fn name(&self) -> &'static str {
        "ChangesExec"
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
        let seen = self.read[partition].clone();
        let running = ChangesStream {
            end: seen.snapshot.at.min(self.range.below),
            next: self.range.from,
            seen,
            asker: self.asker.clone(),
            columns: self.columns.clone(),
            batch_rows: context.session_config().batch_size(),
            reader: None,
            has_begun: false,
            gathered: Vec::new(),
            baseline: BaselineMetrics::new(&self.metrics, partition),
            records_read: MetricBuilder::new(&self.metrics).counter("records_read", partition),
        };
        let stream = futures::stream::try_unfold(running, |mut running| async move {
            Ok(running.next().await?.map(|batch| (batch, running)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.columns.schema.clone(), stream)))
    }
}

/// A batch is handed over once so much of the log has been read for it: a limit should not cost more.
const BATCH_BYTES: usize = 1 << 20;

struct ChangesStream {
    seen: PartitionView,
    asker: Principal,
    columns: Arc<ChangeColumns>,
    batch_rows: usize,
    /// What is to be looked at next.
    next: Offset,
    /// Above everything that is wanted.
    end: Offset,
    reader: Option<Box<dyn LogReader>>,
    /// Whether the reader has delivered anything.
    has_begun: bool,
    gathered: Vec<ChangeRow>,
    baseline: BaselineMetrics,
    records_read: Count,
}

impl ChangesStream {
    /// The next records, from the lower bound on or from where the log begins; none when nothing that is
    /// wanted is left.
    async fn pull(&mut self) -> Result<Vec<CommittedRecord>, ReadError> {
        let partition = self.seen.snapshot.view.partition;
        while self.next < self.end {
            let pulled = match &mut self.reader {
                Some(reader) => reader.next().await,
                None => {
                    self.next = self.next.max(self.seen.log.status(partition).first);
                    match self.seen.log.review(partition, self.next).await {
                        Ok(reader) => {
                            self.reader = Some(reader);
                            continue;
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            match pulled {
                // It was let go of in between. Nothing has been told yet, so nothing is missing within.
                Err(ReadError::Trimmed { .. })
                    if !self.has_begun && self.seen.log.status(partition).first > self.next =>
                {
                    self.reader = None;
                }
                pulled => {
                    self.has_begun = true;
                    return pulled;
                }
            }
        }
        Ok(Vec::new())
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let mut bytes = 0;
        while self.next < self.end && self.gathered.len() < self.batch_rows && bytes < BATCH_BYTES {
            for committed in self.pull().await.map_err(external)? {
                self.next = committed.offset.next();
                if committed.offset >= self.end {
                    break;
                }
                self.records_read.add(1);
                bytes += committed.record.bytes_estimate();
                self.gathered.extend(ChangeRow::of(
                    committed,
                    &self.seen,
                    &self.asker,
                    &self.columns,
                ));
            }
        }
        if self.gathered.is_empty() && self.next >= self.end {
            return Ok(None);
        }
        let _timer = self.baseline.elapsed_compute().timer();
        let rows = self.columns.batch(std::mem::take(&mut self.gathered))?;
        self.baseline.record_output(rows.num_rows());
        Ok(Some(rows))
    }
}
