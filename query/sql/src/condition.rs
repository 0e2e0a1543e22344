//! Conditions that are evaluated on disjoint rows while the rows are decoded, so that texts and maps are
//! decoded only for rows that may be in the result.
//!
//! The conditions come from the plan nodes above, which evaluate them again in full. One kind changes while the
//! query runs: "larger than the hundredth so far" in a query with ORDER BY and LIMIT. A condition may therefore
//! be weakened to the columns that are cheap to decode: a row that passes too much is removed above.

use std::sync::Arc;

use compactor::view::Snapshot;
use datafusion::arrow::array::{AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, lit};
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr_common::physical_expr::{
    snapshot_generation, snapshot_physical_expr,
};
use parking_lot::Mutex;
use query::scan::RowCondition;

use crate::table::RowProjection;

/// A condition of the plan above, as it is evaluated on rows that are being decoded. See the module's
/// description.
pub struct PushdownCondition {
    /// The condition of the plan above, over the columns of the node's rows.
    given: Arc<dyn PhysicalExpr>,
    snapshot: Snapshot,
    /// The table columns that the condition is evaluated on.
    asked_on: RowProjection,
    /// The manifest columns from which these are made.
    needs: Vec<usize>,
    /// The condition that is evaluated now, and the generation of `given` from which it was made.
    asked: Mutex<Option<(u64, PushdownPart)>>,
}

/// The part of a condition that can be evaluated on the chosen columns.
#[derive(Clone)]
enum PushdownPart {
    /// A condition that every wanted row fulfils.
    OfAll(Arc<dyn PhysicalExpr>),
    /// No part.
    Nothing,
}

/// Returns true for numbers, times and booleans: their columns are cheap to decode.
fn is_fixed_width(kind: &DataType) -> bool {
    kind.is_primitive() || *kind == DataType::Boolean
}

impl PushdownCondition {
    /// Makes a condition on a node's rows, or returns `None` if early evaluation would not be faster.
    ///
    /// Early evaluation must save the decoding of a text or a map, and needs a column besides bucket and key.
    pub fn new(
        given: &Arc<dyn PhysicalExpr>,
        schema: &Schema,
        projection: &RowProjection,
        snapshot: &Snapshot,
    ) -> Option<Self> {
        // Bucket and key have selected pages already, and keys cost most to decode.
        let names = collect_columns(given).into_iter().map(|column| column.name().to_owned());
        let mut names: Vec<String> =
            names.filter(|name| !["bucket", "key", "is_latest"].contains(&name.as_str())).collect();
        // A condition that changes during the query is reduced to columns that are cheap to decode.
        let is_dynamic = snapshot_generation(given) != 0;
        if is_dynamic {
            let kind =
                |name: &str| schema.field_with_name(name).ok().map(|f| f.data_type().clone());
            names.retain(|name| kind(name).is_some_and(|kind| is_fixed_width(&kind)));
        }
        // Skipping single rows costs more than decoding numbers for all of them: only texts and maps are worth
        // it.
        let is_dear = |field: &&Arc<Field>| {
            !is_fixed_width(field.data_type()) && !names.contains(field.name())
        };
        if names.is_empty() || !schema.fields().iter().any(|field| is_dear(&field)) {
            return None;
        }
        let asked_on = projection.only(&names);
        let needs = asked_on.needs();
        let (given, snapshot) = (given.clone(), snapshot.clone());
        Some(Self { given, snapshot, asked_on, needs, asked: Mutex::new(None) })
    }

    /// Returns the condition of the plan above, unchanged; only for display and for the planner's walk.
    pub fn given(&self) -> &Arc<dyn PhysicalExpr> {
        &self.given
    }

    /// Returns the condition as of now: made again after each change of a condition that changes during the
    /// query.
    fn asked_now(&self) -> Result<PushdownPart> {
        let generation = snapshot_generation(&self.given);
        let mut asked = self.asked.lock();
        if let Some((of, known)) = &*asked
            && *of == generation
        {
            return Ok(known.clone());
        }
        let now = snapshot_physical_expr(self.given.clone())?;
        let now = match weakened(&now, &self.asked_on.schema) {
            Some(weaker) => {
                PushdownPart::OfAll(reassign_expr_columns(weaker, &self.asked_on.schema)?)
            }
            None => PushdownPart::Nothing,
        };
        *asked = Some((generation, now.clone()));
        Ok(now)
    }

