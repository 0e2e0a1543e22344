//! Identifiers and counters, each as a type of its own.
//!
//! An [`Offset`] counts records in a partition's log, a [`Position`] counts bytes in a file. Fields are private
//! and there is no arithmetic between kinds, so the two cannot be mixed by mistake. The formats define how each
//! is encoded.

use std::fmt;

use crate::place::{PerPlace, Place};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($inner);

        impl $name {
            /// The lowest value.
            pub const ZERO: Self = Self(0);
            /// The highest value.
            pub const MAX: Self = Self(<$inner>::MAX);

            /// Wraps a number of the same width. Every value is accepted; callers must check that it is
            /// valid where they use it.
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// Returns the plain number, for encoding and for arithmetic whose correctness only the caller
            /// knows.
            pub const fn get(self) -> $inner {
                self.0
            }

            /// Returns the number after this one. Panics for the highest number, which no store reaches.
            #[must_use]
            pub const fn next(self) -> Self {
                match self.0.checked_add(1) {
                    Some(value) => Self(value),
                    None => panic!("the numbers have run out"),
                }
            }

            /// Returns the number `by` steps after this one; `None` only when it would exceed the
            /// highest.
            pub const fn checked_add(self, by: $inner) -> Option<Self> {
                match self.0.checked_add(by) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

number! {
    /// Names one ordered log of a store. An embedded store has one partition, a cluster one or more.
    PartitionId(u32)
}
number! {
    /// A record's number in its partition's log. Counted from zero without gaps in the embedded log,
    /// strictly increasing, perhaps with gaps, in a log on brokers.
    Offset(u64)
}
number! {
    /// The distance of a byte from the beginning of its file, in bytes.
    Position(u64)
}
number! {
    /// Counts the client instances of one writer; raised for each new instance, never reused.
    Epoch(u32)
}
number! {
    /// Numbers a writer's records in one partition, from 1, without gaps.
    Sequence(u64)
}
number! {
    /// Names a bucket. Never reused after a deletion, so that a late write cannot reach a new bucket of the
    /// same name.
    BucketId(u64)
}
number! {
    /// Counts the changes of one bucket's configuration.
    ConfigVersion(u32)
}
number! {
    /// Names a segment file within its partition.
    SegmentId(u64)
}
number! {
    /// Names a run (manifest, key index, state table) within its partition.
    RunId(u64)
}
number! {
    /// Names a bulk payload file within its partition, and tells the place of the file. Files are numbered in each place
    /// on its own; the highest bit is set for files of the cold place.
    BulkId(u64)
}

impl BulkId {
    const COLD: u64 = 1 << 63;

    /// The id of the file with a number in a place. A number must be below 2^63.
    pub const fn of(place: Place, number: u64) -> Self {
        assert!(number < Self::COLD, "the numbers of bulk files have run out");
        match place {
            Place::Hot => Self(number),
            Place::Cold => Self(number | Self::COLD),
        }
    }

    /// The first id that a store gives in each place.
    pub fn first() -> PerPlace<Self> {
        PerPlace::each(|place| Self::of(place, 1))
    }

    /// Returns the place of the file.
    pub const fn place(self) -> Place {
        if self.0 & Self::COLD == 0 { Place::Hot } else { Place::Cold }
    }

    /// Returns the number of the file in its place, from 1.
    pub const fn number(self) -> u64 {
        self.0 & !Self::COLD
    }
}
number! {
    /// Names a node of a cluster; chosen by the operator.
    NodeId(u32)
}
number! {
    /// Numbers the published catalogs of a partition.
    Generation(u64)
}
number! {
    /// Numbers the cuts of a partition, from 1.
    CutNumber(u64)
}
number! {
    /// Numbers a part of a multipart upload, 1 to 10,000.
    PartNumber(u16)
}

/// Names one writer (of bulk data, commits or barriers) of one process start. Random, 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WriterId(pub [u8; 16]);

/// Names one multipart upload. Random, 128 bits, so that a client cannot guess another client's upload.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UploadId(pub [u8; 16]);

/// Names one stream of payload that is sent through the log in pieces. Random, 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct StreamId(pub [u8; 16]);

/// Names one store (one data directory, or one cluster). Random, 128 bits; chosen when the store is created,
/// and never changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct StoreId(pub [u8; 16]);
