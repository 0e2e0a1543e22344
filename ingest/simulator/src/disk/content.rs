//! A file's bytes: as the running system sees them, and as a power cut would leave them.

use std::collections::BTreeSet;
use std::ops::Range;

use ingest::env::Random as _;

use super::CrashSurvival;
use crate::random::SimRandom;

const SECTOR: usize = 512;
/// The unit in bytes in which space is returned.
const BLOCK: u64 = 4096;

/// The two copies of a file's bytes, with the sectors in which they may differ.
#[derive(Clone, Default)]
pub struct FileContent {
    pub live: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// The sectors of the last write.
    last: BTreeSet<usize>,
    /// Sectors that look clean after a failed sync, although the device may not have them.
    in_doubt: BTreeSet<usize>,
    /// Blocks below the length that take no space.
    holes: BTreeSet<u64>,
}

/// The sectors that a sync will make durable when it ends.
pub struct PendingSync {
    len: usize,
    sectors: Vec<(usize, Vec<u8>)>,
}

fn sectors(position: usize, len: usize) -> std::ops::Range<usize> {
    position / SECTOR..(position + len).div_ceil(SECTOR)
}

fn sector_of(bytes: &[u8], sector: usize) -> &[u8] {
    let start = (sector * SECTOR).min(bytes.len());
    &bytes[start..(start + SECTOR).min(bytes.len())]
}

impl FileContent {
    /// Writes to the visible copy, extends the file when necessary, and marks the sectors dirty. Not
    /// durable before a sync.
    pub fn write(&mut self, position: u64, bytes: &[u8]) {
        let position = position as usize;
        let end = position + bytes.len();
        self.allocate(&(position as u64..end as u64));
        self.live[position..end].copy_from_slice(bytes);
        self.last = sectors(position, bytes.len()).collect();
        self.dirty.extend(self.last.iter().copied());
    }

    /// Reserves a range: extends the file with zeros when necessary, and fills holes. Skipped whole
    /// blocks become holes.
    pub fn allocate(&mut self, range: &Range<u64>) {
        let from = self.live.len() as u64;
        if from < range.end {
            self.live.resize(range.end as usize, 0);
            self.dirty.extend(sectors(from as usize, (range.end - from) as usize));
            self.holes.extend(from.div_ceil(BLOCK)..range.start / BLOCK);
        }
        self.fill(range);
    }

    /// Bytes that the file takes on the device: its length without its holes.
    pub fn used_bytes(&self) -> u64 {
        self.live.len() as u64 - self.holes.len() as u64 * BLOCK
    }

    /// Bytes that the file will take more once a range is written or reserved. Must be compared with
    /// the free space before.
    pub fn grows_by(&self, range: &Range<u64>) -> u64 {
        let len = self.live.len() as u64;
        // Skipped whole blocks stay holes.
        let skipped = (range.start / BLOCK).saturating_sub(len.div_ceil(BLOCK)) * BLOCK;
        let holes = self.holes.range(range.start / BLOCK..range.end.div_ceil(BLOCK)).count();
        range.end.saturating_sub(len) - skipped.min(range.end.saturating_sub(len))
            + holes as u64 * BLOCK
    }

    /// Takes a range out of the holes.
    fn fill(&mut self, range: &Range<u64>) {
        for block in range.start / BLOCK..range.end.div_ceil(BLOCK) {
            self.holes.remove(&block);
        }
    }

    /// Makes zeros and holes of a range's whole blocks. A power cut may undo this, unless it is synced
    /// before.
    pub fn discard(&mut self, range: &Range<u64>) {
        let end = range.end.min(self.live.len() as u64);
        for block in range.start.div_ceil(BLOCK)..end / BLOCK {
            let (start, len) = ((block * BLOCK) as usize, BLOCK as usize);
            self.live[start..start + len].fill(0);
            self.dirty.extend(sectors(start, len));
            self.holes.insert(block);
        }
    }

    /// Makes holes of all whole blocks of zeros; no byte that can be read changes.
    pub fn discard_unwritten(&mut self) {
        self.holes = self.zeros();
    }

