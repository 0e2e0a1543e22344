//! Sorted tables: key indexes, tag tables and state tables of runs. `docs/formats/table.md` specifies the
//! bytes.
//!
//! ```text
//!   block | block | ... | filter | index | footer
//! ```
//!
//! Byte keys in strictly ascending order with values, in blocks of about 8 KiB in which keys share
//! prefixes. Every section has a checksum that also covers the section's kind, length and place (file id
//! and position), so that a block from a wrong place fails. The index (one separator for each block) and
//! the filter are verified when the table is opened and stay in memory; blocks are verified when they are
//! read.

mod block;
mod columns;
mod filter;
mod index;
mod reader;
mod writer;

pub use reader::{Table, TableCursor};
pub use writer::TableWriter;

/// The kind of a table's content, which is part of its identity: checksums include it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableKind {
    /// The part of a key index with the entry that decides each key, as far as the run has it.
    Keys,
    /// The state entries of a run.
    State,
    /// The part of a key index with all other entries.
    More,
    /// The tag table of a run.
    Tags,
}

impl TableKind {
    fn code(self) -> u8 {
        match self {
            TableKind::Keys => 1,
            TableKind::State => 2,
            TableKind::More => 3,
            TableKind::Tags => 4,
        }
    }
}

/// The number of numbers in a value.
const NUMBERS: usize = 5;
/// Bytes of version and sequence at the end of an entry's key.
const STAMP_BYTES: usize = 16;

/// The value of a key. In a key index a value has numbers, which blocks store as columns; in other tables
/// it has bytes only, and the numbers are 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TableValue<'a> {
    /// The numbers, see [`crate::index_value::IndexValue::numbers`].
    pub numbers: [u64; NUMBERS],
    /// The remaining bytes of the value.
    pub bytes: &'a [u8],
}

/// The layout of the blocks of a kind of table.
#[derive(Clone, Copy)]
struct BlockForm {
    /// True if keys end with version and sequence.
    is_stamped: bool,
    /// The number of numbers in a value.
    numbers: usize,
    /// True if blocks are compressed where compression makes them smaller.
    is_compressed: bool,
}

impl TableKind {
    const fn form(self) -> BlockForm {
        match self {
            TableKind::Keys => {
                BlockForm { is_stamped: true, numbers: NUMBERS, is_compressed: false }
            }
            TableKind::More => {
                BlockForm { is_stamped: true, numbers: NUMBERS, is_compressed: true }
            }
            TableKind::Tags => BlockForm { is_stamped: true, numbers: 0, is_compressed: true },
            TableKind::State => BlockForm { is_stamped: false, numbers: 0, is_compressed: false },
        }
    }
}

const MAGIC: &[u8; 8] = b"SILTTBL3";
/// magic 8 | kind 1 | zeros 7 | id 8 | entries 8 | filter position 8, length 8 | index position 8,
/// length 8 | zeros 4 | crc 4
const FOOTER_BYTES: usize = 72;
/// The length in bytes at which a block ends, before compression.
const BLOCK_BYTES: usize = 8 << 10;
/// Entries between two restarts of a block.
const RESTART_EVERY: usize = 16;

/// The kinds of sections, which are part of their checksums.
#[derive(Clone, Copy)]
enum TableSection {
    Block = 1,
    Filter = 2,
    Index = 3,
    Footer = 4,
}

/// Computes the checksum of a section, which covers the section's kind and place too.
fn checksum(section: TableSection, kind: TableKind, id: u64, position: u64, bytes: &[u8]) -> u32 {
    let mut head = [0; 26];
    head[0] = section as u8;
    head[1] = kind.code();
    head[2..10].copy_from_slice(&id.to_le_bytes());
    head[10..18].copy_from_slice(&position.to_le_bytes());
    head[18..26].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&head), bytes)
}

#[cfg(test)]
mod tests;
