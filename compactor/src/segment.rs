//! Segments: payload and entry headers of one cut, in blocks. `docs/formats/segment.md` specifies them.
//!
//! ```text
//!   block | block | ... | footer
//!   block:  magic 4 | codec 1 | zeros 3 | segment 8 | position 8 | raw length 4 | stored length 4
//!           | objects 4 | store 16 | crc 4 | stored bytes
//!   object: header length varint | payload length varint | header | payload | crc 4
//!   header: entry key (length-prefixed) | statement
//! ```
//!
//! Every entry of the cut has an object in the segment, tombstones included, so that a store can be rebuilt
//! from segments without restoring deleted objects. A damaged block affects only the objects in it: a
//! location names block and index, and reads do not need the footer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ingest::codec::{DecodeError, Decoder, EncodeError, Encoder};
use ingest::entry::{EntryKey, EntryValue, PayloadLocation, SegmentLocation};
use ingest::env::{Disk, File, FilePath};
use ingest::ids::{SegmentId, StoreId};
use ingest::log::{ReadError, confirm};
use ingest::place::Place;
use parking_lot::Mutex;

use crate::sealed::{self, FileDigest, SealError, SealedWriter};

const MAGIC: u32 = u32::from_le_bytes(*b"SSB2");
const FOOTER_MAGIC: u32 = u32::from_le_bytes(*b"SSF2");
const HEAD_BYTES: usize = 60;
/// Raw bytes after which a block ends, for payload of the hot and of the cold place. A longer block compresses better, and
/// costs more for the read of one small object.
const BLOCK_BYTES: [usize; 2] = [16 << 10, 128 << 10];
/// The level of zstd for payload of the hot and of the cold place. Reads take the same time for each.
const ZSTD_LEVELS: [i32; 2] = [1, 12];
/// Bytes of the first read of a block: enough for most blocks, so that they need no second read.
const READ_AHEAD: usize = 20 << 10;
/// The largest raw length of a block in bytes: a header with the largest number of extents needs 90 MiB.
const RAW_BYTES_MAX: usize = 128 << 20;

/// The largest length of an entry's sort key in bytes.
const KEY_BYTES_MAX: usize = 1 << 16;

const STORED: u8 = 0;
const ZSTD: u8 = 1;

/// Writes a segment. Memory: one block of 16 or 128 KiB, or the largest object, and the buffer of
/// [`SealedWriter`].
pub struct SegmentWriter {
    file: SealedWriter,
    store: StoreId,
    id: SegmentId,
    block: BytesMut,
    in_block: u32,
    objects: u64,
    blocks: u64,
    /// Raw bytes after which a block ends.
    block_bytes: usize,
    zstd_level: i32,
}

impl SegmentWriter {
    /// Creates the file for payload of a place, which decides how hard it is compressed. Fails if the file exists
    /// already, or the disk fails.
    pub async fn create(
        disk: &Arc<dyn Disk>,
        path: &FilePath,
        store: StoreId,
        id: SegmentId,
        payload: Place,
    ) -> Result<Self, SealError> {
        let file = SealedWriter::create(disk, path).await?;
        Ok(Self {
            file,
            store,
            id,
            block: BytesMut::new(),
            in_block: 0,
            objects: 0,
            blocks: 0,
            block_bytes: BLOCK_BYTES[payload as usize],
            zstd_level: ZSTD_LEVELS[payload as usize],
        })
    }

    /// Returns the segment's id.
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// Returns the number of entries that were added.
    pub fn objects(&self) -> u64 {
        self.objects
    }

    /// Adds an entry's header and, for inline payload, the payload; returns the location of the header,
    /// which is then the payload's location too. Entries may come in any order. Fails if an object is
    /// larger than a reader accepts; the file must then be discarded.
    pub async fn add(
        &mut self,
        key: &EntryKey,
        statement: &EntryValue,
        payload: Option<Bytes>,
    ) -> Result<SegmentLocation, SealError> {
        let payload_len = payload.as_ref().map_or(0, Bytes::len);
        // A payload that would enlarge a block begins the next one, so that other objects stay cheap to
        // read.
        if self.in_block > 0 && self.block.len() + payload_len > self.block_bytes {
            self.end_block().await?;
        }
        let location = SegmentLocation {
            segment: self.id,
            position: self.file.position(),
            index: self.in_block,
        };
        let mut statement = statement.clone();
        if let (EntryValue::Object(object), Some(_)) = (&mut statement, &payload) {
            object.payload = PayloadLocation::Segment(location);
        }
        let mut header = Encoder::new();
        header.bounded(key.as_bytes(), KEY_BYTES_MAX, "entry key");
        statement.encode(&mut header);
        let mut lengths = Encoder::new();
        lengths.count(header.len(), RAW_BYTES_MAX, "header length");
        lengths.count(payload_len, RAW_BYTES_MAX, "payload length");
        self.refuse(header.refused().and(lengths.refused()))?;
        let start = self.block.len();
        self.block.extend_from_slice(lengths.as_slice());
        self.block.extend_from_slice(header.as_slice());
        self.block.extend_from_slice(&payload.unwrap_or_default());
        let crc = crc32c::crc32c(&self.block[start..]);
        self.block.put_u32_le(crc);
        self.in_block += 1;
        self.objects += 1;
        if self.block.len() >= self.block_bytes {
            self.end_block().await?;
        }
        Ok(location)
    }

