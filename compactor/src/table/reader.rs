//! Reads a table: filter and index from memory, blocks from the file, each verified before it is used.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use ingest::codec::DecodeError;
use ingest::env::{Disk, File, FilePath};
use ingest::log::{ReadError, confirm};

use super::block::{BlockPosition, MalformedBlock, TableBlock};
use super::filter::KeyFilter;
use super::index::TableIndex;
use super::{FOOTER_BYTES, MAGIC, TableKind, TableSection, TableValue, checksum};
use crate::sealed::{self, FileDigest};

/// An open table.
pub struct Table {
    file: Arc<dyn File>,
    kind: TableKind,
    id: u64,
    entries: u64,
    filter: KeyFilter,
    index: TableIndex,
}

impl Table {
    /// Opens a table and verifies its footer, filter and index.
    pub async fn open(
        disk: &Arc<dyn Disk>,
        path: &FilePath,
        kind: TableKind,
        id: u64,
        digest: &FileDigest,
    ) -> Result<Arc<Self>, ReadError> {
        confirm(move || Self::open_once(disk, path, kind, id, digest)).await
    }

    async fn open_once(
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
        let computed = checksum(TableSection::Footer, kind, id, footer_at, body);
        if body[..8] != *MAGIC && crc == computed {
            let magic = String::from_utf8_lossy(&body[..8]);
            let detail = format!("a table of another version, {magic}, and not SILTTBL3");
            return Err(sealed::corruption(path, footer_at, detail));
        }
        if crc != computed {
            let detail = format!("footer checksum {crc:08x}, computed {computed:08x}");
            return Err(sealed::corruption(path, footer_at, detail));
        }
        let mut from = &body[24..];
        let entries = from.get_u64_le();
        let filter = (from.get_u64_le(), from.get_u64_le());
        let index = (from.get_u64_le(), from.get_u64_le());
        let (filter_held, index_held) = (KeyFilter::Absent, TableIndex::default());
        let mut table = Self { file, kind, id, entries, filter: filter_held, index: index_held };
        let undecodable =
            |at: u64| move |error: DecodeError| sealed::corruption(path, at, error.to_string());
        let bytes = table.section(TableSection::Filter, filter, footer_at).await?;
        table.filter = KeyFilter::decode(bytes).map_err(undecodable(filter.0))?;
        let bytes = table.section(TableSection::Index, index, footer_at).await?;
        table.index = TableIndex::decode(bytes, filter.0).map_err(undecodable(index.0))?;
        Ok(Arc::new(table))
    }

    /// Reads a section and its checksum; all sections end at or before `limit`.
    async fn section(
        &self,
        section: TableSection,
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

    async fn block(&self, index: usize) -> Result<TableBlock, ReadError> {
        confirm(move || self.block_once(index)).await
    }

    async fn block_once(&self, index: usize) -> Result<TableBlock, ReadError> {
        let place = self.index.place(index);
        let bytes = self.section(TableSection::Block, place, u64::MAX).await?;
        TableBlock::new(bytes, self.kind.form()).map_err(|MalformedBlock| self.malformed(place.0))
    }

    fn malformed(&self, position: u64) -> ReadError {
        sealed::corruption(self.file.path(), position, "a block is malformed")
    }

    fn malformed_block(&self, index: usize) -> ReadError {
        self.malformed(self.index.place(index).0)
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
        self.index.memory_bytes() + self.filter.memory_bytes()
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
        let malformed = |MalformedBlock| self.malformed_block(index);
        let mut place = block.first().map_err(malformed)?;
        let mut count = 0;
        loop {
            count += 1;
            let key = Bytes::copy_from_slice(&place.key);
            let rises = last.as_ref().is_none_or(|last| *last < key);
            if !rises || !self.index.admits(index, &key) {
                return Err(self.malformed_block(index));
            }
            *last = Some(key);
            if !block.advance(&mut place).map_err(malformed)? {
                return Ok(count);
            }
        }
    }
}

/// Walks through a table in order.
pub struct TableCursor {
    table: Arc<Table>,
    block: Option<Box<TablePosition>>,
}

struct TablePosition {
    index: usize,
    block: TableBlock,
    place: BlockPosition,
}

impl TableCursor {
    /// The current entry's key; none before a seek and after the end.
    pub fn key(&self) -> Option<&[u8]> {
        self.block.as_ref().map(|standing| standing.place.key.as_slice())
    }

    /// The current entry's value.
    pub fn value(&self) -> Option<TableValue<'_>> {
        self.block.as_ref().map(|standing| standing.block.value(&standing.place))
    }

    /// The bytes of the current entry's value.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.block.as_ref().map(|standing| standing.block.bytes(&standing.place))
    }

    /// The bytes of the current entry's value, to keep.
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.block.as_ref().map(|standing| standing.block.value_bytes(&standing.place))
    }

    /// Where the current block begins in the file, in bytes; for error messages.
    pub fn position(&self) -> u64 {
        self.block.as_ref().map_or(0, |standing| self.table.index.place(standing.index).0)
    }

    /// Goes to the first entry at or above `target`, forward or backward.
    pub async fn seek(&mut self, target: &[u8]) -> Result<(), ReadError> {
        let Some(index) = self.table.index.find(target) else { return Ok(()) };
        let mut standing = match self.block.take() {
            Some(standing) if standing.index == index => standing,
            _ => {
                let block = self.table.block(index).await?;
                Box::new(TablePosition { index, block, place: BlockPosition::default() })
            }
        };
        let found = standing.block.seek(target);
        match found.map_err(|MalformedBlock| self.table.malformed_block(index))? {
            Some(place) => {
                standing.place = place;
                self.block = Some(standing);
            }
            // All of the block is below: the target falls between it and the next.
            None => self.begin(index + 1).await?,
        }
        Ok(())
    }

    /// Goes to the first entry of a block; to the end when there is no such block.
    async fn begin(&mut self, index: usize) -> Result<(), ReadError> {
        self.block = None;
        if index < self.table.index.len() {
            let block = self.table.block(index).await?;
            let place =
                block.first().map_err(|MalformedBlock| self.table.malformed_block(index))?;
            self.block = Some(Box::new(TablePosition { index, block, place }));
        }
        Ok(())
    }

    /// Goes to the next entry of the same block, without waiting for anything; `false` when that is not
    /// all there is to do and [`TableCursor::advance`] must be asked.
    pub fn advance_within(&mut self) -> Result<bool, ReadError> {
        let Some(standing) = &mut self.block else { return Ok(true) };
        let advanced = standing.block.advance(&mut standing.place);
        advanced.map_err(|MalformedBlock| self.table.malformed(self.position()))
    }

    /// Goes to the next entry.
    pub async fn advance(&mut self) -> Result<(), ReadError> {
        if self.advance_within()? {
            return Ok(());
        }
        match &self.block {
            Some(standing) => self.begin(standing.index + 1).await,
            None => Ok(()),
        }
    }
}
