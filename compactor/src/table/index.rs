//! The index of a table: the place of each block, and the range of its keys.
//!
//! A block is found by a *separator*: above all of its keys, and at or below every key of the next block.
//! Separators are only compared, so the shortest such bytes are stored, which keeps an index of long keys
//! small. Blocks are stored one after the other, so their positions follow from their lengths.

use bytes::Bytes;
use ingest::codec::{DecodeError, Decoder, EncodeError, Encoder};

/// Bytes of the checksum that follows each block.
const CRC_BYTES: u64 = 4;
/// The largest separator, and the largest block, that an index may contain, in bytes.
const SEPARATOR_BYTES_MAX: usize = 1 << 16;
const BLOCK_BYTES_MAX: u64 = 64 << 20;

/// Returns the shortest bytes above `last` and at or below `next`. `last` must be below `next`.
pub fn separator<'a>(last: &[u8], next: &'a [u8]) -> &'a [u8] {
    let shared = last.iter().zip(next).take_while(|(a, b)| a == b).count();
    &next[..next.len().min(shared + 1)]
}

/// The largest total length of all separators in bytes: positions among them are 32-bit numbers.
const SEPARATORS_BYTES_MAX: usize = u32::MAX as usize;

/// Collects the index entries of blocks.
#[derive(Default)]
pub struct TableIndexBuilder {
    blocks: u64,
    separators_bytes: usize,
    body: Encoder,
}

impl TableIndexBuilder {
    /// Adds a block of `len` bytes; blocks must come in the order of the file. The last block's separator
    /// is empty, because no key follows.
    pub fn add(&mut self, separator: &[u8], len: usize) {
        self.body.bounded(separator, SEPARATOR_BYTES_MAX, "separator");
        self.body.count(len, BLOCK_BYTES_MAX as usize, "bytes of a table's block");
        self.separators_bytes += separator.len();
        self.blocks += 1;
    }

    /// Fails if the index so far exceeds a limit of [`TableIndex::decode`]. The writer must check it before
    /// [`TableIndexBuilder::finish`].
    pub fn refused(&self) -> Result<(), EncodeError> {
        self.body.refused()?;
        let mut all = Encoder::checking();
        all.count(self.separators_bytes, SEPARATORS_BYTES_MAX, "bytes of an index's separators");
        all.refused()
    }

    /// Returns the encoded index. Panics if [`TableIndexBuilder::refused`] would fail.
    pub fn finish(self) -> Bytes {
        let mut out = Encoder::new();
        out.varint(self.blocks).raw(self.body.as_slice());
        out.finish()
    }
}

/// An index in memory, with all separators in one allocation.
#[derive(Default)]
pub struct TableIndex {
    separators: Vec<u8>,
    /// The position at which each block's separator ends.
    ends: Vec<u32>,
    /// The position in the file at which each block begins, and at last the end of the last block's
    /// checksum.
    positions: Vec<u64>,
}

impl TableIndex {
    /// Decodes an index whose checksum has been verified; all blocks must end at or before `limit`. Fails
    /// if separators do not rise, or if a length exceeds a limit.
    pub fn decode(bytes: Bytes, limit: u64) -> Result<Self, DecodeError> {
        let count_max = bytes.len();
        let mut from = Decoder::new(bytes);
        let count = from.count(count_max, "block count")?;
        let mut index = Self { positions: vec![0], ..Self::default() };
        for block in 0..count {
            let separator = from.bytes(SEPARATOR_BYTES_MAX, "separator")?;
            let error = from.error("block place");
            let len = from.varint("block length")?;
            let begin = index.begin(block);
            let rises = block == 0 || index.separator(block - 1) < separator.as_ref();
            // Only the last block has an empty separator.
            let is_last = block + 1 == count;
            let is_sound = len <= BLOCK_BYTES_MAX
                && begin + len + CRC_BYTES <= limit
                && separator.is_empty() == is_last
                && (rises || is_last);
            if !is_sound {
                return Err(error);
            }
            index.separators.extend_from_slice(&separator);
            index.ends.push(u32::try_from(index.separators.len()).map_err(|_| error)?);
            index.positions.push(begin + len + CRC_BYTES);
        }
        from.end("end of index")?;
        index.separators.shrink_to_fit();
        index.ends.shrink_to_fit();
        index.positions.shrink_to_fit();
        Ok(index)
    }

