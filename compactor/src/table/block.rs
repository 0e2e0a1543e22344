//! A table's block: keys that share beginnings, and columns of numbers.
//!
//! ```text
//!   block:  codec 1 | zeros 3 | body's length 4 | values' length 4 | values | body as stored
//!   body:   count varint | head of each column | bits of each column | rests of keys
//!   head:   least number varint | width 1
//! ```
//! Every 16th entry is a restart: its key shares a prefix with the block's first key instead of the key
//! before, so that a search can begin there. Versions and numbers are found by index, so that a walk
//! decodes only those that it needs. Values are stored apart from keys, so that compression is not tried on
//! digests.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ingest::codec::{EncodeError, Encoder};

use super::columns::{NumberColumn, NumberColumnBuilder, put_varint, take_varint, varint_bytes};
use super::{BlockForm, NUMBERS, RESTART_EVERY, STAMP_BYTES, TableValue};

const HEAD_BYTES: usize = 12;
const AS_IS: u8 = 0;
const ZSTD: u8 = 1;
/// The largest length of a block's body in bytes, before compression.
const BODY_BYTES_MAX: usize = 64 << 20;

/// The number of columns. All blocks have the first five, in the order of the constants below.
const COLUMNS: usize = FIRST_NUMBER + NUMBERS;
/// The number of bytes that a key shares with another key.
const SHARED: usize = 0;
/// The number of bytes of the key that follow the shared ones.
const UNSHARED: usize = 1;
/// The length of the value in bytes.
const LENGTH: usize = 2;
/// For each restart, the position of the key's unshared bytes, relative to the first key's.
const RESTART_REST: usize = 3;
/// For each restart, the position of its value, relative to the first value.
const RESTART_VALUE: usize = 4;
/// The version, in tables with stamped keys.
const VERSION: usize = 5;
/// The sequence minus the version, in tables with stamped keys.
const ABOVE: usize = 6;
/// The first number of a value; the others follow.
const FIRST_NUMBER: usize = 7;

impl BlockForm {
    fn columns(self) -> usize {
        if self.is_stamped { FIRST_NUMBER + self.numbers } else { VERSION }
    }

    fn stamp_bytes(self) -> usize {
        if self.is_stamped { STAMP_BYTES } else { 0 }
    }
}

/// Collects the entries of one block.
pub struct BlockBuilder {
    form: BlockForm,
    columns: [NumberColumnBuilder; COLUMNS],
    rests: BytesMut,
    values: BytesMut,
    count: usize,
    /// The first key and the last key, without version and sequence.
    first: Vec<u8>,
    last: Vec<u8>,
}

impl BlockBuilder {
    /// Makes an empty builder for blocks of a form.
    pub fn new(form: BlockForm) -> Self {
        Self {
            form,
            columns: Default::default(),
            rests: BytesMut::new(),
            values: BytesMut::new(),
            count: 0,
            first: Vec::new(),
            last: Vec::new(),
        }
    }

    /// Adds an entry. Keys must rise strictly, which the table's writer asserts.
    pub fn add(&mut self, key: &[u8], value: TableValue<'_>) {
        let (rest, mut stamp) = key.split_at(key.len() - self.form.stamp_bytes());
        let is_restart = self.count.is_multiple_of(RESTART_EVERY);
        if is_restart {
            self.columns[RESTART_REST].push(self.rests.len() as u64);
            self.columns[RESTART_VALUE].push(self.values.len() as u64);
        }
        let beside = if is_restart { &self.first } else { &self.last };
        let shared = beside.iter().zip(rest).take_while(|(a, b)| a == b).count();
        self.columns[SHARED].push(shared as u64);
        self.columns[UNSHARED].push((rest.len() - shared) as u64);
        self.columns[LENGTH].push(value.bytes.len() as u64);
        if self.form.is_stamped {
            let (version, sequence) = (!stamp.get_u64(), !stamp.get_u64());
            self.columns[VERSION].push(version);
            self.columns[ABOVE].push(sequence.wrapping_sub(version));
        }
        let numbers = value.numbers.into_iter().take(self.form.numbers);
        for (column, number) in self.columns[FIRST_NUMBER..].iter_mut().zip(numbers) {
            column.push(number);
        }
        self.rests.extend_from_slice(&rest[shared..]);
        self.values.extend_from_slice(value.bytes);
        if self.count == 0 {
            self.first = rest.to_vec();
        }
        self.last.clear();
        self.last.extend_from_slice(rest);
        self.count += 1;
    }

