//! Writes a table from keys in ascending order.

use std::sync::Arc;

use ingest::codec::{EncodeError, Encoder};
use ingest::env::{Disk, FilePath};

use super::block::BlockBuilder;
use super::filter::KeyFilter;
use super::index::{TableIndexBuilder, separator};
use super::{BLOCK_BYTES, FOOTER_BYTES, MAGIC, TableKind, TableSection, TableValue, checksum};
use crate::sealed::{FileDigest, SealError, SealedWriter};

/// Writes a table. Memory: one block, the index (one separator for each block), and 8 bytes for each
/// distinct hash.
pub struct TableWriter {
    file: SealedWriter,
    kind: TableKind,
    id: u64,
    block: BlockBuilder,
    index: TableIndexBuilder,
    hashes: Vec<u64>,
    entries: u64,
    last: Vec<u8>,
}

impl TableWriter {
    /// Creates the file. Fails if it exists already, or the disk fails.
    pub async fn create(
        disk: &Arc<dyn Disk>,
        path: &FilePath,
        kind: TableKind,
        id: u64,
    ) -> Result<Self, SealError> {
        Ok(Self {
            file: SealedWriter::create(disk, path).await?,
            kind,
            id,
            block: BlockBuilder::new(kind.form()),
            index: TableIndexBuilder::default(),
            hashes: Vec::new(),
            entries: 0,
            last: Vec::new(),
        })
    }

    /// Adds an entry. Keys must rise strictly; otherwise the call panics. An entry with a `hash` is added
    /// to the filter; consecutive entries with the same hash are added once. On an error the file must be
    /// discarded.
    pub async fn add(
        &mut self,
        key: &[u8],
        value: TableValue<'_>,
        hash: Option<u64>,
    ) -> Result<(), SealError> {
        assert!(self.entries == 0 || key > self.last.as_slice(), "keys of a table rise");
        if !self.block.is_empty() && self.block.len() + key.len() + value.bytes.len() > BLOCK_BYTES
        {
            self.end_block(Some(key)).await?;
        }
        self.block.add(key, value);
        self.last.clear();
        self.last.extend_from_slice(key);
        if let Some(hash) = hash
            && self.hashes.last() != Some(&hash)
        {
            self.hashes.push(hash);
        }
        self.entries += 1;
        Ok(())
    }

    /// Ends the block before the entry with the key `next`; `None` at the end of the table.
    async fn end_block(&mut self, next: Option<&[u8]>) -> Result<(), SealError> {
        self.refuse(self.block.refused())?;
        let bytes = self.block.finish();
        self.index.add(next.map_or(&[], |next| separator(&self.last, next)), bytes.len());
        self.section(TableSection::Block, &bytes).await
    }

    /// Converts an encoder's refusal: no reader would accept the block or the index.
    fn refuse(&self, checked: Result<(), EncodeError>) -> Result<(), SealError> {
        checked.map_err(|error| SealError::beyond(self.file.path(), error))
    }

    /// Appends a section and its checksum.
    async fn section(&mut self, section: TableSection, bytes: &[u8]) -> Result<(), SealError> {
        let crc = checksum(section, self.kind, self.id, self.file.position(), bytes);
        self.file.append(bytes).await?;
        self.file.append(&crc.to_le_bytes()).await
    }

    /// Writes filter, index and footer, in this order, and syncs the file; returns length and digest. The
    /// caller must sync the folder before a catalog names the table. Fails if the index exceeds the limits
    /// of readers.
    pub async fn finish(mut self) -> Result<FileDigest, SealError> {
        if !self.block.is_empty() {
            self.end_block(None).await?;
        }
        let filter_at = self.file.position();
        let filter = KeyFilter::build(std::mem::take(&mut self.hashes)).encode();
        self.section(TableSection::Filter, &filter).await?;
        self.refuse(self.index.refused())?;
        let index_at = self.file.position();
        let index = std::mem::take(&mut self.index).finish();
        self.section(TableSection::Index, &index).await?;
        let mut footer = Encoder::with_capacity(FOOTER_BYTES);
        footer.raw(MAGIC).u8(self.kind.code()).raw(&[0; 7]).u64(self.id).u64(self.entries);
        footer.u64(filter_at).u64(filter.len() as u64).u64(index_at).u64(index.len() as u64);
        footer.u32(0);
        let crc = checksum(
            TableSection::Footer,
            self.kind,
            self.id,
            self.file.position(),
            footer.as_slice(),
        );
        footer.u32(crc);
        self.file.append(footer.as_slice()).await?;
        self.file.finish().await
    }
}
