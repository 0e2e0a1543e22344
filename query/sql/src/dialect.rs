//! Statements of PostgreSQL's clients: queries in PostgreSQL's dialect, and statements about the session.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, SelectItem, Set, SetExpr, Statement as Parsed, Value, visit_expressions_mut,
    visit_relations,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;

use crate::complexity;
use crate::error::SqlError;

/// A statement of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SqlStatement {
    /// A query. The texts are alternatives, in order, for a text that DataFusion refuses: the client's query in
    /// DataFusion's dialect, and for some queries of drivers one without rows.
    Query(Vec<String>),
    /// Begins a transaction.
    Begin,
    /// Ends a transaction.
    Commit,
    /// Rolls a transaction back.
    Rollback,
    /// Sets a savepoint.
    Savepoint,
    /// Releases a savepoint.
    Release,
    /// Rolls back to a savepoint; the transaction continues.
    RollbackTo,
    /// Changes a setting: its name, its value.
    Set(String, String),
    /// Reads a setting, by its name.
    Show(String),
    /// Removes a prepared statement, by its name.
    Deallocate(String),
    /// Resets the session.
    Discard,
}

static PARSER: LazyLock<PostgresCompatibilityParser> =
    LazyLock::new(PostgresCompatibilityParser::new);

/// Parses a text into its statements, in order; an empty text has none.
///
/// Only for threads with a stack of [`complexity::STACK_BYTES`]. Errors: [`SqlError::Complex`] before parsing
/// if the text exceeds the limits, [`SqlError::Refused`] with a place in the text if it cannot be parsed.
pub fn statements(text: &str) -> Result<Vec<SqlStatement>, SqlError> {
    complexity::check(text, &PostgreSqlDialect {})?;
    // Rewriting walks a tree many times, so its limits are checked first. A text that cannot be parsed fails
    // below.
    for statement in Parser::parse_sql(&PostgreSqlDialect {}, text).iter().flatten() {
        complexity::check_tree(statement)?;
    }
    let parsed = PARSER.parse(text).map_err(|error| {
        // The rewriting parser loses places in the text. A text that it refuses is refused without rewriting,
        // too.
        let error = Parser::parse_sql(&PostgreSqlDialect {}, text).err().unwrap_or(error);
        SqlError::planning(&DataFusionError::SQL(Box::new(error), None)).in_text(text)
    })?;
    Ok(parsed.into_iter().map(statement).collect())
}

/// Converts a parsed statement; everything that is not about the session counts as a query.
fn statement(parsed: Parsed) -> SqlStatement {
    match parsed {
        Parsed::StartTransaction { .. } => SqlStatement::Begin,
        Parsed::Commit { .. } => SqlStatement::Commit,
        Parsed::Rollback { savepoint: None, .. } => SqlStatement::Rollback,
        Parsed::Rollback { .. } => SqlStatement::RollbackTo,
        Parsed::Savepoint { .. } => SqlStatement::Savepoint,
        Parsed::ReleaseSavepoint { .. } => SqlStatement::Release,
        Parsed::Deallocate { name, .. } => SqlStatement::Deallocate(name.value),
        Parsed::Discard { .. } => SqlStatement::Discard,
        Parsed::ShowVariable { variable } => {
            let words: Vec<String> = variable.into_iter().map(|word| word.value).collect();
            SqlStatement::Show(words.join(" "))
        }
        Parsed::Set(set) => setting(set),
        mut other => {
            if reads(&other, &["pg_catalog.pg_attribute"]) {
                without_lookups(&mut other);
            }
            let mut texts = vec![other.to_string()];
            if reads(&other, &EMPTY) {
                texts.extend(without_rows(&other));
            }
            SqlStatement::Query(texts)
        }
    }
}

/// Returns true if a statement reads one of these tables.
fn reads(statement: &Parsed, tables: &[&str]) -> bool {
    visit_relations(statement, |name| match tables.contains(&name.to_string().as_str()) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    })
    .is_break()
}

/// Tables of PostgreSQL without rows here: there are no constraints, no indexes and no inheritance.
const EMPTY: [&str; 3] =
    ["pg_catalog.pg_constraint", "pg_catalog.pg_index", "pg_catalog.pg_inherits"];

/// Makes a query with the columns of this one and no rows, for queries of drivers on empty tables that
/// DataFusion cannot plan. Returns `None` if a column has no name.
fn without_rows(statement: &Parsed) -> Option<String> {
    let Parsed::Query(query) = statement else { return None };
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let name = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.value.clone()),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => {
            names.last().map(|name| name.value.clone())
        }
        SelectItem::UnnamedExpr(Expr::Function(call)) => Some(call.name.to_string()),
        _ => None,
    };
    let names: Option<Vec<String>> = select.projection.iter().map(name).collect();
    let column = |name: String| format!("NULL::text AS \"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = names?.into_iter().map(column).collect();
    Some(format!("SELECT {} WHERE false", columns.join(", ")))
}

/// Replaces subqueries within CASE by NULL. Drivers read defaults, sequences and collations of columns with
/// them; columns here have none, and DataFusion cannot plan such subqueries.
fn without_lookups(statement: &mut Parsed) {
    let _ = visit_expressions_mut(statement, |expression| {
        if let Expr::Case { .. } = expression {
            let _ = visit_expressions_mut(expression, |inner| {
                if matches!(inner, Expr::Subquery(_)) {
                    *inner = Expr::Value(Value::Null.into());
                }
                ControlFlow::<()>::Continue(())
            });
        }
        ControlFlow::<()>::Continue(())
    });
}

/// Converts a SET statement: special forms get the name of the setting that they change.
fn setting(set: Set) -> SqlStatement {
    let name_of = |name: &ObjectName| name.to_string();
    match set {
        Set::SingleAssignment { variable, values, .. } => {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            SqlStatement::Set(name_of(&variable), values.join(", "))
        }
        Set::SetTimeZone { value, .. } => SqlStatement::Set("timezone".into(), value.to_string()),
        Set::SetNames { charset_name, .. } => {
            SqlStatement::Set("client_encoding".into(), charset_name.value)
        }
        Set::SetTransaction { .. } => SqlStatement::Set("transaction".into(), String::new()),
        other => SqlStatement::Set(other.to_string(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_about_the_session_are_told_from_queries() {
        let one = |text: &str| statements(text).expect("a statement").remove(0);
        assert_eq!(one("BEGIN READ ONLY"), SqlStatement::Begin);
        assert_eq!(one("start transaction"), SqlStatement::Begin);
        assert_eq!(one("COMMIT"), SqlStatement::Commit);
        assert_eq!(one("ROLLBACK"), SqlStatement::Rollback);
        assert_eq!(one("SAVEPOINT a"), SqlStatement::Savepoint);
        assert_eq!(one("ROLLBACK TO SAVEPOINT a"), SqlStatement::RollbackTo);
        assert_eq!(one("RELEASE SAVEPOINT a"), SqlStatement::Release);
        assert_eq!(one("DISCARD ALL"), SqlStatement::Discard);
        assert_eq!(one("DEALLOCATE s1"), SqlStatement::Deallocate("s1".into()));
        assert_eq!(
            one("SET extra_float_digits = 3"),
            SqlStatement::Set("extra_float_digits".into(), "3".into())
        );
        assert_eq!(
            one("show transaction isolation level"),
            SqlStatement::Show("transaction isolation level".into())
        );
        assert_eq!(statements("SELECT 1; SELECT 2").expect("two").len(), 2);
        assert!(statements("SELEC 1").is_err());
    }
}