    /// Returns the number of blocks.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the separator behind a block; empty for the last one.
    fn separator(&self, block: usize) -> &[u8] {
        let begin = block.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.separators[begin as usize..self.ends[block] as usize]
    }

    /// Returns the position of a block in the file.
    fn begin(&self, block: usize) -> u64 {
        self.positions[block]
    }

    /// Returns a block's position and length in bytes, without the checksum that follows. Panics if the
    /// table has no such block.
    pub fn place(&self, block: usize) -> (u64, u64) {
        let begin = self.begin(block);
        (begin, self.positions[block + 1] - begin - CRC_BYTES)
    }

    /// Returns the only block that may contain `key`; `None` in an empty table. Takes a number of
    /// comparisons that grows with the logarithm of the blocks.
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        let last = self.len().checked_sub(1)?;
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.separator(middle) <= key { low = middle + 1 } else { high = middle }
        }
        Some(low)
    }

    /// Returns true if `key` may be in a block; false means that a block with the key is malformed.
    pub fn admits(&self, block: usize, key: &[u8]) -> bool {
        self.find(key) == Some(block)
    }

    /// Returns an estimate of the index's memory in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.separators.len() + 4 * self.ends.len() + 8 * self.positions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_is_above_what_is_before_it() {
        let cases: [(&[u8], &[u8], &[u8]); 5] = [
            (b"abc", b"abd", b"abd"),
            (b"abc", b"b", b"b"),
            (b"a", b"abc", b"ab"),
            (b"a/999", b"b/000", b"b"),
            (b"", b"a", b"a"),
        ];
        for (last, next, expected) in cases {
            let found = separator(last, next);
            assert!(last < found && found <= next);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_key_is_looked_for_where_it_may_be() {
        let mut builder = TableIndexBuilder::default();
        for (separator, len) in [("b", 10), ("d", 20), ("", 30)] {
            builder.add(separator.as_bytes(), len);
        }
        let index = TableIndex::decode(builder.finish(), 72).unwrap();
        let found = |key: &str| index.find(key.as_bytes());
        assert_eq!([found(""), found("az"), found("b")], [Some(0), Some(0), Some(1)]);
        assert_eq!([found("d"), found("zz")], [Some(2), Some(2)]);
        assert_eq!((index.place(0), index.place(2)), ((0, 10), (38, 30)));
        assert_eq!(TableIndex::default().find(b"a"), None);
    }

    #[test]
    fn what_cannot_be_read_back_is_refused() {
        let separator = |bytes| vec![b'a'; bytes];
        let largest = BLOCK_BYTES_MAX as usize;
        for (bytes, len, is_taken) in [
            (SEPARATOR_BYTES_MAX, largest, true),
            (SEPARATOR_BYTES_MAX + 1, largest, false),
            (1, largest + 1, false),
        ] {
            let mut builder = TableIndexBuilder::default();
            builder.add(&separator(bytes), len);
            builder.add(b"", 1);
            assert_eq!(builder.refused().is_ok(), is_taken, "{bytes}, {len}");
            if is_taken {
                assert!(TableIndex::decode(builder.finish(), u64::MAX / 2).is_ok());
            }
        }
        let full = |separators_bytes| TableIndexBuilder { separators_bytes, ..Default::default() };
        assert!(full(SEPARATORS_BYTES_MAX).refused().is_ok());
        assert!(full(SEPARATORS_BYTES_MAX + 1).refused().is_err());
    }

    #[test]
    fn what_no_writer_makes_is_refused() {
        let decode = |blocks: &[(&str, usize)], limit| {
            let mut builder = TableIndexBuilder::default();
            blocks.iter().for_each(|(separator, len)| builder.add(separator.as_bytes(), *len));
            TableIndex::decode(builder.finish(), limit).is_ok()
        };
        assert!(decode(&[("b", 10), ("", 10)], 28) && decode(&[], 0));
        assert!(!decode(&[("b", 10), ("", 10)], 27), "beyond the blocks");
        assert!(!decode(&[("b", 10), ("b", 10), ("", 10)], 100), "not rising");
        assert!(!decode(&[("b", 10)], 100), "the last has one");
        assert!(!decode(&[("", 10), ("", 10)], 100), "one that is not the last has none");
    }
}
