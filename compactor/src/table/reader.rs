//! Reads a table: filter and index from memory, blocks from the file, each verified before it is used.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use ingest::codec::{DecodeError, Decoder};
use ingest::env::{Disk, File, FilePath};
use ingest::log::ReadError;

use super::block::{Block, Malformed, Place};
use super::filter::Filter;
use super::{FOOTER_BYTES, MAGIC, Section, TableKind, checksum};
use crate::sealed::{self, FileDigest};

struct BlockPlace {
    /// The block's largest key.
    last: Bytes,
    position: u64,
    len: u32,
}

/// An open table.
pub struct Table {
    file: Arc<dyn File>,
    kind: TableKind,
    id: u64,
    entries: u64,
    filter: Filter,
    index: Vec<BlockPlace>,
}

/// Longest key and block that an index may name, in bytes.
const KEY_BYTES_MAX: usize = 1 << 16;
const BLOCK_BYTES_MAX: u64 = 64 << 20;

impl Table {
    /// Opens a table and verifies its footer, filter and index.
    pub async fn open(
        disk: &Arc<dyn Disk>,
        path: &FilePath,
        kind: TableKind,
        id: u64,
        digest: &FileDigest,
    ) -> Result<Arc<Self>, ReadError> {
        let file = sealed::open(disk, path, digest.len).await?;
        let Some(footer_at) = digest.len.checked_sub(FOOTER_BYTES as u64) else {
            return Err(sealed::corruption(path, 0, "the file is too short for a table"));
        };
        let bytes = sealed::read(&file, footer_at, FOOTER_BYTES).await?;
        let (body, crc) = bytes.split_at(FOOTER_BYTES - 4);
        let crc = u32::from_le_bytes(*crc.first_chunk().expect("four bytes"));
        let computed = checksum(Section::Footer, kind, id, footer_at, body);
        if body[..8] != *MAGIC || crc != computed {
            let detail = format!("footer checksum {crc:08x}, computed {computed:08x}");
            return Err(sealed::corruption(path, footer_at, detail));
        }
        let mut from = &body[24..];
        let entries = from.get_u64_le();
        let filter = (from.get_u64_le(), from.get_u64_le());
        let index = (from.get_u64_le(), from.get_u64_le());
        let mut table = Self { file, kind, id, entries, filter: Filter::Absent, index: Vec::new() };
        let undecodable =
            |at: u64| move |error: DecodeError| sealed::corruption(path, at, error.to_string());
        let bytes = table.section(Section::Filter, filter, footer_at).await?;
        table.filter = Filter::decode(bytes).map_err(undecodable(filter.0))?;
        let bytes = table.section(Section::Index, index, footer_at).await?;
        table.index = decode_index(bytes, filter.0).map_err(undecodable(index.0))?;
        Ok(Arc::new(table))
    }

    /// Reads a section and its checksum; all sections end at or before `limit`.
    async fn section(
        &self,
        section: Section,
        (position, len): (u64, u64),
        limit: u64,
    ) -> Result<Bytes, ReadError> {
        let path = self.file.path();
        if position.checked_add(len).and_then(|end| end.checked_add(4)).is_none_or(|e| e > limit) {
            return Err(sealed::corruption(path, position, "a section ends beyond the file"));
        }
        let mut bytes = sealed::read(&self.file, position, len as usize + 4).await?;
        let crc = bytes.split_off(len as usize).get_u32_le();
        let computed = checksum(section, self.kind, self.id, position, &bytes);
        if crc != computed {
            let detail = format!("block checksum {crc:08x}, computed {computed:08x}");
            return Err(sealed::corruption(path, position, detail));
        }
        Ok(bytes)
    }

    async fn block(&self, index: usize) -> Result<Block, ReadError> {
        let place = &self.index[index];
        let bounds = (place.position, u64::from(place.len));
        let bytes = self.section(Section::Block, bounds, u64::MAX).await?;
        Block::new(bytes).map_err(|Malformed| self.malformed(place.position))
    }

    fn malformed(&self, position: u64) -> ReadError {
        sealed::corruption(self.file.path(), position, "a block is malformed")
    }

    /// How many entries it has.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Whether an entry that was added with this hash may be there; `false` is certain.
    pub fn may_contain(&self, hash: u64) -> bool {
        self.filter.may_contain(hash)
    }

