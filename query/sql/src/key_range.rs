//! Bounds on `bucket` and `key` that follow from a query's conditions.
//!
//! Bounds only narrow the scan; the query applies its conditions to the rows in full. A condition that is not
//! understood here costs time and never changes a result.

use compactor::state::Buckets;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Like, Operator};
use query::scan::KeyBounds;

/// Returns true if a condition narrows the scan. A table then declares the condition to the planner as useful,
/// but never as exact.
pub fn narrows(condition: &Expr) -> bool {
    let mut untouched = RangeNarrowing::default();
    untouched.add(condition);
    untouched != RangeNarrowing::default()
}

/// Returns bounds that contain every row for which all conditions are true. Buckets that do not exist in
/// `buckets`, which holds those that the user may list, are left out without an error.
pub fn bounds(conditions: &[Expr], buckets: &Buckets) -> KeyBounds {
    let mut narrowing = RangeNarrowing::default();
    conditions.iter().for_each(|condition| narrowing.add(condition));
    let named = |name: &str| narrowing.buckets.iter().all(|set| set.iter().any(|n| n == name));
    let wanted = buckets.iter().filter(|bucket| named(bucket.name.as_str()));
    let mut bounds = KeyBounds::new(wanted.map(|bucket| bucket.id).collect());
    for step in &narrowing.keys {
        match step {
            NarrowingStep::AtOrAbove(key) => bounds.at_or_above(key.as_bytes()),
            NarrowingStep::AtOrBelow(key) => bounds.at_or_below(key.as_bytes()),
            NarrowingStep::Below(key) => bounds.below(key.as_bytes()),
            NarrowingStep::Prefix(prefix) => bounds.prefix(prefix.as_bytes()),
        }
    }
    bounds
}

/// The conditions that were understood.
#[derive(Default, PartialEq, Debug)]
struct RangeNarrowing {
    /// Sets of names; the bucket must be in each of them.
    buckets: Vec<Vec<String>>,
    keys: Vec<NarrowingStep>,
}

/// A restriction of the range of keys.
#[derive(PartialEq, Debug)]
enum NarrowingStep {
    AtOrAbove(String),
    AtOrBelow(String),
    Below(String),
    Prefix(String),
}

impl RangeNarrowing {
    /// Adds a condition, as far as it is understood.
    fn add(&mut self, condition: &Expr) {
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.add(left);
                self.add(right);
            }
            Expr::BinaryExpr(both) => {
                if let Some((column, op, value)) = compared(both, text) {
                    self.compare(column, op, value);
                }
            }
            Expr::Between(Between { expr, negated: false, low, high }) => {
                if let (Some("key"), Some(low), Some(high)) = (column(expr), text(low), text(high))
                {
                    self.keys.push(NarrowingStep::AtOrAbove(low));
                    self.keys.push(NarrowingStep::AtOrBelow(high));
                }
            }
            Expr::InList(InList { expr, list, negated: false }) => {
                let values: Option<Vec<String>> = list.iter().map(text).collect();
                match (column(expr), values) {
                    (Some("bucket"), Some(values)) => self.buckets.push(values),
                    (Some("key"), Some(mut values)) => {
                        // The range from the least to the greatest value contains the whole list.
                        values.sort_unstable();
                        if let (Some(low), Some(high)) = (values.first(), values.last()) {
                            self.keys.push(NarrowingStep::AtOrAbove(low.clone()));
                            self.keys.push(NarrowingStep::AtOrBelow(high.clone()));
                        }
                    }
                    _ => {}
                }
            }
            Expr::Like(Like {
                negated: false,
                expr,
                pattern,
                escape_char,
                case_insensitive: false,
            }) => {
                if let (Some("key"), Some(pattern)) = (column(expr), text(pattern)) {
                    self.keys.push(NarrowingStep::Prefix(literal_start(&pattern, *escape_char)));
                }
            }
            Expr::ScalarFunction(call) if call.name() == "starts_with" => {
                if let [subject, prefix] = call.args.as_slice()
                    && let (Some("key"), Some(prefix)) = (column(subject), text(prefix))
                {
                    self.keys.push(NarrowingStep::Prefix(prefix));
                }
            }
            _ => {}
        }
    }

    /// Adds a comparison of a column with a text.
    fn compare(&mut self, column: &str, op: Operator, value: String) {
        match (column, op) {
            ("bucket", Operator::Eq) => self.buckets.push(vec![value]),
            ("key", Operator::Eq) => {
                self.keys.push(NarrowingStep::AtOrAbove(value.clone()));
                self.keys.push(NarrowingStep::AtOrBelow(value));
            }
            // The bound itself stays in the range: the condition removes it later.
            ("key", Operator::Gt | Operator::GtEq) => {
                self.keys.push(NarrowingStep::AtOrAbove(value))
            }
            ("key", Operator::LtEq) => self.keys.push(NarrowingStep::AtOrBelow(value)),
            ("key", Operator::Lt) => self.keys.push(NarrowingStep::Below(value)),
            _ => {}
        }
    }
}