    /// Converts an encoder's refusal: no reader would accept the block.
    fn refuse(&self, checked: Result<(), EncodeError>) -> Result<(), SealError> {
        checked.map_err(|error| SealError::beyond(self.file.path(), error))
    }

    /// Compresses the block where that saves an eighth, and appends it.
    async fn end_block(&mut self) -> Result<(), SealError> {
        let mut whole = Encoder::checking();
        whole.count(self.block.len(), RAW_BYTES_MAX, "bytes of a segment's block");
        self.refuse(whole.refused())?;
        let raw = self.block.split().freeze();
        let compressed = zstd::bulk::compress(&raw, self.zstd_level).ok();
        // Compression must pay for the time that every read spends on undoing it.
        let compressed = compressed.filter(|bytes| bytes.len() + raw.len() / 8 <= raw.len());
        let (codec, stored) = match compressed {
            Some(bytes) => (ZSTD, Bytes::from(bytes)),
            None => (STORED, raw.clone()),
        };
        let head = BlockHead {
            magic: MAGIC,
            codec,
            segment: self.id,
            position: self.file.position(),
            raw_len: raw.len() as u32,
            stored_len: stored.len() as u32,
            objects: self.in_block,
            store: self.store,
        };
        self.file.append(&head.encode(&stored)).await?;
        self.file.append(&stored).await?;
        self.in_block = 0;
        self.blocks += 1;
        Ok(())
    }

    /// Writes the footer and syncs the file; returns length and digest. The caller must sync the folder
    /// before a catalog names the segment.
    pub async fn finish(mut self) -> Result<FileDigest, SealError> {
        if self.in_block > 0 {
            self.end_block().await?;
        }
        let mut counts = BytesMut::new();
        counts.put_u64_le(self.blocks);
        counts.put_u64_le(self.objects);
        let head = BlockHead {
            magic: FOOTER_MAGIC,
            codec: STORED,
            segment: self.id,
            position: self.file.position(),
            raw_len: counts.len() as u32,
            stored_len: counts.len() as u32,
            objects: 0,
            store: self.store,
        };
        self.file.append(&head.encode(&counts)).await?;
        self.file.append(&counts).await?;
        self.file.finish().await
    }
}

/// The head of a block. The checksum behind it covers head and stored bytes.
struct BlockHead {
    magic: u32,
    codec: u8,
    segment: SegmentId,
    position: u64,
    raw_len: u32,
    stored_len: u32,
    objects: u32,
    store: StoreId,
}

impl BlockHead {
    fn encode(&self, stored: &[u8]) -> BytesMut {
        let mut out = BytesMut::with_capacity(HEAD_BYTES);
        out.put_u32_le(self.magic);
        out.put_u8(self.codec);
        out.put_bytes(0, 3);
        out.put_u64_le(self.segment.get());
        out.put_u64_le(self.position);
        out.put_u32_le(self.raw_len);
        out.put_u32_le(self.stored_len);
        out.put_u32_le(self.objects);
        out.put_slice(&self.store.0);
        out.put_bytes(0, HEAD_BYTES - 4 - out.len());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out), stored);
        out.put_u32_le(crc);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = bytes.get(..HEAD_BYTES)?;
        let magic = from.get_u32_le();
        let codec = from.get_u8();
        from.advance(3);
        Some(Self {
            magic,
            codec,
            segment: SegmentId::new(from.get_u64_le()),
            position: from.get_u64_le(),
            raw_len: from.get_u32_le(),
            stored_len: from.get_u32_le(),
            objects: from.get_u32_le(),
            store: StoreId(from.copy_to_bytes(16).as_ref().try_into().ok()?),
        })
    }
}