    /// About how much memory it takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let index: usize = self.index.iter().map(|place| place.last.len() + 48).sum();
        index + self.filter.memory_bytes()
    }

    /// Makes a cursor that stands nowhere until it seeks.
    pub fn cursor(self: &Arc<Self>) -> TableCursor {
        TableCursor { table: self.clone(), block: None }
    }

    /// Reads every block, for `fsck`; gives each fault that it finds.
    pub async fn verify(self: &Arc<Self>) -> Vec<ReadError> {
        let mut faults = Vec::new();
        let mut entries = 0;
        let mut last: Option<Bytes> = None;
        for index in 0..self.index.len() {
            match self.verify_block(index, &mut last).await {
                Ok(count) => entries += count,
                Err(error) => faults.push(error),
            }
        }
        if faults.is_empty() && entries != self.entries {
            let detail = format!("{entries} entries found, the footer says {}", self.entries);
            faults.push(sealed::corruption(self.file.path(), 0, detail));
        }
        faults
    }

    async fn verify_block(&self, index: usize, last: &mut Option<Bytes>) -> Result<u64, ReadError> {
        let block = self.block(index).await?;
        let malformed = |Malformed| self.malformed(self.index[index].position);
        let mut place = block.first().map_err(malformed)?;
        let mut count = 0;
        loop {
            count += 1;
            let key = Bytes::copy_from_slice(&place.key);
            if last.as_ref().is_some_and(|last| *last >= key) {
                return Err(self.malformed(self.index[index].position));
            }
            *last = Some(key);
            if !block.advance(&mut place).map_err(malformed)? {
                break;
            }
        }
        if last.as_ref() != Some(&self.index[index].last) {
            return Err(self.malformed(self.index[index].position));
        }
        Ok(count)
    }
}

fn decode_index(bytes: Bytes, limit: u64) -> Result<Vec<BlockPlace>, DecodeError> {
    let count_max = bytes.len();
    let mut from = Decoder::new(bytes);
    let count = from.count(count_max, "block count")?;
    let mut index: Vec<BlockPlace> = Vec::with_capacity(count);
    for _ in 0..count {
        let last = from.bytes(KEY_BYTES_MAX, "separator")?;
        let position = from.varint("block position")?;
        let error = from.error("block place");
        let len = from.varint("block length")?;
        let is_sound = len <= BLOCK_BYTES_MAX
            && position.checked_add(len).is_some_and(|end| end <= limit)
            && index.last().is_none_or(|before| before.last < last);
        if !is_sound {
            return Err(error);
        }
        // Keys are copied out, so that the index does not hold the whole section's memory twice.
        index.push(BlockPlace { last: Bytes::copy_from_slice(&last), position, len: len as u32 });
    }
    from.end("end of index")?;
    Ok(index)
}

/// Walks through a table in order.
pub struct TableCursor {
    table: Arc<Table>,
    block: Option<Standing>,
}

struct Standing {
    index: usize,
    block: Block,
    place: Place,
}

impl TableCursor {
    /// The current entry's key; none before a seek and after the end.
    pub fn key(&self) -> Option<Bytes> {
        self.block.as_ref().map(|standing| Bytes::copy_from_slice(&standing.place.key))
    }

    /// The current entry's value.
    pub fn value(&self) -> Option<Bytes> {
        self.block.as_ref().map(|standing| standing.place.value.clone())
    }

    /// Where the current block begins in the file, in bytes; for error messages.
    pub fn position(&self) -> u64 {
        self.block.as_ref().map_or(0, |standing| self.table.index[standing.index].position)
    }

    /// Goes to the first entry at or above `target`, forward or backward.
    pub async fn seek(&mut self, target: &[u8]) -> Result<(), ReadError> {
        let index = self.table.index.partition_point(|place| place.last.as_ref() < target);
        if index == self.table.index.len() {
            self.block = None;
            return Ok(());
        }
        let block = match self.block.take() {
            Some(standing) if standing.index == index => standing.block,
            _ => self.table.block(index).await?,
        };
        let malformed = |Malformed| self.table.malformed(self.table.index[index].position);
        let found = block.seek(target).map_err(malformed)?;
        // The index says that the block's last key is not below the target.
        let place = found.ok_or_else(|| malformed(Malformed))?;
        self.block = Some(Standing { index, block, place });
        Ok(())
    }

    /// Goes to the next entry.
    pub async fn advance(&mut self) -> Result<(), ReadError> {
        let Some(standing) = &mut self.block else { return Ok(()) };
        let index = standing.index;
        let malformed = |Malformed| self.table.malformed(self.table.index[index].position);
        if standing.block.advance(&mut standing.place).map_err(malformed)? {
            return Ok(());
        }
        self.block = None;
        if index + 1 < self.table.index.len() {
            let block = self.table.block(index + 1).await?;
            let place = block
                .first()
                .map_err(|Malformed| self.table.malformed(self.table.index[index + 1].position))?;
            self.block = Some(Standing { index: index + 1, block, place });
        }
        Ok(())
    }
}
