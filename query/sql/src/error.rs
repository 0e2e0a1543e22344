//! Errors of queries, and the conversion of DataFusion's errors.

use std::fmt;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use ingest::log::ReadError;

use crate::cancel::QueryCancelled;

/// A place in a query's text; line and column count from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextPosition {
    /// The line.
    pub line: u64,
    /// The character in the line.
    pub column: u64,
}

impl fmt::Display for TextPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// The reason for which a text was not run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryRefusal {
    /// The problem, as a message for the user.
    pub message: String,
    /// The place of the problem, if it is known.
    pub position: Option<TextPosition>,
}

impl fmt::Display for QueryRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{} (at {position})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The words of the memory pool's message after which it lists its largest users, other users' queries
/// included.
const CONSUMERS: &str = "top memory consumers";

/// The error of a query that was not answered, or not completely.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The text is not a query, names something that does not exist, or would change something. A retry cannot
    /// help.
    #[error("{0}")]
    Refused(QueryRefusal),
    /// The text exceeds a limit on its length, its depth or its columns. A retry cannot help.
    #[error("{0}")]
    Complex(String),
    /// Too many queries are waiting already, of all users or of this one; retry later.
    #[error("too many queries are waiting; retry later")]
    Busy,
    /// Fresh snapshots cannot be had, or a file cannot be read, at present; retry later.
    #[error("{0}")]
    Unavailable(String),
    /// A file is damaged, so that rows would be missing.
    #[error("{0}")]
    Read(String),
    /// The query needs more memory or more disk space than the limits allow.
    #[error("{0}")]
    Memory(String),
    /// The query ran past its deadline, in seconds, or was cancelled.
    #[error("the query was ended after {0} seconds")]
    Deadline(u64),
    /// A value cannot be computed: a division by zero, a text that is not a number.
    #[error("{0}")]
    Value(String),
    /// Any other error while the query ran.
    #[error("{0}")]
    Failed(String),
}

impl SqlError {
    /// Makes a refusal without a place in the text, for statements that must never be run here.
    pub fn refused(message: impl Into<String>) -> Self {
        SqlError::Refused(QueryRefusal { message: message.into(), position: None })
    }

    /// Returns true if the error's text names files of the store or parts of other users' queries; such texts
    /// are only for operators.
    pub(crate) fn tells_of_the_store(&self, folder: Option<&str>) -> bool {
        let names_folder = |text: &str| folder.is_some_and(|folder| text.contains(folder));
        match self {
            SqlError::Read(_) => true,
            SqlError::Memory(text) => text.contains(CONSUMERS) || names_folder(text),
            SqlError::Unavailable(text) | SqlError::Value(text) | SqlError::Failed(text) => {
                names_folder(text)
            }
            SqlError::Refused(refusal) => names_folder(&refusal.message),
            SqlError::Complex(_) | SqlError::Busy | SqlError::Deadline(_) => false,
        }
    }

    /// Returns the error without facts about the store: of the same kind, but a refusal becomes
    /// [`SqlError::Failed`]. The caller must have logged the original.
    pub(crate) fn in_public(self) -> Self {
        const LOG: &str = "the server's log tells more";
        match self {
            SqlError::Read(_) => SqlError::Read(format!("a file could not be read; {LOG}")),
            SqlError::Memory(_) => SqlError::Memory(
                "the query needs more memory, or more room on disk, than queries may have".into(),
            ),
            SqlError::Unavailable(_) => {
                SqlError::Unavailable(format!("the store cannot be read now; {LOG}"))
            }
            other => SqlError::Failed(match other {
                SqlError::Value(_) => format!("a value could not be computed; {LOG}"),
                _ => format!("the query failed; {LOG}"),
            }),
        }
    }

    /// Converts an error of a snapshot or a file: damage becomes [`SqlError::Read`], everything else
    /// [`SqlError::Unavailable`], after which a retry may help.
    pub fn reading(error: &ReadError) -> Self {
        match error {
            ReadError::Corrupt(_) => SqlError::Read(error.to_string()),
            _ => SqlError::Unavailable(error.to_string()),
        }
    }