/// One entry as it is stored in a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentObject {
    /// The entry's sort key.
    pub key: EntryKey,
    /// The entry's statement.
    pub statement: EntryValue,
    /// The payload, if it is stored beside the header; otherwise empty.
    pub payload: Bytes,
}

/// A cache of open segment files with a bounded size: there may be thousands of segments, and the number of
/// handles of a process is limited.
#[derive(Default)]
pub struct SegmentHandles {
    open: Mutex<OpenFileCache>,
}

#[derive(Default)]
struct OpenFileCache {
    files: BTreeMap<SegmentId, Arc<dyn File>>,
    /// The ids in the order in which their files were opened.
    order: VecDeque<SegmentId>,
}

/// The largest number of cached handles; the handle that was opened first is closed first. A read that uses
/// a closed handle continues, because it holds a reference.
const HANDLES_MAX: usize = 128;

impl SegmentHandles {
    fn get(&self, id: SegmentId) -> Option<Arc<dyn File>> {
        self.open.lock().files.get(&id).cloned()
    }

    fn keep(&self, id: SegmentId, file: Arc<dyn File>) {
        let mut open = self.open.lock();
        if open.files.insert(id, file).is_none() {
            open.order.push_back(id);
        }
        if open.order.len() > HANDLES_MAX
            && let Some(oldest) = open.order.pop_front()
        {
            open.files.remove(&oldest);
        }
    }

    fn forget(&self, id: SegmentId) {
        let mut open = self.open.lock();
        if open.files.remove(&id).is_some() {
            open.order.retain(|other| *other != id);
        }
    }
}

/// A segment to read from. The file is opened at the first read, so that a damaged or missing segment
/// affects only its own objects.
pub struct Segment {
    disk: Arc<dyn Disk>,
    path: FilePath,
    store: StoreId,
    id: SegmentId,
    len: u64,
    handles: Arc<SegmentHandles>,
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.handles.forget(self.id);
    }
}

/// A verified and decompressed block.
pub struct SegmentBlock {
    raw: Bytes,
    objects: u32,
    /// The position in bytes at which the next block begins.
    next: u64,
}

impl Segment {
    /// Makes a reader of a segment without any access to the disk; a missing file is detected by the first
    /// read. Called for every segment that a catalog names.
    pub fn open(
        disk: &Arc<dyn Disk>,
        path: &FilePath,
        store: StoreId,
        id: SegmentId,
        len: u64,
        handles: &Arc<SegmentHandles>,
    ) -> Arc<Self> {
        let (disk, path, handles) = (disk.clone(), path.clone(), handles.clone());
        Arc::new(Self { disk, path, store, id, len, handles })
    }

    /// Returns the open file, from the cache if possible.
    async fn file(&self) -> Result<Arc<dyn File>, ReadError> {
        if let Some(file) = self.handles.get(self.id) {
            return Ok(file);
        }
        let file = sealed::open(&self.disk, &self.path, self.len).await?;
        self.handles.keep(self.id, file.clone());
        Ok(file)
    }

    fn corruption(&self, position: u64, detail: impl Into<String>) -> ReadError {
        sealed::corruption(&self.path, position, detail)
    }

    /// Reads and verifies the block at a position in bytes. Fails with corruption, confirmed by a second
    /// read, if the block belongs to another store, segment or position, or its checksum is wrong.
    pub async fn block(&self, position: u64) -> Result<SegmentBlock, ReadError> {
        self.block_of(position, MAGIC).await
    }

    async fn block_of(&self, position: u64, magic: u32) -> Result<SegmentBlock, ReadError> {
        confirm(move || self.block_once(position, magic)).await
    }

