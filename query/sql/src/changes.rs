//! The table `changes`: the requests in each partition's log, in log order, as far back as the log is kept.
//!
//! ```text
//!   log ──review──▶ records from the lower bound to the snapshot ─▶ visible to the user? ─▶ rows
//!                        memtables of the snapshot ── outcome of each ──┘
//! ```
//! A record contains the request. The outcome is known only while the snapshot's memtables contain it, which on
//! one machine is as long as the log does. Nothing is read beyond the snapshot, so the result is consistent at
//! one offset in each partition. Rows can be missing at the beginning only, where the log was trimmed: a record
//! that is trimmed while a scan is under way fails the scan.
//!
//! Memory: one batch of rows, and the records that the log's reader returns at a time.

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
    /// Makes the table of the requests that `asker` may see; without a principal the table has no rows. Keeps
    /// the snapshots until it is dropped.
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
        // Bounds only reduce the records read: the planner must apply the condition again.
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

/// The plan node that reads logs: each partition of the store is a partition of the plan, in order of offsets.
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
            // Never beyond the snapshot, whose memtables have the outcomes.
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

/// The bytes of log records after which a batch is returned although it is not full: a query with LIMIT should
/// not read more.
const BATCH_BYTES: usize = 1 << 20;

/// The read of one partition's log.
struct ChangesStream {
    seen: PartitionView,
    asker: Principal,
    columns: Arc<ChangeColumns>,
    batch_rows: usize,
    /// The offset of the next record.
    next: Offset,
    /// The offset at which the read ends, exclusive.
    end: Offset,
    reader: Option<Box<dyn LogReader>>,
    /// True once the reader has returned records or an error.
    has_begun: bool,
    gathered: Vec<ChangeRow>,
    baseline: BaselineMetrics,
    records_read: Count,
}

impl ChangesStream {
    /// Returns the next records in order, beginning at the lower bound or at the log's first record. Returns
    /// none at the end of the range.
    ///
    /// Errors: those of [`LogReader::next`]. A trim before the first records moves the beginning instead of
    /// failing.
    async fn pull(&mut self) -> Result<Vec<CommittedRecord>, ReadError> {
        let partition = self.seen.snapshot.view.partition;
        while self.next < self.end {
            let pulled = match &mut self.reader {
                Some(reader) => reader.next().await,
                None => {
                    // Records below the log's first were trimmed: the rows begin there.
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
                // The log was trimmed between `status` and the read. No row has been returned, so the read may
                // begin later without a gap.
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

    /// Returns the next batch, which may be empty if no record of a stretch of the log is visible, or `None` at
    /// the end.
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
        // Before the end a batch is returned even if no record was visible, so that one call reads a bounded
        // part of the log.
        if self.gathered.is_empty() && self.next >= self.end {
            return Ok(None);
        }
        let _timer = self.baseline.elapsed_compute().timer();
        let rows = self.columns.batch(std::mem::take(&mut self.gathered))?;
        self.baseline.record_output(rows.num_rows());
        Ok(Some(rows))
    }
}
