//! Limits on a statement: on its text before any parser reads it, and on its tree before anything plans it.
//!
//! A parser makes trees, and planning, cloning, printing and dropping a tree are recursive. DataFusion's parser
//! limits the depth of brackets, subqueries and prefix operators, but not the length of sequences: `1+1+1`,
//! `a::int::int`, `a[1][1]`, `a UNION b UNION c` and chains of joins or WITH queries become trees as deep as
//! the sequence is long. A stack overflow is not a panic: it ends the process. Therefore each token that can
//! make a tree deeper, a *link*, is counted before parsing. Tokens that cannot are listed here and all others
//! count, so that a grammar rule that was overlooked is limited as well. Threads that parse and plan have a
//! stack of [`STACK_BYTES`], which the tests hold to four times the need.
//!
//! Planning an expression takes time that grows with the square of its depth, and cannot be interrupted. The
//! parsed tree is therefore checked as well.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Query, Select, SetExpr, SetOperator, Statement, Subscript,
    TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Word};

use crate::error::SqlError;

/// The longest text of a statement, in bytes.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// The most links of a text: `a = 1 OR a = 2 OR …` has three for each alternative.
pub const LINKS_MAX: usize = 2000;
/// The greatest depth of brackets within brackets, of any kind.
pub const NESTING_MAX: usize = 64;
/// The logarithm, to base 2, of how often a parser may read the innermost bracket: it reads the arguments of a
/// call twice, in some dialects and where it finds an error.
const GUESSES_MAX: usize = 16;
/// The most EXPLAIN words of a text: DataFusion's own parser is recursive in them, and only the first can be
/// planned.
const EXPLAINS_MAX: usize = 4;
/// The greatest depth of an expression. AND and OR do not count, since planning flattens them.
pub const DEPTH_MAX: usize = 256;
/// The most tables that one statement joins or reads. Each makes the plan deeper, also in a list of tables
/// behind FROM, although other lists become only longer.
pub const RELATIONS_MAX: usize = 100;
/// The most columns of a SELECT, as in PostgreSQL.
pub const COLUMNS_MAX: usize = 1664;
/// The most columns in CUBE: rows are grouped by every subset of them.
const CUBE_MAX: usize = 8;
/// The stack, in bytes, of a thread that parses, plans, runs and drops statements. Only the used part takes
/// memory.
pub const STACK_BYTES: usize = 256 << 20;

/// Checks that a text has at most [`TEXT_BYTES_MAX`] bytes; called before the text is sent to another thread.
/// Fails with [`SqlError::Complex`].
pub fn check_length(text: &str) -> Result<(), SqlError> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(SqlError::Complex(format!(
        "the text has {} bytes, a statement may have {TEXT_BYTES_MAX}",
        text.len()
    )))
}

/// Checks a text's length, brackets and links before it is parsed; only for threads with a stack of
/// [`STACK_BYTES`].
///
/// A text that cannot be tokenized passes: the parser must refuse it. Errors: [`SqlError::Complex`].
pub fn check(text: &str, dialect: &dyn Dialect) -> Result<(), SqlError> {
    check_length(text)?;
    // The parser begins with the same tokens. Where they are wrong its error names the place.
    let Ok(tokens) = Tokenizer::new(dialect, text).tokenize() else { return Ok(()) };
    let (mut links, mut explains) = (0, 0);
    let mut open: Vec<usize> = Vec::new();
    let mut before = &Token::EOF;
    for token in tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))) {
        match token {
            Token::LParen | Token::LBrace | Token::LBracket => open.push(guesses(before)),
            // A closing bracket too many is an error for the parser.
            Token::RParen | Token::RBrace | Token::RBracket => drop(open.pop()),
            _ => {}
        }
        links += weight(token);
        explains += usize::from(is_word(token, Keyword::EXPLAIN));
        if open.len() > NESTING_MAX || open.iter().sum::<usize>() > GUESSES_MAX {
            return Err(SqlError::Complex("the query is nested too deeply".into()));
        }
        before = token;
    }
    if links > LINKS_MAX {
        return Err(SqlError::Complex(format!(
            "the query has {links} operators and keywords, a statement may have {LINKS_MAX}: where it names many values, use IN"
        )));
    }
    match explains > EXPLAINS_MAX {
        true => Err(SqlError::Complex("EXPLAIN is nested too deeply".into())),
        false => Ok(()),
    }
}

