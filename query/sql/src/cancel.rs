//! Whether a query is still wanted, asked where it would not come to an end of its own.
//!
//! A join can try very many pairs of rows without ever waiting for anything, or without giving a single row. A
//! thread that does so cannot be interrupted from outside: the query would outlive its deadline and its client, and
//! keep its thread from others. So a join's condition asks, once for each batch of pairs, whether there is any point
//! in going on; and joins let go of their thread now and then, as DataFusion's sources do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, Operator, ScalarUDF, Volatility, create_udf};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    HashJoinExec, HashJoinExecBuilder, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
};

use crate::error::external;

/// Whether a query is still wanted.
#[derive(Debug)]
pub struct CancelToken {
    has_ended: AtomicBool,
    until: Instant,
    deadline: Duration,
}

/// A query found that it is not wanted any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the query was ended after {0} seconds")]
pub struct QueryCancelled(pub u64);

impl CancelToken {
    /// It is, for so long.
    pub fn new(deadline: Duration) -> Arc<Self> {
        let until = Instant::now() + deadline;
        Arc::new(Self { has_ended: AtomicBool::new(false), until, deadline })
    }

    /// Nobody waits for the answer any more.
    pub fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// An error once there is no point in going on.
    pub fn check(&self) -> std::result::Result<(), QueryCancelled> {
        match self.has_ended.load(Ordering::Relaxed) || Instant::now() >= self.until {
            true => Err(QueryCancelled(self.deadline.as_secs())),
            false => Ok(()),
        }
    }
}

/// `alive()`: true, or the query's end.
fn function(alive: &Arc<CancelToken>) -> ScalarUDF {
    let alive = alive.clone();
    let ask = move |_: &[ColumnarValue]| {
        alive.check().map_err(external)?;
        Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))))
    };
    create_udf("alive", Vec::new(), DataType::Boolean, Volatility::Volatile, Arc::new(ask))
}

/// Names of the nodes that may give many more rows than they take.
const MULTIPLYING: [&str; 6] = [
    "CrossJoinExec",
    "NestedLoopJoinExec",
    "HashJoinExec",
    "SortMergeJoinExec",
    "PiecewiseMergeJoinExec",
    "UnnestExec",
];

/// The plan, asking.
pub fn asking(
    plan: Arc<dyn ExecutionPlan>,
    alive: &Arc<CancelToken>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let function = Arc::new(function(alive));
    let asking = plan.transform_up(|node| {
        if !MULTIPLYING.contains(&node.name()) {
            return Ok(Transformed::no(node));
        }
        let asking: Arc<dyn ExecutionPlan> =
            if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
                let filter = join.filter().map(|filter| with(&function, filter));
                Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(filter).build()?)
            } else if let Some(join) = node.downcast_ref::<HashJoinExec>() {
                let filter = join.filter().map(|filter| with(&function, filter));
                Arc::new(HashJoinExecBuilder::from(join).with_filter(filter).build()?)
            } else {
                node
            };
        let yielding = CooperativeExec::new(asking);
        Ok(Transformed::yes(Arc::new(yielding) as Arc<dyn ExecutionPlan>))
    })?;
    Ok(asking.data)
}

/// A join's condition that is asked only as long as the query is wanted.
fn with(function: &Arc<ScalarUDF>, filter: &JoinFilter) -> JoinFilter {
    let told = Arc::new(Field::new("alive", DataType::Boolean, false));
    let config = Arc::new(ConfigOptions::default());
    let ask = ScalarFunctionExpr::new("alive", function.clone(), Vec::new(), told, config);
    let both = BinaryExpr::new(Arc::new(ask), Operator::And, filter.expression().clone());
    JoinFilter::new(Arc::new(both), filter.column_indices().to_vec(), filter.schema().clone())
}
