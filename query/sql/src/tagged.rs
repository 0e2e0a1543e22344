//! Conditions `tags['name'] = 'value'`, and the rows that tag tables find for them.

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use query::tagged::TagFilter;

use crate::key_range::text;

/// Keys that are looked up one by one at the most; a scan finds more than these faster.
pub const LOOKUPS_MAX: usize = 2000;

/// The tag that a condition asks for, if that is all it asks.
pub fn tag_of(condition: &Expr) -> Option<TagFilter> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else {
        return None;
    };
    let asked =
        |tag: &Expr, value: &Expr| Some(TagFilter { name: name_of(tag)?, value: text(value)? });
    asked(left, right).or_else(|| asked(right, left))
}

/// The name in `tags['name']`.
fn name_of(expr: &Expr) -> Option<String> {
    let Expr::ScalarFunction(call) = expr else { return None };
    match (call.name(), call.args.as_slice()) {
        ("get_field", [Expr::Column(column), name]) if column.name == "tags" => text(name),
        _ => None,
    }
}
