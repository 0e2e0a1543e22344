//! Which statements about a key are visible: the one rule that reads, cuts and merges share.
//!
//! Statements of one key come newest version first, and within a version newest statement first
//! ([`ingest::entry::EntryKey`]'s order). Going down that order:
//!
//! - the first statement about a version decides it, older ones about the same version are superseded;
//! - the first statement about version `null` decides it, and every older `null` version is superseded,
//!   because a bucket keeps at most one;
//! - a removal hides what it names and shows nothing itself.
//!
//! Entries can therefore be written blindly: what they supersede is found where runs meet.

use ingest::entry::EntryValue;
use ingest::ids::Offset;

use crate::index_value::IndexValueKind;

/// The shape of a statement, as far as visibility goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryShape {
    /// An object or delete marker; `true` when it is version `null`.
    Version(bool),
    /// The removal of one version.
    Tombstone,
    /// The removal of every older `null` version.
    NullTombstone,
}

impl EntryShape {
    /// The shape of a statement.
    pub fn of(statement: &EntryValue) -> Self {
        Self::of_kind(IndexValueKind::of(statement), statement.is_null())
    }

    /// The shape of a statement of a kind, about version `null` or another.
    pub fn of_kind(kind: IndexValueKind, is_null: bool) -> Self {
        match kind {
            IndexValueKind::Object | IndexValueKind::Marker => EntryShape::Version(is_null),
            IndexValueKind::Tombstone => EntryShape::Tombstone,
            IndexValueKind::NullTombstone => EntryShape::NullTombstone,
        }
    }
}

impl EntryShape {
    /// Tells that an empty bucket may hold something after such a statement. Removals uncover nothing.
    pub fn may_fill(self) -> bool {
        matches!(self, EntryShape::Version(_))
    }
}

/// What a statement amounts to, given those above it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VisibilityVerdict {
    /// Clients see it.
    Visible,
    /// A newer statement has replaced it: garbage.
    Superseded,
    /// It removes something that may lie below: kept until nothing can.
    Tombstone,
}

/// Judges the statements of one key in order. Make a new one for each key.
#[derive(Clone, Default, Debug)]
pub struct Visibility {
    version: Option<Offset>,
    null_is_decided: bool,
}

impl Visibility {
    /// Judges the next statement.
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
