//! Conditions `tags['name'] = 'value'`, which tag tables can evaluate.

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use query::tagged::TagFilter;

use crate::key_range::text;

/// The most keys that are looked up one by one; a scan is faster for more.
pub const LOOKUPS_MAX: usize = 2000;

/// Returns the tag if the condition is exactly a comparison of one tag with a text by `=`, in either order;
/// otherwise `None`. A condition with further parts must be split before.
pub fn tag_of(condition: &Expr) -> Option<TagFilter> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else {
        return None;
    };
    let asked =
        |tag: &Expr, value: &Expr| Some(TagFilter { name: name_of(tag)?, value: text(value)? });
    asked(left, right).or_else(|| asked(right, left))
}

/// Returns the name in `tags['name']`.
fn name_of(expr: &Expr) -> Option<String> {
    let Expr::ScalarFunction(call) = expr else { return None };
    match (call.name(), call.args.as_slice()) {
        ("get_field", [Expr::Column(column), name]) if column.name == "tags" => text(name),
        _ => None,
    }
}