    /// Returns the block's length so far in bytes, before compression.
    pub fn len(&self) -> usize {
        let columns = self.columns[..self.form.columns()].iter().map(NumberColumnBuilder::len);
        HEAD_BYTES
            + varint_bytes(self.count as u64)
            + columns.sum::<usize>()
            + self.rests.len()
            + self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Fails if the block so far is longer than a reader accepts.
    pub fn refused(&self) -> Result<(), EncodeError> {
        let mut checked = Encoder::checking();
        checked.count(self.len(), BODY_BYTES_MAX, "bytes of a table's block");
        checked.refused()
    }

    /// Returns the encoded block and leaves an empty builder. Must not be called without an entry.
    pub fn finish(&mut self) -> Bytes {
        let done = std::mem::replace(self, Self::new(self.form));
        let columns = &done.columns[..done.form.columns()];
        let mut body = BytesMut::with_capacity(done.len());
        put_varint(&mut body, done.count as u64);
        columns.iter().for_each(|column| column.put_head(&mut body));
        columns.iter().for_each(|column| column.put_bits(&mut body));
        body.extend_from_slice(&done.rests);
        let packed = match done.form.is_compressed {
            true => zstd::bulk::compress(&body, 1).ok().filter(|packed| packed.len() < body.len()),
            false => None,
        };
        let mut out = BytesMut::with_capacity(HEAD_BYTES + done.values.len() + body.len());
        out.put_u8(if packed.is_some() { ZSTD } else { AS_IS });
        out.put_bytes(0, 3);
        out.put_u32_le(body.len() as u32);
        out.put_u32_le(done.values.len() as u32);
        out.put_slice(&done.values);
        out.put_slice(packed.as_deref().unwrap_or(&body));
        out.freeze()
    }
}

/// The error for a block that no writer makes although its checksum is right.
#[derive(Debug, PartialEq, Eq)]
pub struct MalformedBlock;

/// A verified and decompressed block.
#[derive(Clone)]
pub struct TableBlock {
    form: BlockForm,
    count: usize,
    columns: [NumberColumn; COLUMNS],
    body: Bytes,
    /// The position in the body at which the unshared bytes of the keys begin.
    rests_at: usize,
    values: Bytes,
}

/// The position of an entry in a block.
#[derive(Clone, Default)]
pub struct BlockPosition {
    /// The number of entries before this one.
    index: usize,
    /// The entry's whole key, assembled from the shared parts.
    pub key: Vec<u8>,
    /// The position in the body at which the next entry's unshared bytes begin.
    next: usize,
    /// The range of the entry's value among the values.
    value: Range<usize>,
}

fn decompress(bytes: &[u8], len: usize) -> Result<Bytes, MalformedBlock> {
    let raw = zstd::bulk::decompress(bytes, len).map_err(|_| MalformedBlock)?;
    if raw.len() == len { Ok(raw.into()) } else { Err(MalformedBlock) }
}

impl TableBlock {
    /// Decodes the head and the columns of a block whose checksum has been verified. Fails if lengths or
    /// counts contradict each other; entries are checked when they are read.
    pub fn new(mut bytes: Bytes, form: BlockForm) -> Result<Self, MalformedBlock> {
        if bytes.len() < HEAD_BYTES {
            return Err(MalformedBlock);
        }
        let codec = bytes.get_u8();
        bytes.advance(3);
        let body_len = bytes.get_u32_le() as usize;
        let values_len = bytes.get_u32_le() as usize;
        if values_len > bytes.len() || body_len > BODY_BYTES_MAX {
            return Err(MalformedBlock);
        }
        let values = bytes.split_to(values_len);
        let body = match codec {
            AS_IS if bytes.len() == body_len => bytes,
            ZSTD => decompress(&bytes, body_len)?,
            _ => return Err(MalformedBlock),
        };
        let mut at = 0;
        let count = take_varint(&body, &mut at)? as usize;
        // Keys differ, so each entry takes at least one bit. The bound keeps a wrong count from a large
        // allocation.
        if count == 0 || count > body.len() * 8 {
            return Err(MalformedBlock);
        }
        let mut columns = [NumberColumn::default(); COLUMNS];
        for column in &mut columns[..form.columns()] {
            *column = NumberColumn::take_head(&body, &mut at)?;
        }
        for (index, column) in columns[..form.columns()].iter_mut().enumerate() {
            let is_of_restarts = matches!(index, RESTART_REST | RESTART_VALUE);
            let count = if is_of_restarts { count.div_ceil(RESTART_EVERY) } else { count };
            column.place(&body, &mut at, count)?;
        }
        Ok(Self { form, count, columns, body, rests_at: at, values })
    }

    /// Returns the block's length in bytes, decompressed.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.body.len() + self.values.len()
    }

    fn number(&self, column: usize, index: usize) -> u64 {
        self.columns[column].get(&self.body, index)
    }

    /// Returns a number that is a length or a position in the block; fails above 32 bits.
    fn extent(&self, column: usize, index: usize) -> Result<usize, MalformedBlock> {
        let number = self.number(column, index);
        u32::try_from(number).map(|number| number as usize).map_err(|_| MalformedBlock)
    }

