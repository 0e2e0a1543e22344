//! Cancellation of queries within code that never yields.
//!
//! A join can try very many pairs of rows without waiting for anything and without returning a row. A thread in
//! such a loop cannot be interrupted from outside: the query would outlive its deadline and its client, and
//! would keep its thread from other queries. A join's condition therefore checks the query's [`CancelToken`]
//! once for each batch of pairs. Joins also yield their thread now and then, as DataFusion's sources do.

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

/// The state of one query's cancellation: ended by its client, or past its deadline.
#[derive(Debug)]
pub struct CancelToken {
    has_ended: AtomicBool,
    until: Instant,
    deadline: Duration,
}

/// The error of a plan node whose query was cancelled; contains the query's deadline in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the query was ended after {0} seconds")]
pub struct QueryCancelled(pub u64);

impl CancelToken {
    /// Makes the token of a query that begins now and must end before `deadline` has passed.
    pub fn new(deadline: Duration) -> Arc<Self> {
        let until = Instant::now() + deadline;
        Arc::new(Self { has_ended: AtomicBool::new(false), until, deadline })
    }

    /// Cancels the query, since nobody reads its result any more. Running threads notice it at their next
    /// [`CancelToken::check`]; never blocks, and may be called more than once.
    pub fn end(&self) {
        // No other memory depends on the flag, and a late notice costs one batch.
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// Checks that the query may continue. Fails with [`QueryCancelled`] after [`CancelToken::end`] or past the
    /// deadline, in both cases with the deadline's seconds.
    pub fn check(&self) -> std::result::Result<(), QueryCancelled> {
        match self.has_ended.load(Ordering::Relaxed) || Instant::now() >= self.until {
            true => Err(QueryCancelled(self.deadline.as_secs())),
            false => Ok(()),
        }
    }
}

/// Makes the SQL function `alive()`: true, or an error once the query is cancelled.
fn function(alive: &Arc<CancelToken>) -> ScalarUDF {
    let alive = alive.clone();
    let ask = move |_: &[ColumnarValue]| {
        alive.check().map_err(external)?;
        Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))))
    };
    create_udf("alive", Vec::new(), DataType::Boolean, Volatility::Volatile, Arc::new(ask))
}

/// Names of the plan nodes that may return many more rows than they read.
const MULTIPLYING: [&str; 6] = [
    "CrossJoinExec",
    "NestedLoopJoinExec",
    "HashJoinExec",
    "SortMergeJoinExec",
    "PiecewiseMergeJoinExec",
    "UnnestExec",
];

/// Adds cancellation checks to a plan: joins with a condition check the token for each batch of pairs, and all
/// nodes that multiply rows yield their thread regularly. The order of rows and the schema do not change.
///
/// Errors: only those of DataFusion when a join cannot be rebuilt.
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
        // Yields between batches, also where a join has no condition that could check the token.
        let yielding = CooperativeExec::new(asking);
        Ok(Transformed::yes(Arc::new(yielding) as Arc<dyn ExecutionPlan>))
    })?;
    Ok(asking.data)
}

/// Puts the check in front of a join's condition: AND evaluates its left side first.
fn with(function: &Arc<ScalarUDF>, filter: &JoinFilter) -> JoinFilter {
    let told = Arc::new(Field::new("alive", DataType::Boolean, false));
    let config = Arc::new(ConfigOptions::default());
    let ask = ScalarFunctionExpr::new("alive", function.clone(), Vec::new(), told, config);
    let both = BinaryExpr::new(Arc::new(ask), Operator::And, filter.expression().clone());
    JoinFilter::new(Arc::new(both), filter.column_indices().to_vec(), filter.schema().clone())
}
