//! What may become of a query.

use std::fmt;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use ingest::log::ReadError;

use crate::cancel::QueryCancelled;

/// A place in a query's text; both count from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextPosition {
    /// The line.
    pub line: u64,
    /// The character in it.
    pub column: u64,
}

impl fmt::Display for TextPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a text was not run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryRefusal {
    /// What is wrong with it.
    pub message: String,
    /// Where, if that is known.
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

/// With these words the memory pool goes over to who holds it, others' queries included.
const CONSUMERS: &str = "top memory consumers";

/// A query was not answered, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The text is no query, names what is not there, or wants to change something.
    #[error("{0}")]
    Refused(QueryRefusal),
    /// The text is longer, or its tree may be deeper, than queries may be.
    #[error("{0}")]
    Complex(String),
    /// So many queries wait already that this one would have no chance.
    #[error("too many queries wait already; ask again later")]
    Busy,
    /// What the query reads cannot be told apart from older states now.
    #[error("{0}")]
    Unavailable(String),
    /// A file could not be read; the rest of the answer would be missing.
    #[error("{0}")]
    Read(String),
    /// The query needs more memory, or more room on disk, than queries may have.
    #[error("{0}")]
    Memory(String),
    /// The query took longer than queries may.
    #[error("the query was ended after {0} seconds")]
    Deadline(u64),
    /// The query asks for a value that cannot be computed: one divided by zero, a text that is no number.
    #[error("{0}")]
    Value(String),
    /// Something else went wrong while it ran.
    #[error("{0}")]
    Failed(String),
}

impl SqlError {
    /// A refusal that concerns no place in particular.
    pub fn refused(message: impl Into<String>) -> Self {
        SqlError::Refused(QueryRefusal { message: message.into(), position: None })
    }

    /// Tells that the text names files, or parts of others' queries.
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

    /// The same error without what it tells of the store.
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

    /// Snapshots could not be had, or a file not read.
    pub fn reading(error: &ReadError) -> Self {
        match error {
            ReadError::Corrupt(_) => SqlError::Read(error.to_string()),
            _ => SqlError::Unavailable(error.to_string()),
        }
    }

    /// An error met while planning: the query's fault unless it says otherwise.
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

    /// A text that ends too early is wrong at its end, which the parser does not tell.
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

    /// An error met while running. A value that cannot be computed is the query's fault.
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

    /// An error that operators pass on in wrappings of their own.
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

/// An error of ours on its way through DataFusion; [`SqlError::running`] finds it again.
pub(crate) fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Takes the place off the end of a parser's message, ` at Line: 1, Column: 8`.
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