    /// Returns the value of the entry at a position, which must come from this block.
    pub fn value<'a>(&'a self, place: &BlockPosition) -> TableValue<'a> {
        let mut numbers = [0; NUMBERS];
        for (of_value, number) in numbers[..self.form.numbers].iter_mut().enumerate() {
            *number = self.number(FIRST_NUMBER + of_value, place.index);
        }
        TableValue { numbers, bytes: self.bytes(place) }
    }

    /// Returns the value's bytes of the entry at a position, without the numbers.
    pub fn bytes(&self, place: &BlockPosition) -> &[u8] {
        &self.values[place.value.clone()]
    }

    /// Returns the value's bytes as a reference to the block's memory, which stays allocated as long as
    /// they are held.
    pub fn value_bytes(&self, place: &BlockPosition) -> Bytes {
        self.values.slice(place.value.clone())
    }

    /// Returns the first key without version and sequence, with which restarts share a prefix.
    fn first_key(&self) -> Result<&[u8], MalformedBlock> {
        let end = self.rests_at + self.extent(UNSHARED, 0)?;
        self.body.get(self.rests_at..end).ok_or(MalformedBlock)
    }

    /// Reads the entry at an index whose key and value bytes begin at the given positions. The entry must
    /// be a restart or follow the entry at `place`.
    fn entry(
        &self,
        index: usize,
        (rest, value): (usize, usize),
        place: &mut BlockPosition,
    ) -> Result<(), MalformedBlock> {
        let shared = self.extent(SHARED, index)?;
        let end = rest + self.extent(UNSHARED, index)?;
        let value = value..value + self.extent(LENGTH, index)?;
        let rest = self.body.get(rest..end).ok_or(MalformedBlock)?;
        if value.end > self.values.len() {
            return Err(MalformedBlock);
        }
        if index == 0 {
            place.key.clear();
            if shared > 0 {
                return Err(MalformedBlock);
            }
        } else if index.is_multiple_of(RESTART_EVERY) {
            place.key.clear();
            place.key.extend_from_slice(self.first_key()?.get(..shared).ok_or(MalformedBlock)?);
        } else if shared + self.form.stamp_bytes() <= place.key.len() {
            place.key.truncate(shared);
        } else {
            return Err(MalformedBlock);
        }
        place.key.extend_from_slice(rest);
        if self.form.is_stamped {
            let version = self.number(VERSION, index);
            let sequence = version.wrapping_add(self.number(ABOVE, index));
            let stamp = u128::from(!version) << u64::BITS | u128::from(!sequence);
            place.key.extend_from_slice(&stamp.to_be_bytes());
        }
        (place.index, place.next, place.value) = (index, end, value);
        Ok(())
    }

    /// Returns the positions at which a restart's key and value bytes begin.
    fn restart_at(&self, restart: usize) -> Result<(usize, usize), MalformedBlock> {
        let rest = self.rests_at + self.extent(RESTART_REST, restart)?;
        Ok((rest, self.extent(RESTART_VALUE, restart)?))
    }

    /// Moves to a restart.
    fn restart(&self, restart: usize, place: &mut BlockPosition) -> Result<(), MalformedBlock> {
        self.entry(restart * RESTART_EVERY, self.restart_at(restart)?, place)
    }

    /// Returns the position of the first entry; every block has one. Fails if the entry is malformed.
    pub fn first(&self) -> Result<BlockPosition, MalformedBlock> {
        let mut place = BlockPosition::default();
        self.entry(0, (self.rests_at, 0), &mut place)?;
        Ok(place)
    }

    /// Moves to the next entry in key order; returns false at the end of the block. Fails if an entry is
    /// malformed, or if bytes are left behind the last one.
    pub fn advance(&self, place: &mut BlockPosition) -> Result<bool, MalformedBlock> {
        let (index, at) = (place.index + 1, (place.next, place.value.end));
        if index == self.count {
            let is_all = at == (self.body.len(), self.values.len());
            return if is_all { Ok(false) } else { Err(MalformedBlock) };
        }
        // A walk must find the same entries as a search that begins at the restart.
        if index.is_multiple_of(RESTART_EVERY) && at != self.restart_at(index / RESTART_EVERY)? {
            return Err(MalformedBlock);
        }
        self.entry(index, at, place)?;
        Ok(true)
    }

    /// Returns the position of the first entry at or above `target`; `None` if all keys are below. Fails if
    /// an entry on the way is malformed.
    pub fn seek(&self, target: &[u8]) -> Result<Option<BlockPosition>, MalformedBlock> {
        // Finds the last restart whose key is below the target; the entry is at or after that restart.
        let (mut low, mut high) = (0, self.count.div_ceil(RESTART_EVERY));
        let mut place = BlockPosition::default();
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            self.restart(middle, &mut place)?;
            if place.key.as_slice() < target { low = middle } else { high = middle }
        }
        self.restart(low, &mut place)?;
        while place.key.as_slice() < target {
            if !self.advance(&mut place)? {
                return Ok(None);
            }
        }
        Ok(Some(place))
    }
}
