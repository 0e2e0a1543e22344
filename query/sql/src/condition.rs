//! Conditions that are asked of disjoint rows while they are decoded, so that texts and maps are decoded only where a
//! row may be in the answer.
//!
//! They come from the plan above, which asks them again in full; one kind changes while the query runs: "larger
//! than the hundredth so far". So a condition may be weakened to the columns that are cheap to decode.

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

/// See the module's description.
pub struct PushdownCondition {
    /// As the plan above has it, over the columns of the node's rows.
    given: Arc<dyn PhysicalExpr>,
    snapshot: Snapshot,
    /// The columns that it is asked on.
    asked_on: RowProjection,
    needs: Vec<usize>,
    /// As it is asked, and as of which change.
    asked: Mutex<Option<(u64, PushdownPart)>>,
}

#[derive(Clone)]
enum PushdownPart {
    /// Of every row.
    OfAll(Arc<dyn PhysicalExpr>),
    /// Nothing that could be asked on these columns.
    Nothing,
}

fn is_fixed_width(kind: &DataType) -> bool {
    kind.is_primitive() || *kind == DataType::Boolean
}

impl PushdownCondition {
    /// Makes a condition of the node's rows; `None` where it is not worth asking early.
    pub fn new(
        given: &Arc<dyn PhysicalExpr>,
        schema: &Schema,
        projection: &RowProjection,
        snapshot: &Snapshot,
    ) -> Option<Self> {
        // Bucket and key choose pages already, and keys are the dearest column to decode.
        let names = collect_columns(given).into_iter().map(|column| column.name().to_owned());
        let mut names: Vec<String> =
            names.filter(|name| !["bucket", "key", "is_latest"].contains(&name.as_str())).collect();
        let is_dynamic = snapshot_generation(given) != 0;
        if is_dynamic {
            let kind =
                |name: &str| schema.field_with_name(name).ok().map(|f| f.data_type().clone());
            names.retain(|name| kind(name).is_some_and(|kind| is_fixed_width(&kind)));
        }
        // To leave rows out one by one costs more than to decode numbers for all of them.
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

    /// The condition as the plan above has it.
    pub fn given(&self) -> &Arc<dyn PhysicalExpr> {
        &self.given
    }

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

    fn evaluate(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>> {
        let PushdownPart::OfAll(asked) = self.asked_now()? else { return Ok(None) };
        let table = self.asked_on.columns_of(rows, &self.snapshot.buckets)?;
        let kept = asked.evaluate(&table)?.into_array(rows.num_rows())?;
        Ok(kept.as_boolean_opt().cloned())
    }
}

/// What a condition says about these columns alone; `None` for nothing. Where it holds, this holds, too: what
/// is about other columns is left out, which is right below AND and OR and nowhere else.
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
    // What names no column is a constant: true before there is anything to compare with.
    (is_of_these && !(of.is_empty() && condition.to_string() == lit(true).to_string()))
        .then(|| condition.clone())
}

impl RowCondition for PushdownCondition {
    fn columns(&self) -> &[usize] {
        &self.needs
    }

    fn keeps(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>, ArrowError> {
        // It may fail for a row that is not shown at all. Where it matters, it fails above, too.
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