    async fn block_once(&self, position: u64, magic: u32) -> Result<SegmentBlock, ReadError> {
        let file = self.file().await?;
        let left = self.len.saturating_sub(position);
        let ahead = left.min(READ_AHEAD as u64) as usize;
        let bytes = sealed::read(&file, position, ahead).await?;
        // The whole head is compared before the lengths in it are used.
        let Some(head) = BlockHead::decode(&bytes) else {
            return Err(self.corruption(position, "a block begins beyond the file"));
        };
        let is_here = head.magic == magic
            && head.segment == self.id
            && head.store == self.store
            && head.position == position
            && head.raw_len as usize <= RAW_BYTES_MAX
            && u64::from(head.stored_len) + HEAD_BYTES as u64 <= left;
        if !is_here {
            return Err(self.corruption(position, "a block's head does not belong here"));
        }
        let stored_len = head.stored_len as usize;
        let stored = if HEAD_BYTES + stored_len <= bytes.len() {
            bytes.slice(HEAD_BYTES..HEAD_BYTES + stored_len)
        } else {
            sealed::read(&file, position + HEAD_BYTES as u64, stored_len).await?
        };
        let kept = u32::from_le_bytes(
            *bytes[HEAD_BYTES - 4..].first_chunk().expect("the head has been decoded"),
        );
        let computed = crc32c::crc32c_append(crc32c::crc32c(&bytes[..HEAD_BYTES - 4]), &stored);
        if kept != computed {
            let detail = format!("block checksum {kept:08x}, computed {computed:08x}");
            return Err(self.corruption(position, detail));
        }
        let raw_len = head.raw_len as usize;
        let raw = match head.codec {
            STORED => stored,
            ZSTD => zstd::bulk::decompress(&stored, raw_len)
                .map(Bytes::from)
                .map_err(|error| self.corruption(position, error.to_string()))?,
            _ => return Err(self.corruption(position, "unknown codec")),
        };
        if raw.len() != raw_len {
            return Err(self.corruption(position, "a block has another length than its head says"));
        }
        let next = position + (HEAD_BYTES + stored_len) as u64;
        Ok(SegmentBlock { raw, objects: head.objects, next })
    }

    /// Reads the object at a location and verifies the checksums of its block and of the object. Fails with
    /// corruption if the block has no object with that index. The caller must know that the location names
    /// this segment.
    pub async fn read(&self, location: SegmentLocation) -> Result<SegmentObject, ReadError> {
        let block = self.block(location.position).await?;
        let undecodable =
            |error: DecodeError| self.corruption(location.position, error.to_string());
        let mut from = Decoder::new(block.raw.clone());
        for _ in 0..location.index.min(block.objects) {
            skip(&mut from).map_err(undecodable)?;
        }
        decode(&mut from).map_err(undecodable)
    }

    /// Reads every object in the order of the file and calls `each` with it; returns the damage that was
    /// found, at most one error. A damaged block ends the scan, since only an intact block gives the
    /// position of the next one. Called by `fsck` only, since the bytes of a whole segment are read.
    pub async fn scan(&self, mut each: impl FnMut(SegmentObject)) -> Vec<ReadError> {
        let mut position = 0;
        let mut counts = (0u64, 0u64);
        let footer_at = self.len.saturating_sub((HEAD_BYTES + 16) as u64);
        while position < footer_at {
            let block = match self.block(position).await {
                Ok(block) => block,
                Err(error) => return vec![error],
            };
            let mut from = Decoder::new(block.raw);
            for _ in 0..block.objects {
                match decode(&mut from) {
                    Ok(object) => each(object),
                    Err(error) => return vec![self.corruption(position, error.to_string())],
                }
            }
            counts = (counts.0 + 1, counts.1 + u64::from(block.objects));
            position = block.next;
        }
        match self.block_of(footer_at, FOOTER_MAGIC).await {
            Err(error) => vec![error],
            Ok(footer) => {
                let mut raw = footer.raw;
                let found = (raw.try_get_u64_le(), raw.try_get_u64_le());
                if found == (Ok(counts.0), Ok(counts.1)) {
                    Vec::new()
                } else {
                    let detail =
                        format!("{counts:?} blocks and objects, the footer says {found:?}");
                    vec![self.corruption(footer_at, detail)]
                }
            }
        }
    }
}

/// Skips an object without decoding or verifying it.
fn skip(from: &mut Decoder) -> Result<(), DecodeError> {
    let header = from.count(RAW_BYTES_MAX, "header length")?;
    let payload = from.count(RAW_BYTES_MAX, "payload length")?;
    from.raw(header + payload + 4, "object")?;
    Ok(())
}

/// Decodes an object after its checksum has been verified.
fn decode(from: &mut Decoder) -> Result<SegmentObject, DecodeError> {
    let mut whole = from.clone();
    let start = from.position();
    let header_len = from.count(RAW_BYTES_MAX, "header length")?;
    let payload_len = from.count(RAW_BYTES_MAX, "payload length")?;
    let header = from.raw(header_len, "object header")?;
    let payload = from.raw(payload_len, "object payload")?;
    let covered = whole.raw(from.position() - start, "object")?;
    let error = from.error("object checksum");
    if from.u32("object checksum")? != crc32c::crc32c(&covered) {
        return Err(error);
    }
    let mut header = Decoder::new(header);
    let key = EntryKey::from_bytes(header.bytes(KEY_BYTES_MAX, "entry key")?)?;
    let statement = EntryValue::decode(&mut header)?;
    header.end("end of object header")?;
    Ok(SegmentObject { key, statement, payload })
}

#[cfg(test)]
mod tests;