    /// Evaluates the condition on manifest rows; `None` if it excludes no row at present.
    fn evaluate(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>> {
        let PushdownPart::OfAll(asked) = self.asked_now()? else { return Ok(None) };
        let table = self.asked_on.columns_of(rows, &self.snapshot.buckets)?;
        let kept = asked.evaluate(&table)?.into_array(rows.num_rows())?;
        Ok(kept.as_boolean_opt().cloned())
    }
}

/// Returns the part of a condition that is about these columns alone, or `None` if there is none. The part is
/// true wherever the condition is. Other columns' parts are left out, which is correct below AND and OR only.
fn weakened(
    condition: &Arc<dyn PhysicalExpr>,
    columns: &SchemaRef,
) -> Option<Arc<dyn PhysicalExpr>> {
    if let Some(both) = condition.downcast_ref::<BinaryExpr>() {
        let sides = || (weakened(both.left(), columns), weakened(both.right(), columns));
        let joined = |left, right| -> Option<Arc<dyn PhysicalExpr>> {
            Some(Arc::new(BinaryExpr::new(left, *both.op(), right)))
        };
        match both.op() {
            Operator::And => {
                return match sides() {
                    (Some(left), Some(right)) => joined(left, right),
                    (left, right) => left.or(right),
                };
            }
            Operator::Or => {
                let (left, right) = sides();
                return joined(left?, right?);
            }
            _ => {}
        }
    }
    let of = collect_columns(condition);
    let is_of_these = of.iter().all(|column| columns.index_of(column.name()).is_ok());
    // A condition without columns is a constant: `true` as long as the query has no rows to compare with.
    (is_of_these && !(of.is_empty() && condition.to_string() == lit(true).to_string()))
        .then(|| condition.clone())
}

impl RowCondition for PushdownCondition {
    fn columns(&self) -> &[usize] {
        &self.needs
    }

    fn keeps(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>, ArrowError> {
        // Evaluation may fail on a row that is not even visible. If the row is, the plan above fails on it as
        // well.
        Ok(self.evaluate(rows).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::physical_expr::expressions::{binary, col};

    use super::*;

    #[test]
    fn a_condition_is_weakened_to_some_columns() {
        let all = Schema::new(vec![
            Field::new("size", DataType::Int64, true),
            Field::new("key", DataType::Utf8, false),
        ]);
        let compared = |name: &str, op, value: Arc<dyn PhysicalExpr>| {
            binary(col(name, &all).expect("a condition"), op, value, &all).expect("a condition")
        };
        let large = compared("size", Operator::Gt, lit(7i64));
        let equal = compared("size", Operator::Eq, lit(7i64));
        let low = compared("key", Operator::Lt, lit("k"));
        let and = |a: &Arc<dyn PhysicalExpr>, b: &Arc<dyn PhysicalExpr>| {
            binary(a.clone(), Operator::And, b.clone(), &all).expect("a condition")
        };
        let or = |a: &Arc<dyn PhysicalExpr>, b: &Arc<dyn PhysicalExpr>| {
            binary(a.clone(), Operator::Or, b.clone(), &all).expect("a condition")
        };
        let sizes = Arc::new(Schema::new(vec![all.field(0).clone()]));
        let told = |condition| weakened(&condition, &sizes).map(|weaker| weaker.to_string());
        // The shape of "among the hundred largest, by key where sizes are equal".
        let top = or(&large, &and(&equal, &low));
        assert_eq!(told(top), Some(or(&large, &equal).to_string()));
        assert_eq!(told(and(&large, &low)), Some(large.to_string()));
        assert_eq!(told(or(&large, &low)), None);
        assert_eq!(told(low), None);
        assert_eq!(told(lit(true)), None);
    }
}
