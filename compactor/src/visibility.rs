//! The rule that decides which statements about a key are visible, shared by reads, flushes and merges.
//!
//! Statements of one key come newest version first, and within a version newest statement first
//! ([`ingest::entry::EntryKey`]'s order). In that order:
//!
//! - the first statement about a version decides the version, and older ones about it are superseded;
//! - the first statement about version `null` decides it, and every older `null` version is superseded,
//!   because a bucket keeps at most one;
//! - a removal hides the version that it names and is never visible itself.
//!
//! Entries can therefore be written without reading older ones: superseded statements are found where runs
//! meet.

use ingest::entry::EntryValue;
use ingest::ids::Offset;

use crate::index_value::IndexValueKind;

/// The shape of a statement: the part of it on which visibility depends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryShape {
    /// An object or delete marker; `true` for version `null`.
    Version(bool),
    /// The removal of one version.
    Tombstone,
    /// The removal of every older `null` version.
    NullTombstone,
}

impl EntryShape {
    /// Returns the shape of a complete statement.
    pub fn of(statement: &EntryValue) -> Self {
        Self::of_kind(IndexValueKind::of(statement), statement.is_null())
    }

    /// Returns the shape of a statement of a kind; `is_null` is true for version `null` and matters for
    /// objects and delete markers only.
    pub fn of_kind(kind: IndexValueKind, is_null: bool) -> Self {
        match kind {
            IndexValueKind::Object | IndexValueKind::Marker => EntryShape::Version(is_null),
            IndexValueKind::Tombstone => EntryShape::Tombstone,
            IndexValueKind::NullTombstone => EntryShape::NullTombstone,
        }
    }
}

impl EntryShape {
    /// Returns true if a bucket may become non-empty by such a statement. Removals never make another
    /// version visible.
    pub fn may_fill(self) -> bool {
        matches!(self, EntryShape::Version(_))
    }
}

/// The verdict on a statement, given the statements that come before it in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VisibilityVerdict {
    /// Clients see the statement's version.
    Visible,
    /// A newer statement has replaced this one, which is garbage.
    Superseded,
    /// A removal of a statement that may follow in an older source: kept until no older source exists.
    Tombstone,
}

/// Judges the statements of one key in order. Each key needs a new value.
#[derive(Clone, Default, Debug)]
pub struct Visibility {
    version: Option<Offset>,
    null_is_decided: bool,
}

impl Visibility {
    /// Judges the next statement of the key. Statements must be passed in the order of
    /// [`ingest::entry::EntryKey`], without gaps; otherwise the verdicts are wrong.
    pub fn judge(&mut self, version: Offset, shape: EntryShape) -> VisibilityVerdict {
        if self.version == Some(version) {
            return VisibilityVerdict::Superseded;
        }
        self.version = Some(version);
        match shape {
            EntryShape::Version(false) => VisibilityVerdict::Visible,
            EntryShape::Tombstone => VisibilityVerdict::Tombstone,
            EntryShape::Version(true) | EntryShape::NullTombstone if self.null_is_decided => {
                VisibilityVerdict::Superseded
            }
            EntryShape::Version(true) => {
                self.null_is_decided = true;
                VisibilityVerdict::Visible
            }
            EntryShape::NullTombstone => {
                self.null_is_decided = true;
                VisibilityVerdict::Tombstone
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(statements: &[(u64, EntryShape)]) -> Vec<VisibilityVerdict> {
        let mut visibility = Visibility::default();
        statements
            .iter()
            .map(|(version, shape)| visibility.judge(Offset::new(*version), *shape))
            .collect()
    }

    #[test]
    fn each_rule_holds() {
        use EntryShape::{NullTombstone, Version};
        use VisibilityVerdict::{Superseded, Tombstone, Visible};
        type Case = (&'static [(u64, EntryShape)], &'static [VisibilityVerdict]);
        let table: &[Case] = &[
            (&[(9, Version(false)), (5, Version(false))], &[Visible, Visible]),
            (&[(9, Version(false)), (9, Version(false))], &[Visible, Superseded]),
            (
                &[(9, EntryShape::Tombstone), (9, Version(false)), (5, Version(false))],
                &[Tombstone, Superseded, Visible],
            ),
            (&[(9, Version(true)), (5, Version(true))], &[Visible, Superseded]),
            (
                &[(9, Version(false)), (5, Version(true)), (3, Version(true))],
                &[Visible, Visible, Superseded],
            ),
            (
                &[(9, NullTombstone), (5, Version(true)), (3, Version(false))],
                &[Tombstone, Superseded, Visible],
            ),
            (&[(9, NullTombstone), (5, NullTombstone)], &[Tombstone, Superseded]),
            (&[(9, Version(true)), (5, NullTombstone)], &[Visible, Superseded]),
        ];
        for (statements, expected) in table {
            assert_eq!(verdicts(statements), *expected, "{statements:?}");
        }
    }
}
