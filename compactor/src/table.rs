//! The sorted table: key indexes and state runs. `docs/formats/table.md` specifies the bytes.
//!
//! ```text
//!   block | block | ... | filter | index | footer
//! ```
//!
//! Strictly ascending byte keys with values, in blocks of about 8 KiB whose keys share prefixes.
//! Every section has a checksum that also covers its kind, length and place (file id and position), so
//! that a block read from the wrong place does not pass. The index (one separator per block) and the
//! filter are held in memory and verified when the table is opened; blocks are verified when read.

mod block;
mod columns;
mod filter;
mod index;
mod reader;
mod writer;

pub use reader::{Table, TableCursor};
pub use writer::TableWriter;

/// What a table holds; part of its identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableKind {
    /// A key index: the entry that decides each key, as far as the run knows.
    Keys,
    /// State entries.
    State,
    /// A key index: all other entries.
    More,
    /// A tag table.
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

/// Numbers that a value may have.
const NUMBERS: usize = 5;
/// Bytes of version and sequence at the end of an entry's key.
const STAMP_BYTES: usize = 16;

/// What stands beside a key. A table of entries has numbers, which blocks hold as columns; others have bytes only,
/// and zeros here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TableValue<'a> {
    /// The numbers.
    pub numbers: [u64; NUMBERS],
    /// The rest.
    pub bytes: &'a [u8],
}

/// How a kind of table's blocks look.
#[derive(Clone, Copy)]
struct BlockForm {
    /// Whether keys end with version and sequence.
    is_stamped: bool,
    /// How many numbers a value has.
    numbers: usize,
    /// Whether blocks are compressed where that makes them smaller.
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
const BLOCK_BYTES: usize = 8 << 10;
const RESTART_EVERY: usize = 16;

/// Tells sections apart in their checksums.
#[derive(Clone, Copy)]
enum TableSection {
    Block = 1,
    Filter = 2,
    Index = 3,
    Footer = 4,
}

/// Checksum of a section, bound to what and where it is.
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
