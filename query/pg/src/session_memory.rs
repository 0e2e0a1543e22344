//! Limits on what a connection keeps: prepared statements and portals. pgwire's own store has no limit.

use std::collections::HashMap;

use parking_lot::Mutex;
use pgwire::error::PgWireResult;

use crate::failure::failure;

/// The most statements and portals of a connection.
const COUNT_MAX: usize = 1000;
/// The most bytes that they may take together.
const BYTES_MAX: usize = 64 << 20;
/// The bytes that one takes besides its texts and values.
const ENTRY_BYTES: usize = 1 << 10;

/// A kind of item that a connection keeps under a name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SessionItemKind {
    /// A prepared statement.
    Statement,
    /// A statement with the values of its parameters, and perhaps rows that were not fetched yet.
    Portal,
}

/// The account of a connection's items: each with its bytes.
#[derive(Default, Debug)]
pub struct SessionMemory(Mutex<HashMap<(SessionItemKind, String), usize>>);

impl SessionMemory {
    /// Adds an item to the account; an item of the same kind and name is replaced. Must be called before the
    /// item is kept.
    ///
    /// Errors: SQLSTATE 54000 with more than 1000 items, 53200 with more than 64 MiB; the account is then
    /// unchanged.
    pub fn put(&self, kind: SessionItemKind, name: &str, bytes: usize) -> PgWireResult<()> {
        let mut kept = self.0.lock();
        let key = (kind, name.to_owned());
        let bytes = bytes + name.len() + ENTRY_BYTES;
        let replaced = kept.get(&key).copied();
        let count = kept.len() + usize::from(replaced.is_none());
        if count > COUNT_MAX {
            let text = format!("a connection keeps {COUNT_MAX} statements and portals: close some");
            return Err(failure("54000", text));
        }
        let all: usize = kept.values().sum();
        if all - replaced.unwrap_or(0) + bytes > BYTES_MAX {
            let limit = BYTES_MAX >> 20;
            let text =
                format!("the connection's statements and portals take {limit} MiB: close some");
            return Err(failure("53200", text));
        }
        kept.insert(key, bytes);
        Ok(())
    }

    /// Removes an item from the account, if it is there; to be called only when the item itself is dropped.
    pub fn remove(&self, kind: SessionItemKind, name: &str) {
        self.0.lock().remove(&(kind, name.to_owned()));
    }

    /// Removes all items and returns them, in no order, so that the caller can drop them from pgwire's store.
    pub fn clear(&self) -> Vec<(SessionItemKind, String)> {
        std::mem::take(&mut *self.0.lock()).into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use pgwire::error::{ErrorInfo, PgWireError};

    use super::*;

    fn code(result: PgWireResult<()>) -> Option<String> {
        result.err().map(|error: PgWireError| ErrorInfo::from(error).code)
    }

    #[test]
    fn count_and_bytes_are_bounded() {
        let kept = SessionMemory::default();
        for number in 0..COUNT_MAX {
            let kind =
                if number % 2 == 0 { SessionItemKind::Statement } else { SessionItemKind::Portal };
            assert_eq!(code(kept.put(kind, &number.to_string(), 10)), None);
        }
        assert_eq!(
            code(kept.put(SessionItemKind::Statement, "more", 10)).as_deref(),
            Some("54000")
        );
        assert_eq!(code(kept.put(SessionItemKind::Statement, "0", 10)), None, "one is replaced");
        kept.remove(SessionItemKind::Statement, "0");
        assert_eq!(code(kept.put(SessionItemKind::Statement, "more", 10)), None);
        assert_eq!(kept.clear().len(), COUNT_MAX);
        assert_eq!(code(kept.put(SessionItemKind::Portal, "large", BYTES_MAX / 2)), None);
        assert_eq!(
            code(kept.put(SessionItemKind::Portal, "larger", BYTES_MAX / 2)).as_deref(),
            Some("53200")
        );
        assert_eq!(code(kept.put(SessionItemKind::Portal, "large", BYTES_MAX / 2 + 1)), None);
    }
}
