//! Where DataFusion's reading of SQL is not SQL's: a statement is put right before it is planned, or refused. A
//! wrong answer that looks like a right one is worse than none.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, JoinConstraint, JoinOperator, Query, SetExpr, SetOperator, SetQuantifier,
    Statement, TableFactor, TableWithJoins, Visit, VisitMut, Visitor, VisitorMut,
};

/// Puts right what can be; says what cannot be asked here.
pub fn put_right(statement: &mut Statement) -> Result<(), String> {
    let _ = VisitMut::visit(statement, &mut Loose);
    match Visit::visit(statement, &mut Refuser) {
        ControlFlow::Break(reason) => Err(reason),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// The parser lets `IS DISTINCT FROM` take all that follows: `a IS DISTINCT FROM b AND c` came out as
/// `a IS DISTINCT FROM (b AND c)`. What stood in brackets is marked as such and stays.
struct Loose;

impl VisitorMut for Loose {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        while let Some(turned) = turn(expr) {
            *expr = turned;
        }
        ControlFlow::Continue(())
    }
}

/// The expression with its lowest AND or OR at the top, where `IS DISTINCT FROM` has swallowed it.
fn turn(expr: &Expr) -> Option<Expr> {
    let (left, right, is_negated) = match expr {
        Expr::IsDistinctFrom(left, right) => (left, right, false),
        Expr::IsNotDistinctFrom(left, right) => (left, right, true),
        _ => return None,
    };
    // The leftmost operand of what follows is what was meant.
    fn with_leftmost(expr: &Expr, place: &dyn Fn(&Expr) -> Expr) -> Expr {
        match expr {
            Expr::BinaryOp { left, op, right } if is_logical(op) => Expr::BinaryOp {
                left: Box::new(with_leftmost(left, place)),
                op: op.clone(),
                right: right.clone(),
            },
            other => place(other),
        }
    }
    let Expr::BinaryOp { op, .. } = right.as_ref() else { return None };
    is_logical(op).then(|| {
        with_leftmost(right, &|operand| {
            let (left, operand) = (left.clone(), Box::new(operand.clone()));
            match is_negated {
                false => Expr::IsDistinctFrom(left, operand),
                true => Expr::IsNotDistinctFrom(left, operand),
            }
        })
    })
}

fn is_logical(op: &BinaryOperator) -> bool {
    matches!(op, BinaryOperator::And | BinaryOperator::Or)
}

struct Refuser;

impl Visitor for Refuser {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        match of_set(&query.body) {
            Some(reason) => ControlFlow::Break(reason),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } => of_joins(table_with_joins),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Why a query's set operations or joins cannot be asked.
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
        SetExpr::Select(select) => select.from.iter().find_map(|joins| match of_joins(joins) {
            ControlFlow::Break(reason) => Some(reason),
            ControlFlow::Continue(()) => None,
        }),
        _ => None,
    }
}

/// The columns that such a join shares would be those of the left side, NULL where it has no row.
fn of_joins(from: &TableWithJoins) -> ControlFlow<String> {
    for join in &from.joins {
        let constraint = match &join.join_operator {
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => constraint,
            JoinOperator::FullOuter(constraint) => constraint,
            _ => continue,
        };
        if matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural) {
            let reason = "RIGHT and FULL joins with USING or NATURAL are not supported: use ON";
            return ControlFlow::Break(reason.to_owned());
        }
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let mut parsed =
            Parser::parse_sql(&PostgreSqlDialect {}, text).expect("a statement").remove(0);
        put_right(&mut parsed).map(|()| parsed.to_string())
    }

    fn top(text: &str) -> String {
        let text = format!("SELECT {text}");
        let mut parsed =
            Parser::parse_sql(&PostgreSqlDialect {}, &text).expect("a statement").remove(0);
        put_right(&mut parsed).expect("a statement");
        format!("{parsed:?}")
    }

    #[test]
    fn distinct_from_binds_tighter_than_and() {
        // The same text either way, so it is the tree that is compared.
        for (plain, bracketed) in [
            ("a IS DISTINCT FROM b AND c", "(a IS DISTINCT FROM b) AND c"),
            ("a IS NOT DISTINCT FROM b OR c AND d", "(a IS NOT DISTINCT FROM b) OR c AND d"),
            ("a IS DISTINCT FROM b AND c OR d", "(a IS DISTINCT FROM b) AND c OR d"),
        ] {
            let shape = |text: &str| {
                // Brackets and places aside.
                let tree = top(text).replace("Nested(", "(");
                tree.chars().filter(|c| c.is_ascii_alphabetic() || *c == ',').collect::<String>()
            };
            assert_eq!(shape(plain), shape(bracketed), "{plain}");
        }
        let kept = "SELECT a IS DISTINCT FROM (b AND c)";
        assert_eq!(read(kept), Ok(kept.to_owned()));
    }

    #[test]
    fn what_would_be_answered_wrongly_is_refused() {
        for text in [
            "SELECT 1 INTERSECT ALL SELECT 1",
            "SELECT * FROM (SELECT 1 UNION SELECT 2 EXCEPT ALL SELECT 1) t",
            "SELECT k FROM a RIGHT JOIN b USING (k)",
            "SELECT k FROM a NATURAL FULL JOIN b",
            "SELECT k FROM x, (a FULL JOIN b USING (k))",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        for text in [
            "SELECT 1 UNION ALL SELECT 1",
            "SELECT 1 EXCEPT SELECT 1",
            "SELECT a.k FROM a RIGHT JOIN b ON a.k = b.k",
            "SELECT k FROM a LEFT JOIN b USING (k)",
        ] {
            assert!(read(text).is_ok(), "{text}");
        }
    }
}
