//! Columns of numbers in few bits: each number is stored as its difference from the column's least number,
//! in as many bits as the largest difference needs.
//!
//! The method is known as *frame of reference* (Goldstein, Ramakrishnan, Shaft: Compressing Relations and
//! Indexes, 1998). Any number is found by its index alone, so a search can jump; a column of equal numbers
//! takes no bits.

use bytes::{BufMut, BytesMut};

use super::block::MalformedBlock;

/// Collects the numbers of a column.
#[derive(Default)]
pub struct NumberColumnBuilder {
    numbers: Vec<u64>,
    /// The least and the largest number; undefined while there are none.
    min: u64,
    max: u64,
}

/// Returns the number of bits that a number needs; 0 for 0.
fn bits_of(largest: u64) -> u32 {
    u64::BITS - largest.leading_zeros()
}

impl NumberColumnBuilder {
    /// Appends a number.
    pub fn push(&mut self, number: u64) {
        (self.min, self.max) = match self.numbers.is_empty() {
            true => (number, number),
            false => (self.min.min(number), self.max.max(number)),
        };
        self.numbers.push(number);
    }

    /// Returns the bits of each number.
    fn width(&self) -> u32 {
        bits_of(self.max - self.min)
    }

    /// Returns the column's length so far in bytes, head included.
    pub fn len(&self) -> usize {
        1 + varint_bytes(self.min) + (self.numbers.len() * self.width() as usize).div_ceil(8)
    }

    /// Appends the head: the least number as a varint, and the width in bits as one byte.
    pub fn put_head(&self, out: &mut BytesMut) {
        put_varint(out, self.min);
        out.put_u8(self.width() as u8);
    }

    /// Appends the differences, low bits first; the last byte is filled with zero bits.
    pub fn put_bits(&self, out: &mut BytesMut) {
        let (mut held, mut bits) = (0u128, 0);
        for number in &self.numbers {
            held |= u128::from(number - self.min) << bits;
            bits += self.width();
            while bits >= 8 {
                out.put_u8(held as u8);
                held >>= 8;
                bits -= 8;
            }
        }
        if bits > 0 {
            out.put_u8(held as u8);
        }
    }
}

/// A column to read from. The bytes are passed to each call, because a block owns them.
#[derive(Clone, Copy, Default)]
pub struct NumberColumn {
    min: u64,
    width: u32,
    /// The position in bytes at which the column's bits begin.
    start: usize,
}

impl NumberColumn {
    /// Decodes the head at position `at` and moves `at` behind it. Fails if the head is incomplete, or the
    /// width is above 64 bits.
    pub fn take_head(bytes: &[u8], at: &mut usize) -> Result<Self, MalformedBlock> {
        let min = take_varint(bytes, at)?;
        let width = u32::from(*bytes.get(*at).ok_or(MalformedBlock)?);
        *at += 1;
        if width > u64::BITS {
            return Err(MalformedBlock);
        }
        Ok(Self { min, width, start: 0 })
    }

    /// Sets the position of the bits of `count` numbers, which begin at `at`, and moves `at` behind them.
    /// Fails if they do not lie within `bytes`. Must be called before [`NumberColumn::get`].
    pub fn place(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        count: usize,
    ) -> Result<(), MalformedBlock> {
        self.start = *at;
        let len = count.checked_mul(self.width as usize).ok_or(MalformedBlock)?.div_ceil(8);
        *at = at.checked_add(len).filter(|end| *end <= bytes.len()).ok_or(MalformedBlock)?;
        Ok(())
    }

    /// Returns the number at an index. `bytes` must be those that were passed to [`NumberColumn::place`],
    /// and the index must be below its count; otherwise the call may panic.
    pub fn get(&self, bytes: &[u8], index: usize) -> u64 {
        if self.width == 0 {
            return self.min;
        }
        let bit = index * self.width as usize;
        let from = &bytes[self.start + bit / 8..];
        let shift = (bit % 8) as u32;
        let held = match from.first_chunk::<8>() {
            // Most numbers lie within eight bytes; only a number that crosses them, or the end, takes the
            // slow way.
            Some(eight) if shift + self.width <= u64::BITS => u64::from_le_bytes(*eight) >> shift,
            _ => {
                let mut wide = [0; 16];
                let len = from.len().min(wide.len());
                wide[..len].copy_from_slice(&from[..len]);
                (u128::from_le_bytes(wide) >> shift) as u64
            }
        };
        self.min.wrapping_add(held & (u64::MAX >> (u64::BITS - self.width)))
    }
}

/// Appends a number in 1 to 10 bytes, seven bits each, low bits first.
pub fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// Returns the number of bytes that [`put_varint`] appends for a number, from 1 to 10.
pub fn varint_bytes(number: u64) -> usize {
    (bits_of(number).max(1) as usize).div_ceil(7)
}

/// Decodes a number that [`put_varint`] has encoded, and moves `at` behind it. Fails if the bytes end
/// before the number does, or after ten bytes.
pub fn take_varint(bytes: &[u8], at: &mut usize) -> Result<u64, MalformedBlock> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or(MalformedBlock)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(MalformedBlock)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back_from_their_places(
            narrow in proptest::collection::vec(any::<u64>(), 0..50),
            shift in 0u32..64,
            base: u64,
        ) {
            let numbers: Vec<u64> =
                narrow.into_iter().map(|number| base.saturating_add(number >> shift)).collect();
            let mut builder = NumberColumnBuilder::default();
            numbers.iter().for_each(|number| builder.push(*number));
            let mut out = BytesMut::new();
            builder.put_head(&mut out);
            builder.put_bits(&mut out);
            prop_assert_eq!(out.len(), builder.len());
            let mut at = 0;
            let mut column = NumberColumn::take_head(&out, &mut at).unwrap();
            column.place(&out, &mut at, numbers.len()).unwrap();
            prop_assert_eq!(at, out.len());
            let found: Vec<u64> = (0..numbers.len()).map(|i| column.get(&out, i)).collect();
            prop_assert_eq!(found, numbers);
        }
    }

    #[test]
    fn equal_numbers_take_no_bits() {
        let mut builder = NumberColumnBuilder::default();
        (0..1000).for_each(|_| builder.push(300));
        assert_eq!(builder.len(), 3);
    }
}
