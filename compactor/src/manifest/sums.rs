//! The checksums of a manifest, one for each block of the file.
//!
//! ```text
//!   magic 8 | run 8 | manifest length 8 | count 4 | CRC32C 4 each | crc 4
//! ```

use bytes::Bytes;
use ingest::codec::{DecodeError, Decoder, Encoder};
use ingest::ids::RunId;

/// Bytes of the manifest that one checksum covers.
pub const SUM_BLOCK: u64 = 16 << 10;
const MAGIC: &[u8; 8] = b"SILTSUM1";

/// Computes the checksum of the block at `position`. The run and the position are included, so that a block
/// from another file or place fails.
pub fn block_sum(run: RunId, position: u64, block: &[u8]) -> u32 {
    // Encoded before the block, as if the block's bytes began with them.
    let mut salt = [0; 16];
    salt[..8].copy_from_slice(&run.get().to_le_bytes());
    salt[8..].copy_from_slice(&position.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&salt), block)
}

/// Computes the checksums of a stream of bytes.
pub struct SumsBuilder {
    run: RunId,
    pub sums: Vec<u32>,
    pub len: u64,
    block: Vec<u8>,
}

impl SumsBuilder {
    /// Begins with an empty manifest of a run.
    pub fn new(run: RunId) -> Self {
        Self { run, sums: Vec::new(), len: 0, block: Vec::with_capacity(SUM_BLOCK as usize) }
    }

    /// Adds the next bytes of the manifest, in any sizes.
    pub fn add(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len() as u64;
        while !bytes.is_empty() {
            let take = bytes.len().min(SUM_BLOCK as usize - self.block.len());
            self.block.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.block.len() == SUM_BLOCK as usize {
                self.end_block();
            }
        }
    }

    fn end_block(&mut self) {
        let position = self.sums.len() as u64 * SUM_BLOCK;
        self.sums.push(block_sum(self.run, position, &self.block));
        self.block.clear();
    }

    /// Returns the content of the sums file, with the checksum of a last block that is shorter.
    pub fn finish(mut self) -> Bytes {
        if !self.block.is_empty() {
            self.end_block();
        }
        let mut out = Encoder::with_capacity(32 + 4 * self.sums.len());
        out.raw(MAGIC).u64(self.run.get()).u64(self.len).u32(self.sums.len() as u32);
        for sum in &self.sums {
            out.u32(*sum);
        }
        let crc = crc32c::crc32c(out.as_slice());
        out.u32(crc);
        out.finish()
    }
}

/// Decodes the sums of the manifest of `run` with `len` bytes. Fails if the checksum of the sums is wrong,
/// if they belong to another run, length or number of blocks, or if bytes follow.
pub fn decode(bytes: Bytes, run: RunId, len: u64) -> Result<Vec<u32>, DecodeError> {
    let error = DecodeError { what: "manifest sums", position: 0 };
    let body = bytes.len().checked_sub(4).ok_or(error.clone())?;
    if crc32c::crc32c(&bytes[..body]).to_le_bytes() != bytes[body..] {
        return Err(DecodeError { what: "checksum of the sums", position: body });
    }
    let mut from = Decoder::new(bytes.slice(..body));
    let is_ours = from.array("magic")? == *MAGIC
        && from.u64("run")? == run.get()
        && from.u64("length")? == len;
    let count = from.u32("count")? as usize;
    if !is_ours || count as u64 != len.div_ceil(SUM_BLOCK) {
        return Err(error);
    }
    let sums = (0..count).map(|_| from.u32("sum")).collect::<Result<_, _>>()?;
    from.end("end of sums")?;
    Ok(sums)
}