/// Returns the column, the operator and the value of a comparison, with the operator turned round if the column
/// is on the right. Returns `None` unless one side is a column and `value` accepts the other.
pub fn compared<T>(
    BinaryExpr { left, op, right }: &BinaryExpr,
    value: impl Fn(&Expr) -> Option<T>,
) -> Option<(&str, Operator, T)> {
    let found = || Some((column(left)?, *op, value(right)?));
    let swapped = || Some((column(right)?, op.swap()?, value(left)?));
    found().or_else(swapped)
}

/// Returns the name of the column if the expression is a plain column, otherwise `None`; a cast column is not.
pub fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(column.name.as_str()),
        _ => None,
    }
}

/// Returns the text if the expression is a text literal that is not NULL, otherwise `None`; never evaluates
/// anything.
pub fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(
            ScalarValue::Utf8(Some(value))
            | ScalarValue::LargeUtf8(Some(value))
            | ScalarValue::Utf8View(Some(value)),
            _,
        ) => Some(value.clone()),
        _ => None,
    }
}

/// Returns the part of a LIKE pattern before its first wildcard or escape. A shorter part than possible is
/// still correct.
fn literal_start(pattern: &str, escape: Option<char>) -> String {
    let is_special = |c: char| matches!(c, '%' | '_' | '\\') || Some(c) == escape;
    pattern.chars().take_while(|c| !is_special(*c)).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    fn steps(condition: Expr) -> Vec<NarrowingStep> {
        let mut narrowing = RangeNarrowing::default();
        narrowing.add(&condition);
        narrowing.keys
    }

    #[test]
    fn conditions_on_keys_narrow() {
        let text = |value: &str| value.to_owned();
        assert_eq!(steps(lit("m").gt(col("key"))), [NarrowingStep::Below(text("m"))]);
        assert_eq!(steps(col("key").like(lit("a/b_c%"))), [NarrowingStep::Prefix(text("a/b"))]);
        assert_eq!(steps(col("key").like(lit("a\\%b%"))), [NarrowingStep::Prefix(text("a"))]);
        assert_eq!(
            steps(col("key").gt_eq(lit("a")).and(col("key").lt_eq(lit("b")))),
            [NarrowingStep::AtOrAbove(text("a")), NarrowingStep::AtOrBelow(text("b"))]
        );
        assert_eq!(steps(col("key").gt(lit("a")).or(col("key").lt(lit("b")))), []);
        assert_eq!(steps(col("key").not_like(lit("a%"))), []);
        assert_eq!(steps(col("size").gt(lit("a"))), []);
        assert!(narrows(&col("bucket").eq(lit("b"))) && !narrows(&col("owner").eq(lit("b"))));
    }
}