/// Returns true if a token is this keyword.
fn is_word(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(Word { keyword: found, .. }) if *found == keyword)
}

/// Keywords that make no tree deeper: literals, AS, and names of this package's columns that are keywords of
/// other statements.
const FLAT_WORDS: [Keyword; 9] = [
    Keyword::NoKeyword,
    Keyword::NULL,
    Keyword::TRUE,
    Keyword::FALSE,
    Keyword::AS,
    Keyword::KEY,
    Keyword::NAME,
    Keyword::OWNER,
    Keyword::VALUE,
];

/// Returns the number of links for which a token counts. The parser needs ten times the usual stack for a
/// prefix of INTERVAL. A pipe step is a query within a query that may add columns, so planning takes time that
/// grows with the cube of their number.
fn weight(token: &Token) -> usize {
    match token {
        Token::VerticalBarRightAngleBracket => 20,
        token if is_word(token, Keyword::INTERVAL) => 8,
        token => usize::from(is_link(token)),
    }
}

/// Keywords after which a bracket does not begin a call's arguments.
const CLAUSE_WORDS: [Keyword; 33] = [
    Keyword::AND,
    Keyword::OR,
    Keyword::IN,
    Keyword::IS,
    Keyword::LIKE,
    Keyword::BETWEEN,
    Keyword::SELECT,
    Keyword::DISTINCT,
    Keyword::FROM,
    Keyword::JOIN,
    Keyword::LATERAL,
    Keyword::ON,
    Keyword::USING,
    Keyword::AS,
    Keyword::MATERIALIZED,
    Keyword::WITH,
    Keyword::WHERE,
    Keyword::HAVING,
    Keyword::BY,
    Keyword::SETS,
    Keyword::VALUES,
    Keyword::OVER,
    Keyword::FILTER,
    Keyword::GROUP,
    Keyword::UNION,
    Keyword::EXCEPT,
    Keyword::INTERSECT,
    Keyword::CASE,
    Keyword::WHEN,
    Keyword::THEN,
    Keyword::ELSE,
    Keyword::EXISTS,
    Keyword::EXPLAIN,
];

/// Keywords that have a form of their own in an expression and may be names as well.
const CALL_WORDS: [Keyword; 22] = [
    Keyword::ARRAY,
    Keyword::CAST,
    Keyword::CEIL,
    Keyword::CONVERT,
    Keyword::EXTRACT,
    Keyword::FLOOR,
    Keyword::INTERVAL,
    Keyword::LAMBDA,
    Keyword::MAP,
    Keyword::MATCH,
    Keyword::NOT,
    Keyword::OVERLAY,
    Keyword::POSITION,
    Keyword::PRIOR,
    Keyword::SAFE_CAST,
    Keyword::STRUCT,
    Keyword::SUBSTR,
    Keyword::SUBSTRING,
    Keyword::TRIM,
    Keyword::TRY_CAST,
    Keyword::TRY_CONVERT,
    Keyword::CURRENT_TIMESTAMP,
];

/// Returns the logarithm, to base 2, of how often the parser may read the content of a bracket behind this
/// token. PostgreSQL's dialect first reads a call's arguments as named ones. Behind a keyword the parser reads
/// the content again as a call, when nothing else fits.
fn guesses(before: &Token) -> usize {
    match before {
        Token::Word(word) if CLAUSE_WORDS.contains(&word.keyword) => 0,
        Token::Word(word) if CALL_WORDS.contains(&word.keyword) => 2,
        Token::Word(_) => 1,
        _ => 0,
    }
}

/// Returns true if a token can make a tree deeper.
fn is_link(token: &Token) -> bool {
    match token {
        // Opening brackets are limited by their depth. `[` is absent here: one index may follow another without
        // end.
        Token::LParen | Token::LBrace | Token::RParen | Token::RBrace | Token::RBracket => false,
        Token::Word(word) => !FLAT_WORDS.contains(&word.keyword),
        // `(a).1.1` is a chain whose links look like numbers.
        Token::Number(digits, _) => digits.starts_with('.'),
        Token::Whitespace(_)
        | Token::Comma
        | Token::SemiColon
        | Token::EOF
        | Token::Placeholder(_)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::SingleQuotedByteStringLiteral(_)
        | Token::SingleQuotedRawStringLiteral(_) => false,
        _ => true,
    }
}

