//! Bounds on `partition` and `offset` that follow from a query's conditions.
//!
//! Bounds only reduce the records that are read; the query applies its conditions to the rows in full.

use std::fmt;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use ingest::ids::{Offset, PartitionId};

use crate::key_range::{column, compared};

/// A range of offsets in some partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetRange {
    /// The lower bound, inclusive.
    pub from: Offset,
    /// The upper bound, exclusive.
    pub below: Offset,
    /// Sets of partition numbers; a partition must be in each of them.
    partitions: Vec<Vec<i128>>,
}

impl Default for OffsetRange {
    fn default() -> Self {
        Self { from: Offset::ZERO, below: Offset::MAX, partitions: Vec::new() }
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {}", self.from)?;
        if self.below < Offset::MAX { write!(f, " to below {}", self.below) } else { Ok(()) }
    }
}

impl OffsetRange {
    /// Returns bounds that contain every row for which all conditions are true. A condition that is not
    /// understood never narrows them.
    pub fn of(conditions: &[Expr]) -> Self {
        let mut range = Self::default();
        conditions.iter().for_each(|condition| range.add(condition));
        range
    }

    /// Returns true unless the conditions exclude the partition, which is then not read at all.
    pub fn has_partition(&self, partition: PartitionId) -> bool {
        self.partitions.iter().all(|set| set.contains(&i128::from(partition.get())))
    }

    /// Raises the lower bound; a negative offset counts as 0.
    fn at_or_above(&mut self, offset: i128) {
        let offset = u64::try_from(offset.max(0)).unwrap_or(u64::MAX);
        self.from = self.from.max(Offset::new(offset));
    }

    /// Lowers the upper bound; a negative offset counts as 0.
    fn below(&mut self, offset: i128) {
        let offset = u64::try_from(offset.max(0)).unwrap_or(u64::MAX);
        self.below = self.below.min(Offset::new(offset));
    }

    /// Narrows the bounds by a condition, as far as it is understood.
    fn add(&mut self, condition: &Expr) {
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.add(left);
                self.add(right);
            }
            Expr::BinaryExpr(both) => match compared(both, number) {
                Some(("partition", Operator::Eq, value)) => self.partitions.push(vec![value]),
                Some(("offset", op, value)) => self.compare(op, value),
                _ => {}
            },
            Expr::Between(Between { expr, negated: false, low, high }) => {
                if let (Some("offset"), Some(low), Some(high)) =
                    (column(expr), number(low), number(high))
                {
                    self.at_or_above(low);
                    self.below(high + 1);
                }
            }
            Expr::InList(InList { expr, list, negated: false }) => {
                let values: Option<Vec<i128>> = list.iter().map(number).collect();
                match (column(expr), values) {
                    (Some("partition"), Some(values)) => self.partitions.push(values),
                    (Some("offset"), Some(values)) => {
                        if let (Some(low), Some(high)) = (values.iter().min(), values.iter().max())
                        {
                            self.at_or_above(*low);
                            self.below(*high + 1);
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Narrows the bounds by a comparison of `offset` with a number.
    fn compare(&mut self, op: Operator, value: i128) {
        match op {
            Operator::Eq => {
                self.at_or_above(value);
                self.below(value + 1);
            }
            Operator::Gt => self.at_or_above(value + 1),
            Operator::GtEq => self.at_or_above(value),
            Operator::Lt => self.below(value),
            Operator::LtEq => self.below(value + 1),
            _ => {}
        }
    }
}

/// Returns the integer that a literal expression has, if it is one.
fn number(expr: &Expr) -> Option<i128> {
    let Expr::Literal(value, _) = expr else { return None };
    Some(match value {
        ScalarValue::Int8(value) => i128::from((*value)?),
        ScalarValue::Int16(value) => i128::from((*value)?),
        ScalarValue::Int32(value) => i128::from((*value)?),
        ScalarValue::Int64(value) => i128::from((*value)?),
        ScalarValue::UInt8(value) => i128::from((*value)?),
        ScalarValue::UInt16(value) => i128::from((*value)?),
        ScalarValue::UInt32(value) => i128::from((*value)?),
        ScalarValue::UInt64(value) => i128::from((*value)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn conditions_on_offsets_and_partitions_narrow() {
        let of = |condition: Expr| {
            let range = OffsetRange::of(&[condition]);
            (range.from.get(), range.below.get())
        };
        let offset = || col("offset");
        for (condition, wanted) in [
            (offset().gt(lit(5i64)), (6, u64::MAX)),
            (lit(5u64).gt_eq(offset()), (0, 6)),
            (offset().eq(lit(7i64)), (7, 8)),
            (offset().between(lit(2i64), lit(4i64)), (2, 5)),
            (offset().gt(lit(-3i64)).and(offset().lt(lit(9i64))), (0, 9)),
            (offset().in_list(vec![lit(9i64), lit(4i64)], false), (4, 10)),
            (offset().gt(lit(5i64)).or(offset().lt(lit(2i64))), (0, u64::MAX)),
            (offset().lt(lit(-1i64)), (0, 0)),
            (col("key").gt(lit(5i64)), (0, u64::MAX)),
        ] {
            assert_eq!(of(condition.clone()), wanted, "{condition}");
        }
        let range = OffsetRange::of(&[col("partition").eq(lit(1u32)), offset().gt(lit(i64::MAX))]);
        assert!(
            range.has_partition(PartitionId::new(1)) && !range.has_partition(PartitionId::ZERO)
        );
    }
}
