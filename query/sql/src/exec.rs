//! The plan node that scans entries.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use compactor::manifest::record_batch;
use compactor::view::Snapshot;
use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use query::scan::{
    DisjointRead, DisjointRows, DisjointScan, KeyBounds, OverlappingRange, RowCondition, Scan,
    ScanBatch, ScanCounts, ScanRequest, ScanSplit, SelectedRows, VersionScope, scan,
};

use ingest::ids::BucketId;
use ingest::log::ReadError;
use query::tagged::{self, TagFilter};

use crate::condition::PushdownCondition;
use crate::error::external;
use crate::table::RowProjection;

/// The part of a scan that one thread reads.
#[derive(Clone, Debug)]
pub enum ScanShare {
    /// Rows whose visibility their run alone decides.
    Disjoint(DisjointRows),
    /// Rows that are merged from all sources.
    Merged(OverlappingRange),
    /// Keys to look up one by one, for objects that have a tag.
    Tagged(Arc<TaggedKeys>),
}

/// Keys of objects that have a tag now or had it before.
#[derive(Debug)]
pub struct TaggedKeys {
    /// The tag.
    pub tag: TagFilter,
    /// The keys, ordered by bucket id and key.
    pub keys: Vec<(BucketId, Bytes)>,
}

impl ScanShare {
    /// Returns the shares of a split for at most `threads` readers of disjoint rows, in order, and one for the
    /// merge.
    pub fn all(split: ScanSplit, threads: usize) -> Vec<ScanShare> {
        let disjoint = split.disjoint.iter().flat_map(|disjoint| disjoint.shares(threads));
        disjoint.map(ScanShare::Disjoint).chain(split.overlapping.map(ScanShare::Merged)).collect()
    }
}

