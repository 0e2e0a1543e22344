//! Reads a table: filter and index from memory, blocks from the file; each block is verified before use.

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

/// An open table. Filter and index are in memory.
pub struct Table {
    file: Arc<dyn File>,
    kind: TableKind,
    id: u64,
    entries: u64,
    filter: KeyFilter,
    index: TableIndex,
}

impl Table {
    /// Opens a table: reads and verifies the footer, the filter and the index.
    ///
    /// Fails with corruption, confirmed by a second read, if the file is missing, has another length, kind,
    /// id or format version, or if a checksum is wrong.
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
        // The sections are read through the table itself, which begins without filter and index.
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

    /// Reads a section and verifies its checksum. A section that does not end at or before `limit` is
    /// corruption.
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

    /// Reads a block, a second time if it is damaged.
    async fn block(&self, index: usize) -> Result<TableBlock, ReadError> {
        confirm(move || self.block_once(index)).await
    }

    async fn block_once(&self, index: usize) -> Result<TableBlock, ReadError> {
        let place = self.index.place(index);
        let bytes = self.section(TableSection::Block, place, u64::MAX).await?;
        TableBlock::new(bytes, self.kind.form()).map_err(|MalformedBlock| self.malformed(place.0))
    }

    /// Makes the error for a block that no writer makes.
    fn malformed(&self, position: u64) -> ReadError {
        sealed::corruption(self.file.path(), position, "a block is malformed")
    }

    fn malformed_block(&self, index: usize) -> ReadError {
        self.malformed(self.index.place(index).0)
    }

    /// Returns the number of entries that the footer states.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Returns true if an entry that was added with this hash may be present; false is certain. Reads
    /// nothing from the disk.
    pub fn may_contain(&self, hash: u64) -> bool {
        self.filter.may_contain(hash)
    }

    /// Returns an estimate of the memory of index and filter in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.index.memory_bytes() + self.filter.memory_bytes()
    }

    /// Makes a cursor, which has no position before its first seek.
    pub fn cursor(self: &Arc<Self>) -> TableCursor {
        TableCursor { table: self.clone(), block: None }
    }

    /// Reads every block and checks the order of keys and the count of entries, for `fsck`; returns one
    /// error for each faulty block. A fault does not end the check.
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

    /// Checks the keys of one block against the index and against the last key before; returns the number
    /// of entries.
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

/// Reads a table's entries in ascending order of their keys. Holds one block in memory.
pub struct TableCursor {
    table: Arc<Table>,
    block: Option<Box<TablePosition>>,
}

/// The current block and the position in it.
struct TablePosition {
    index: usize,
    block: TableBlock,
    place: BlockPosition,
}

impl TableCursor {
    /// Returns the current entry's key; `None` before a seek, at the end and after an error.
    pub fn key(&self) -> Option<&[u8]> {
        self.block.as_ref().map(|standing| standing.place.key.as_slice())
    }

    /// Returns the current entry's value; `None` where [`TableCursor::key`] is.
    pub fn value(&self) -> Option<TableValue<'_>> {
        self.block.as_ref().map(|standing| standing.block.value(&standing.place))
    }

    /// Returns the bytes of the current entry's value without decoding the numbers; `None` where
    /// [`TableCursor::key`] is.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.block.as_ref().map(|standing| standing.block.bytes(&standing.place))
    }

    /// Returns the bytes of the current entry's value as a reference to the block's memory; `None` where
    /// [`TableCursor::key`] is.
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.block.as_ref().map(|standing| standing.block.value_bytes(&standing.place))
    }

    /// Returns the position in the file at which the current block begins, in bytes, for error messages; 0
    /// without a position.
    pub fn position(&self) -> u64 {
        self.block.as_ref().map_or(0, |standing| self.table.index.place(standing.index).0)
    }

    /// Moves to the first entry at or above `target`, forward or backward; to the end if there is none.
    /// Reads at most two blocks. Fails if a block is damaged or cannot be read; the cursor then has no
    /// position.
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
            // All keys of the block are below the target, so the next block begins above it.
            None => self.begin(index + 1).await?,
        }
        Ok(())
    }

    /// Moves to the first entry of a block; to the end if there is no such block.
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

    /// Moves to the next entry of the same block without reading the file. Returns false at the end of the
    /// block, where the caller must use [`TableCursor::advance`]; returns true without a position.
    pub fn advance_within(&mut self) -> Result<bool, ReadError> {
        let Some(standing) = &mut self.block else { return Ok(true) };
        let advanced = standing.block.advance(&mut standing.place);
        advanced.map_err(|MalformedBlock| self.table.malformed(self.position()))
    }

    /// Moves to the next entry in key order, and to the end behind the last one; does nothing there. Reads
    /// the next block where the current one ends. Fails if a block is damaged or cannot be read.
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
