//! A table's block: entries with shared key prefixes, and restart points to search from.
//!
//! ```text
//!   entry*:  shared varint | unshared varint | value length varint | key suffix | value
//!   restarts: position u32 each | count u32
//! ```
//! Every 16th entry is a restart: it shares nothing, so a search can begin there.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::RESTART_EVERY;

/// Gathers a block's entries.
#[derive(Default)]
pub struct BlockBuilder {
    bytes: BytesMut,
    restarts: Vec<u32>,
    count: usize,
    last: Vec<u8>,
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

impl BlockBuilder {
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        let shared = if self.count.is_multiple_of(RESTART_EVERY) {
            self.restarts.push(self.bytes.len() as u32);
            0
        } else {
            self.last.iter().zip(key).take_while(|(a, b)| a == b).count()
        };
        put_varint(&mut self.bytes, shared);
        put_varint(&mut self.bytes, key.len() - shared);
        put_varint(&mut self.bytes, value.len());
        self.bytes.extend_from_slice(&key[shared..]);
        self.bytes.extend_from_slice(value);
        self.last.clear();
        self.last.extend_from_slice(key);
        self.count += 1;
    }

    pub fn len(&self) -> usize {
        self.bytes.len() + 4 * self.restarts.len() + 4
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn finish(&mut self) -> Bytes {
        let mut bytes = std::mem::take(&mut self.bytes);
        for restart in &self.restarts {
            bytes.put_u32_le(*restart);
        }
        bytes.put_u32_le(self.restarts.len() as u32);
        self.restarts.clear();
        self.last.clear();
        self.count = 0;
        bytes.freeze()
    }
}

/// A block's form is not what a writer makes, although its checksum fits.
#[derive(Debug)]
pub struct Malformed;

/// A verified block to walk through.
#[derive(Clone)]
pub struct Block {
    entries: Bytes,
    restarts: Bytes,
}

/// A place in a block.
#[derive(Clone, Default)]
pub struct Place {
    /// Where the entry after this one begins.
    next: usize,
    /// The entry's key, put together from the shared parts.
    pub key: Vec<u8>,
    /// Where the entry's value stands in the block.
    value: Range<usize>,
}

impl Block {
    pub fn new(bytes: Bytes) -> Result<Self, Malformed> {
        let count_at = bytes.len().checked_sub(4).ok_or(Malformed)?;
        let count = (&bytes[count_at..]).get_u32_le() as usize;
        let restarts_at =
            count.checked_mul(4).and_then(|len| count_at.checked_sub(len)).ok_or(Malformed)?;
        if count == 0 {
            return Err(Malformed);
        }
        Ok(Self {
            entries: bytes.slice(..restarts_at),
            restarts: bytes.slice(restarts_at..count_at),
        })
    }

    /// The value of the entry at a place.
    pub fn value(&self, place: &Place) -> &[u8] {
        &self.entries[place.value.clone()]
    }

    /// The same, to keep.
    pub fn value_bytes(&self, place: &Place) -> Bytes {
        self.entries.slice(place.value.clone())
    }

    fn restart(&self, index: usize) -> usize {
        (&self.restarts[4 * index..]).get_u32_le() as usize
    }

    fn varint(&self, at: &mut usize) -> Result<usize, Malformed> {
        let mut value = 0usize;
        for shift in (0..28).step_by(7) {
            let byte = *self.entries.get(*at).ok_or(Malformed)?;
            *at += 1;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// Reads the entry at `at`, which follows the one that `place` stands at.
    fn entry(&self, at: usize, place: &mut Place) -> Result<(), Malformed> {
        let mut at = at;
        let shared = self.varint(&mut at)?;
        let unshared = self.varint(&mut at)?;
        let value = self.varint(&mut at)?;
        let value_at = at.checked_add(unshared).ok_or(Malformed)?;
        let end = value_at.checked_add(value).ok_or(Malformed)?;
        if shared > place.key.len() || end > self.entries.len() {
            return Err(Malformed);
        }
        place.key.truncate(shared);
        place.key.extend_from_slice(&self.entries[at..value_at]);
        place.value = value_at..end;
        place.next = end;
        Ok(())
    }

    /// The first entry; every block has one.
    pub fn first(&self) -> Result<Place, Malformed> {
        let mut place = Place::default();
        self.entry(0, &mut place)?;
        Ok(place)
    }

    /// Goes to the next entry; `false` at the end of the block.
    pub fn advance(&self, place: &mut Place) -> Result<bool, Malformed> {
        if place.next == self.entries.len() {
            return Ok(false);
        }
        self.entry(place.next, place)?;
        Ok(true)
    }

    /// The first entry at or above `target`; none when all are below.
    pub fn seek(&self, target: &[u8]) -> Result<Option<Place>, Malformed> {
        // Find the last restart whose key is below the target; the entry sought is at or after it.
        let (mut low, mut high) = (0, self.restarts.len() / 4);
        let mut place = Place::default();
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            self.entry(self.restart(middle), &mut place)?;
            if place.key.as_slice() < target { low = middle } else { high = middle }
        }
        self.entry(self.restart(low), &mut place)?;
        while place.key.as_slice() < target {
            if !self.advance(&mut place)? {
                return Ok(None);
            }
        }
        Ok(Some(place))
    }
}
