//! Refuses statements for which DataFusion returns wrong rows. A wrong result that looks right is worse than an
//! error.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, JoinConstraint, JoinOperator, Query, SetExpr, SetOperator, SetQuantifier,
    Statement, TableFactor, TableWithJoins, Visit, Visitor,
};

/// Checks that DataFusion interprets a statement as SQL demands, subqueries included. Fails with the reason, as
/// a message for the user; called before planning.
pub fn check(statement: &Statement) -> Result<(), String> {
    match statement.visit(&mut UnsupportedChecker) {
        ControlFlow::Break(reason) => Err(reason),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Returns true for AND and OR.
fn is_logical(op: &BinaryOperator) -> bool {
    matches!(op, BinaryOperator::And | BinaryOperator::Or)
}

/// Walks through a statement and stops at the first construct with a wrong result.
struct UnsupportedChecker;

impl Visitor for UnsupportedChecker {
    type Break = String;

    /// Refuses `IS DISTINCT FROM` with AND or OR on its right. The parser reads `a IS DISTINCT FROM b AND c` as
    /// `a IS DISTINCT FROM (b AND c)`; an operand in brackets is a node of its own kind and passes.
    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
        match expr {
            Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) => match &**right {
                Expr::BinaryOp { op, .. } if is_logical(op) => ControlFlow::Break(
                    "put IS DISTINCT FROM and its operands in brackets where AND or OR follows"
                        .into(),
                ),
                _ => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        refuse(of_set(&query.body))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } => refuse(of_joins(table_with_joins)),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Converts a reason to the end of the walk.
fn refuse(reason: Option<String>) -> ControlFlow<String> {
    reason.map_or(ControlFlow::Continue(()), ControlFlow::Break)
}

/// Returns the reason for which a query's set operations or joins are refused, if there is one.
fn of_set(body: &SetExpr) -> Option<String> {
    match body {
        SetExpr::SetOperation { op, set_quantifier, left, right } => {
            let counts = matches!(op, SetOperator::Intersect | SetOperator::Except)
                && matches!(set_quantifier, SetQuantifier::All | SetQuantifier::AllByName);
            if counts {
                return Some(format!("{op} ALL is not supported: rows would not be counted"));
            }
            of_set(left).or_else(|| of_set(right))
        }
        SetExpr::Select(select) => select.from.iter().find_map(of_joins),
        _ => None,
    }
}

/// Refuses RIGHT and FULL joins with USING or NATURAL: DataFusion reads the shared columns from the left side,
/// and they would be NULL where the left side has no row.
fn of_joins(from: &TableWithJoins) -> Option<String> {
    for join in &from.joins {
        let constraint = match &join.join_operator {
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => constraint,
            JoinOperator::FullOuter(constraint) => constraint,
            _ => continue,
        };
        if matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural) {
            let reason = "RIGHT and FULL joins with USING or NATURAL are not supported: use ON";
            return Some(reason.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn read(text: &str) -> Result<(), String> {
        let parsed = Parser::parse_sql(&PostgreSqlDialect {}, text).expect("a statement").remove(0);
        check(&parsed)
    }

    #[test]
    fn what_would_be_answered_wrongly_is_refused() {
        for text in [
            "SELECT 1 INTERSECT ALL SELECT 1",
            "SELECT * FROM (SELECT 1 UNION SELECT 2 EXCEPT ALL SELECT 1) t",
            "SELECT k FROM a RIGHT JOIN b USING (k)",
            "SELECT k FROM a NATURAL FULL JOIN b",
            "SELECT k FROM x, (a FULL JOIN b USING (k))",
            "SELECT a IS DISTINCT FROM b AND c",
            "SELECT 1 WHERE x AND a IS NOT DISTINCT FROM b OR c",
            "SELECT 1 WHERE NOT a IS DISTINCT FROM b AND c",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        for text in [
            "SELECT 1 UNION ALL SELECT 1",
            "SELECT 1 EXCEPT SELECT 1",
            "SELECT a.k FROM a RIGHT JOIN b ON a.k = b.k",
            "SELECT k FROM a LEFT JOIN b USING (k)",
            "SELECT (a IS DISTINCT FROM b) AND c",
            "SELECT c AND a IS DISTINCT FROM b",
            "SELECT a IS DISTINCT FROM (b AND c)",
        ] {
            assert!(read(text).is_ok(), "{text}");
        }
    }
}