    /// Converts an error of planning: the text is refused, unless the cause is a read, the memory or the
    /// deadline.
    pub(crate) fn planning(error: &DataFusionError) -> Self {
        match Self::met(error) {
            SqlError::Failed(message) => {
                let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
                let at = |span: datafusion::common::Span| TextPosition {
                    line: span.start.line,
                    column: span.start.column,
                };
                let (message, told) = split_position(&message);
                let position = span.map(at).or(told);
                SqlError::Refused(QueryRefusal { message: message.to_owned(), position })
            }
            other => other,
        }
    }

    /// Adds a place to the refusal of a text that ends too early: the end of the text, which the parser does
    /// not report. Any other error is returned unchanged.
    pub(crate) fn in_text(self, text: &str) -> Self {
        match self {
            SqlError::Refused(QueryRefusal { message, position: None })
                if message.ends_with("found: EOF") =>
            {
                let line = text.lines().count().max(1) as u64;
                let column = text.lines().last().map_or(0, |line| line.chars().count()) as u64 + 1;
                SqlError::Refused(QueryRefusal {
                    message,
                    position: Some(TextPosition { line, column }),
                })
            }
            other => other,
        }
    }

    /// Converts an error of a running query. A value that cannot be computed is the query's own error.
    pub(crate) fn running(error: &DataFusionError) -> Self {
        match (Self::met(error), error.find_root()) {
            (
                SqlError::Failed(message),
                DataFusionError::ArrowError(..)
                | DataFusionError::Execution(_)
                | DataFusionError::NotImplemented(_),
            ) => SqlError::Value(message),
            (met, _) => met,
        }
    }

    /// Finds the cause of an error below the wrappers that plan nodes add.
    fn met(error: &DataFusionError) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(this) = cause {
            if let Some(read) = this.downcast_ref::<ReadError>() {
                return Self::reading(read);
            }
            if let Some(QueryCancelled(seconds)) = this.downcast_ref::<QueryCancelled>() {
                return SqlError::Deadline(*seconds);
            }
            cause = match this.downcast_ref::<DataFusionError>() {
                Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
                _ => this.source(),
            };
        }
        match error.find_root() {
            DataFusionError::ResourcesExhausted(text) => SqlError::Memory(text.clone()),
            DataFusionError::SQL(error, _) => match error.as_ref() {
                ParserError::ParserError(text) | ParserError::TokenizerError(text) => {
                    SqlError::Failed(text.clone())
                }
                ParserError::RecursionLimitExceeded => {
                    SqlError::Failed("the query is nested too deeply".into())
                }
            },
            root => SqlError::Failed(root.strip_backtrace()),
        }
    }
}

/// Wraps an error of this project, so that it passes through DataFusion's plan nodes; [`SqlError::running`]
/// must unwrap it.
pub(crate) fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Splits the place, ` at Line: 1, Column: 8`, from the end of a parser's message.
fn split_position(message: &str) -> (&str, Option<TextPosition>) {
    let split = || {
        let (text, place) = message.rsplit_once(" at Line: ")?;
        let (line, column) = place.split_once(", Column: ")?;
        let digits = column.find(|c: char| !c.is_ascii_digit()).unwrap_or(column.len());
        let (column, rest) = column.split_at(digits);
        let is_end = rest.chars().all(|c| !c.is_alphanumeric());
        let position = TextPosition { line: line.parse().ok()?, column: column.parse().ok()? };
        is_end.then_some((text, position))
    };
    split().map_or((message, None), |(text, position)| (text, Some(position)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parsers_message_is_told_from_its_place() {
        let position = Some(TextPosition { line: 2, column: 17 });
        for end in ["", "\")", "."] {
            let message = format!("Expected: FROM, found: x at Line: 2, Column: 17{end}");
            assert_eq!(split_position(&message), ("Expected: FROM, found: x", position), "{end}");
        }
        assert_eq!(split_position("no place"), ("no place", None));
        let inside = "x at Line: 2, Column: 17 and more";
        assert_eq!(split_position(inside), (inside, None));
    }
}