/// Scans `objects` or `versions` of one snapshot within bounds. Each share is ordered by bucket id and key;
/// nothing is known about the order between shares. Keeps the snapshot until it is dropped.
#[derive(Clone)]
pub struct EntriesExec {
    snapshot: Snapshot,
    shown: VersionScope,
    bounds: KeyBounds,
    shares: Vec<ScanShare>,
    projection: Arc<RowProjection>,
    limit: Option<usize>,
    conditions: Vec<Arc<PushdownCondition>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl EntriesExec {
    /// Makes the node over shares that together contain every wanted row once; `limit` applies to each share.
    /// Reads nothing before it is executed.
    pub fn new(
        snapshot: Snapshot,
        shown: VersionScope,
        bounds: KeyBounds,
        shares: Vec<ScanShare>,
        projection: RowProjection,
        limit: Option<usize>,
    ) -> Result<Self> {
        let schema = projection.schema.clone();
        // Buckets are ordered by id, and no column contains the id: only rows of a single bucket are ordered by
        // a column.
        let mut orderings: Vec<Vec<PhysicalSortExpr>> = Vec::new();
        if bounds.buckets().len() == 1 && schema.index_of("key").is_ok() {
            orderings.push(vec![PhysicalSortExpr::new_default(col("key", &schema)?)]);
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(schema, orderings),
            Partitioning::UnknownPartitioning(shares.len().max(1)),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            snapshot,
            shown,
            bounds,
            shares,
            projection: Arc::new(projection),
            limit,
            conditions: Vec::new(),
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
        let names = |id: &ingest::ids::BucketId| {
            self.snapshot.buckets.get(*id).map_or_else(String::new, |b| b.name.as_str().to_owned())
        };
        let buckets = self.bounds.buckets();
        match buckets {
            [] => write!(f, "EntriesExec: {:?} of no bucket", self.shown)?,
            [only] => write!(f, "EntriesExec: {:?} of {}", self.shown, names(only))?,
            _ => write!(f, "EntriesExec: {:?} of {} buckets", self.shown, buckets.len())?,
        }
        write!(f, ", keys {}", self.bounds)?;
        let disjoint = self.shares.iter().map(|share| match share {
            ScanShare::Disjoint(disjoint) => disjoint.len(),
            ScanShare::Merged(_) | ScanShare::Tagged(_) => 0,
        });
        write!(f, ", disjoint_rows={}", disjoint.sum::<usize>())?;
        match self.shares.last() {
            Some(ScanShare::Merged(OverlappingRange::All)) => write!(f, ", merged=all")?,
            Some(ScanShare::Tagged(tagged)) => write!(f, ", looked_up={}", tagged.keys.len())?,
            Some(ScanShare::Merged(OverlappingRange::With(_, rows))) => {
                write!(f, ", merged_rows={}", rows.iter().map(SelectedRows::count).sum::<usize>())?;
            }
            _ => {}
        }
        for condition in &self.conditions {
            write!(f, ", early={}", condition.given())?;
        }
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
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut told = TreeNodeRecursion::Continue;
        for condition in &self.conditions {
            told = told.visit_sibling(|| visit(condition.given()))?;
        }
        Ok(told)
    }

    /// Keeps copies of the conditions that are worth early evaluation. None is reported as handled, so the plan
    /// above evaluates all of them again.
    fn handle_child_pushdown_result(
        &self,
        _phase: FilterPushdownPhase,
        pushed: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let has_disjoint = self.shares.iter().any(|share| matches!(share, ScanShare::Disjoint(_)));
        let filters = pushed.parent_filters.iter().map(|result| &result.filter);
        let worth = filters.filter(|_| has_disjoint).filter_map(|filter| {
            PushdownCondition::new(
                filter,
                &self.projection.schema,
                &self.projection,
                &self.snapshot,
            )
        });
        let new: Vec<Arc<PushdownCondition>> = worth.map(Arc::new).collect();
        let mut propagation: FilterPushdownPropagation<Arc<dyn ExecutionPlan>> =
            FilterPushdownPropagation::all_unsupported(pushed);
        if !new.is_empty() {
            let mut node = self.clone();
            node.conditions.extend(new);
            propagation.updated_node = Some(Arc::new(node));
        }
        Ok(propagation)
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
        let counts = ScanCounts::default();
        let batch_rows = context.session_config().batch_size();
        let columns = self.projection.needs();
        let reading = match self.shares.get(partition) {
            None => ReadState::Nothing,
            Some(ScanShare::Disjoint(disjoint)) => {
                let conditions = self.conditions.iter().map(|c| c.clone() as Arc<dyn RowCondition>);
                let conditions = conditions.collect();
                let wanted = DisjointRead { shown: self.shown, columns, conditions, batch_rows };
                ReadState::Disjoint(disjoint.read(&wanted, &counts).map_err(external)?)
            }
            Some(ScanShare::Tagged(tagged)) => {
                ReadState::Tagged(TaggedScan { tagged: tagged.clone(), next: 0, batch_rows })
            }
            Some(ScanShare::Merged(overlapping)) => {
                let request = ScanRequest {
                    shown: self.shown,
                    bounds: self.bounds.clone(),
                    overlapping: overlapping.clone(),
                    columns,
                    batch_rows,
                };
                let scan = scan(&self.snapshot, request, counts.clone()).map_err(external)?;
                ReadState::Merged(Box::new(scan))
            }
        };
        let running = EntryStream {
            reading,
            snapshot: self.snapshot.clone(),
            projection: self.projection.clone(),
            // Each share stops at the limit, since any of them may have all the rows; the plan above limits
            // their union.
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

/// The read of one share.
enum ReadState {
    Nothing,
    Disjoint(DisjointScan),
    Merged(Box<Scan>),
    Tagged(TaggedScan),
}

/// Look-ups in progress.
struct TaggedScan {
    tagged: Arc<TaggedKeys>,
    next: usize,
    batch_rows: usize,
}

impl TaggedScan {
    /// Returns the next rows in order, or `None` at the end. A batch is never empty.
    async fn next(&mut self, snapshot: &Snapshot) -> Result<Option<ScanBatch>, ReadError> {
        let mut rows = Vec::new();
        while rows.len() < self.batch_rows
            && let Some(key) = self.tagged.keys.get(self.next)
        {
            self.next += 1;
            rows.extend(tagged::row(snapshot, key, &self.tagged.tag).await?);
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let is_latest = BooleanArray::from(vec![true; rows.len()]);
        let rows = record_batch(&rows).expect("entries are a manifest's rows");
        Ok(Some(ScanBatch { rows, is_latest }))
    }
}

impl ReadState {
    async fn next(&mut self, snapshot: &Snapshot) -> Result<Option<ScanBatch>> {
        let next = match self {
            ReadState::Nothing => return Ok(None),
            ReadState::Disjoint(scan) => scan.next().await,
            ReadState::Merged(scan) => scan.next().await,
            ReadState::Tagged(scan) => scan.next(snapshot).await,
        };
        next.map_err(external)
    }
}

/// The stream of one share's rows.
struct EntryStream {
    reading: ReadState,
    snapshot: Snapshot,
    projection: Arc<RowProjection>,
    left: usize,
    baseline: BaselineMetrics,
    counts: ScanCounts,
    metrics: ExecutionPlanMetricsSet,
}

impl EntryStream {
    /// Returns the next batch of the table's rows, or `None` at the end or after `limit` rows.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.left == 0 {
            return Ok(None);
        }
        let Some(batch) = self.reading.next(&self.snapshot).await? else { return Ok(None) };
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

impl Drop for EntryStream {
    /// Reports the counts of the read once, however the scan ended.
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