    /// The whole blocks of zeros.
    fn zeros(&self) -> BTreeSet<u64> {
        let blocks = (0u64..).zip(self.live.chunks_exact(BLOCK as usize));
        blocks.filter(|(_, block)| block.iter().all(|byte| *byte == 0)).map(|(n, _)| n).collect()
    }

    /// Copies the sectors that are dirty now. Later writes are not covered by this sync.
    pub fn begin_sync(&self) -> PendingSync {
        let copy = |sector: &usize| (*sector, sector_of(&self.live, *sector).to_vec());
        PendingSync { len: self.live.len(), sectors: self.dirty.iter().map(copy).collect() }
    }

    /// Makes the copied sectors durable. Sectors that were written again since the sync began stay
    /// dirty.
    pub fn end_sync(&mut self, pending: PendingSync) {
        if self.durable.len() < pending.len {
            self.durable.resize(pending.len, 0);
        }
        for (sector, bytes) in pending.sectors {
            let start = sector * SECTOR;
            self.durable[start..start + bytes.len()].copy_from_slice(&bytes);
            // A sector that was written again since the sync began stays dirty.
            if sector_of(&self.live, sector) == bytes.as_slice() {
                self.dirty.remove(&sector);
            }
        }
    }

    /// Fails a sync: the system regards the sectors as clean, but the device may or may not have them.
    /// A later sync does not cover them, as on real systems.
    pub fn fail_sync(&mut self) {
        self.in_doubt.append(&mut self.dirty);
    }

    /// Flips bits of one byte in both copies. Does nothing in a copy that ends before the byte.
    pub fn flip(&mut self, position: u64, xor: u8) {
        for bytes in [&mut self.live, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(position as usize) {
                *byte ^= xor;
            }
        }
    }

    /// Cuts both copies short, as damage: not an operation that a crash may undo.
    pub fn truncate(&mut self, len: u64) {
        self.live.truncate(len as usize);
        self.holes.retain(|block| (block + 1) * BLOCK <= len);
        self.durable.truncate(len as usize);
    }

    /// Replaces the visible copy by the durable one plus the unsynced sectors that survive. The caller
    /// must call [`FileContent::settle`] after it.
    pub fn lose_power(
        &mut self,
        survival: CrashSurvival,
        random: Option<&SimRandom>,
        is_last: bool,
    ) {
        let mut doubtful = std::mem::take(&mut self.dirty);
        doubtful.append(&mut self.in_doubt);
        let mut found = self.durable.clone();
        for sector in doubtful {
            let keep = match survival {
                CrashSurvival::DropAll => 0,
                CrashSurvival::TearLast if is_last && self.last.contains(&sector) => {
                    // The first half of the last write's sectors survives whole, one is torn, and the
                    // rest is lost.
                    let middle = self.last.iter().nth(self.last.len() / 2).copied().unwrap_or(0);
                    match sector.cmp(&middle) {
                        std::cmp::Ordering::Less => SECTOR,
                        std::cmp::Ordering::Equal => SECTOR / 3,
                        std::cmp::Ordering::Greater => 0,
                    }
                }
                CrashSurvival::KeepAll | CrashSurvival::TearLast => SECTOR,
                // Half of the sectors survive, three in eight are lost, one in eight is torn.
                CrashSurvival::Random(_) => match random.map_or(0, |random| random.next() % 8) {
                    0..=3 => SECTOR,
                    4..=6 => 0,
                    _ => random.map_or(0, |random| random.below(SECTOR as u64) as usize),
                },
            };
            let bytes = sector_of(&self.live, sector);
            let bytes = &bytes[..keep.min(bytes.len())];
            let start = sector * SECTOR;
            if !bytes.is_empty() {
                if found.len() < start + bytes.len() {
                    found.resize(start + bytes.len(), 0);
                }
                found[start..start + bytes.len()].copy_from_slice(bytes);
            }
        }
        self.live = found;
        // Bytes that the power cut brings back take their space again.
        let zeros = self.zeros();
        self.holes.retain(|block| zeros.contains(block));
    }

    /// Makes the visible copy durable, with no sector dirty or in doubt, as after a successful sync of
    /// everything.
    pub fn settle(&mut self) {
        self.durable = self.live.clone();
        self.dirty.clear();
        self.in_doubt.clear();
        self.last.clear();
    }
}