/// Checks a parsed statement's tree before it is planned: depth, tables, columns, CUBE. Fails with
/// [`SqlError::Complex`].
pub fn check_tree(statement: &Statement) -> Result<(), SqlError> {
    match statement.visit(&mut TreeCounts::default()) {
        ControlFlow::Break(reason) => Err(SqlError::Complex(reason)),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Counts along a walk through a tree.
#[derive(Default)]
struct TreeCounts {
    depth: usize,
    relations: usize,
    cubed: usize,
}

/// Returns the levels of one step of an access such as `a[1]`. A slice is planned as a call with three
/// arguments, whose types are computed again at each level above.
fn steps(access: &AccessExpr) -> usize {
    match access {
        AccessExpr::Subscript(Subscript::Slice { .. }) => 4,
        _ => 1,
    }
}

/// Returns how many levels an expression adds above its operands. An access chain is one list in the tree and
/// becomes a chain of calls in the plan.
fn levels(expr: &Expr) -> usize {
    match expr {
        Expr::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, .. } => 0,
        Expr::CompoundFieldAccess { access_chain, .. } => access_chain.iter().map(steps).sum(),
        Expr::CompoundIdentifier(names) => names.len(),
        _ => 1,
    }
}

impl Visitor for TreeCounts {
    type Break = String;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
        self.depth += levels(expr);
        if self.depth > DEPTH_MAX {
            let text = format!("an expression is more than {DEPTH_MAX} operators deep");
            return ControlFlow::Break(text);
        }
        if let Expr::Cube(sets) = expr {
            self.cubed += sets.iter().map(Vec::len).sum::<usize>();
        }
        match self.cubed > CUBE_MAX {
            true => ControlFlow::Break(format!("CUBE may have {CUBE_MAX} columns")),
            false => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
        self.depth -= levels(expr);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<String> {
        match select.projection.len() > COLUMNS_MAX {
            true => ControlFlow::Break(format!("a SELECT may have {COLUMNS_MAX} columns")),
            false => ControlFlow::Continue(()),
        }
    }

    /// Counts set operations. EXCEPT and INTERSECT are planned as joins, UNION is not.
    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        let mut bodies = vec![&*query.body];
        while let Some(body) = bodies.pop() {
            if let SetExpr::SetOperation { op, left, right, .. } = body {
                self.relations += usize::from(*op != SetOperator::Union);
                bodies.extend([&**left, &**right]);
            }
        }
        self.check_relations()
    }

    fn pre_visit_table_factor(&mut self, _: &TableFactor) -> ControlFlow<String> {
        self.relations += 1;
        self.check_relations()
    }
}

impl TreeCounts {
    /// Ends the walk if there are too many tables.
    fn check_relations(&self) -> ControlFlow<String> {
        match self.relations > RELATIONS_MAX {
            true => {
                ControlFlow::Break(format!("a query may read or compare {RELATIONS_MAX} tables"))
            }
            false => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::{GenericDialect, PostgreSqlDialect};
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn is_taken(text: &str) -> bool {
        let generic = check(text, &GenericDialect {});
        assert_eq!(generic.is_ok(), check(text, &PostgreSqlDialect {}).is_ok(), "{text:.40}");
        generic.is_ok()
    }

    #[test]
    fn lists_are_free_and_chains_are_not() {
        let list = |item: &str, count: usize| vec![item; count].join(",");
        for text in [
            format!("SELECT {}", list("1", 20_000)),
            format!("SELECT 1 FROM objects WHERE key IN ({})", list("'0123456789'", 4000)),
            format!("SELECT * FROM (VALUES {}) AS t", list("(1,NULL,'x')", 4000)),
            format!("SELECT 1 WHERE {}", vec!["key = 'a'"; LINKS_MAX / 2 - 1].join(" OR ")),
            format!("SELECT {}1{}", "(".repeat(NESTING_MAX), ")".repeat(NESTING_MAX)),
            format!("SELECT '{}'", "+".repeat(60_000)),
            format!("SELECT {}1{}", "abs(".repeat(GUESSES_MAX), ")".repeat(GUESSES_MAX)),
            format!("SELECT {}1{}", "(SELECT ".repeat(20), ")".repeat(20)),
            format!("SELECT 1 {}", "/*".repeat(10_000) + &"*/".repeat(10_000)),
        ] {
            assert!(is_taken(&text), "{text:.60}");
        }
        for text in [
            format!("SELECT {}", list("1", TEXT_BYTES_MAX / 2)),
            format!("SELECT 1{}", "+1".repeat(LINKS_MAX)),
            format!("SELECT 1{}", "::int".repeat(LINKS_MAX / 2)),
            format!("SELECT a{}", "[1]".repeat(LINKS_MAX)),
            format!("SELECT (a){}", ".a".repeat(LINKS_MAX)),
            format!("SELECT (a){}", ".1".repeat(LINKS_MAX)),
            format!("SELECT {}1{}", "(".repeat(NESTING_MAX + 1), ")".repeat(NESTING_MAX + 1)),
            format!("SELECT {}", "(".repeat(NESTING_MAX + 1)),
            format!("SELECT {}", "f(".repeat(GUESSES_MAX + 1)),
            format!("SELECT {}", "\"f\" (".repeat(GUESSES_MAX + 1)),
            format!("SELECT {}", "CAST(".repeat(GUESSES_MAX / 2 + 1)),
            format!("SELECT {}", "ARRAY[".repeat(GUESSES_MAX / 2 + 1)),
            format!("SELECT {}", "NOT(".repeat(GUESSES_MAX / 2 + 1)),
            format!("{}SELECT 1", "EXPLAIN ".repeat(EXPLAINS_MAX + 1)),
        ] {
            assert!(!is_taken(&text), "{text:.60}");
        }
    }

    #[test]
    fn trees_are_bounded_where_planning_is_slow() {
        let is_taken = |text: &str| {
            let parsed =
                Parser::parse_sql(&GenericDialect {}, text).expect("a statement").remove(0);
            check_tree(&parsed).is_ok()
        };
        let half = DEPTH_MAX / 2;
        for (text, wanted) in [
            (format!("SELECT 1{}", "+1".repeat(DEPTH_MAX - 1)), true),
            (format!("SELECT 1{}", "+1".repeat(DEPTH_MAX)), false),
            (
                format!("SELECT 1{}, 1{}", "+1".repeat(half * 3 / 2), "+1".repeat(half * 3 / 2)),
                true,
            ),
            (format!("SELECT a{}", "[1]".repeat(DEPTH_MAX - 1)), true),
            (format!("SELECT a{}", "[1]".repeat(DEPTH_MAX + 1)), false),
            (format!("SELECT (SELECT 1{})", "+1".repeat(DEPTH_MAX)), false),
            (format!("SELECT 1 WHERE {}", vec!["a = 1"; 2 * DEPTH_MAX].join(" OR ")), true),
            (format!("SELECT 1 FROM {}", vec!["a"; RELATIONS_MAX].join(", ")), true),
            (format!("SELECT 1 FROM {}", vec!["a"; RELATIONS_MAX + 1].join(", ")), false),
            (vec!["SELECT 1"; RELATIONS_MAX + 1].join(" EXCEPT "), true),
            (vec!["SELECT 1"; RELATIONS_MAX + 2].join(" INTERSECT "), false),
            (vec!["SELECT 1"; RELATIONS_MAX + 2].join(" UNION "), true),
            (format!("SELECT {}", vec!["a"; COLUMNS_MAX].join(", ")), true),
            (format!("SELECT 1 UNION SELECT {}", vec!["a"; COLUMNS_MAX + 1].join(", ")), false),
            ("SELECT 1 FROM a GROUP BY CUBE (a, b, c, d, e, f, g, h)".to_owned(), true),
            ("SELECT 1 FROM a GROUP BY CUBE (a, b, c, d, e), CUBE (f, g, h, i)".to_owned(), false),
        ] {
            assert_eq!(is_taken(&text), wanted, "{text:.60}");
        }
    }

    #[test]
    fn the_bound_is_met_exactly() {
        assert!(is_taken(&format!("SELECT 1{}", "+1".repeat(LINKS_MAX - 1))));
        assert!(!is_taken(&format!("SELECT 1{}", "+1".repeat(LINKS_MAX))));
        let text = format!("SELECT '{}'", "x".repeat(TEXT_BYTES_MAX - 9));
        assert_eq!(text.len(), TEXT_BYTES_MAX);
        assert!(is_taken(&text));
        assert!(!is_taken(&format!("{text} ")));
    }
}
