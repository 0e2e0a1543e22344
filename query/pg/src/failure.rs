//! Errors of PostgreSQL's protocol: a SQLSTATE of five characters, by which programs decide, and a place in the
//! text.

use pgwire::error::{ErrorInfo, PgWireError};
use sql::{SqlError, TextPosition};

/// Makes an error with a SQLSTATE of <https://www.postgresql.org/docs/current/errcodes-appendix.html>. Severity
/// is ERROR: the client may go on, and only the statement has failed.
pub fn failure(code: &str, message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(info(code, message)))
}

/// Makes the content of an error message.
fn info(code: &str, message: impl Into<String>) -> ErrorInfo {
    ErrorInfo::new("ERROR".into(), code.into(), message.into())
}

/// Converts the error of a query to one with a SQLSTATE. A refusal has the place in `text`, which must be the
/// text that the client sent.
pub fn of(error: &SqlError, text: &str) -> PgWireError {
    let code = match error {
        SqlError::Refused(_) => "42000",
        SqlError::Complex(_) => "54001",
        SqlError::Busy => "53300",
        SqlError::Unavailable(_) => "57P03",
        SqlError::Read(_) => "XX001",
        SqlError::Memory(_) => "53200",
        SqlError::Deadline(_) => "57014",
        SqlError::Value(_) => "22000",
        SqlError::Failed(_) => "XX000",
    };
    let mut info = info(code, error.to_string());
    if let SqlError::Refused(refusal) = error {
        info.message.clone_from(&refusal.message);
        info.position = refusal.position.and_then(|at| letter(text, at)).map(|at| at.to_string());
    }
    PgWireError::UserError(Box::new(info))
}

/// Returns the number of a character in a text, counted from 1 as PostgreSQL does; `None` for line 0.
fn letter(text: &str, at: TextPosition) -> Option<usize> {
    let line = usize::try_from(at.line).ok()?.checked_sub(1)?;
    let before: usize = text.split_inclusive('\n').take(line).map(|l| l.chars().count()).sum();
    Some(before + usize::try_from(at.column).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_counted_in_letters_from_the_beginning() {
        let text = "SELECT 'ä'\n  nothing";
        assert_eq!(letter(text, TextPosition { line: 1, column: 1 }), Some(1));
        assert_eq!(letter(text, TextPosition { line: 2, column: 3 }), Some(14));
        assert_eq!(letter(text, TextPosition { line: 0, column: 3 }), None);
    }
}
