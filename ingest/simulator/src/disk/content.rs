//! A file's bytes: as seen, and as a power cut would leave them.

use std::collections::BTreeSet;
use std::ops::Range;

use ingest::env::Random as _;

use super::CrashSurvival;
use crate::random::SimRandom;

const SECTOR: usize = 512;
/// The unit in which space is given back, in bytes.
const BLOCK: u64 = 4096;

#[derive(Clone, Default)]
pub struct FileContent {
    pub live: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// The sectors of the last write.
    last: BTreeSet<usize>,
    /// After a failed sync nobody knows what the device has: these sectors look clean and are not.
    in_doubt: BTreeSet<usize>,
    /// Blocks below the length that take no space.
    holes: BTreeSet<u64>,
}

/// What a sync will make durable when it ends.
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
    pub fn write(&mut self, position: u64, bytes: &[u8]) {
        let position = position as usize;
        let end = position + bytes.len();
        self.allocate(&(position as u64..end as u64));
        self.live[position..end].copy_from_slice(bytes);
        self.last = sectors(position, bytes.len()).collect();
        self.dirty.extend(self.last.iter().copied());
    }

    pub fn allocate(&mut self, range: &Range<u64>) {
        let from = self.live.len() as u64;
        if from < range.end {
            self.live.resize(range.end as usize, 0);
            self.dirty.extend(sectors(from as usize, (range.end - from) as usize));
            self.holes.extend(from.div_ceil(BLOCK)..range.start / BLOCK);
        }
        self.fill(range);
    }

    /// Bytes that it takes.
    pub fn used_bytes(&self) -> u64 {
        self.live.len() as u64 - self.holes.len() as u64 * BLOCK
    }

    /// Bytes that it takes more once a range is filled.
    pub fn grows_by(&self, range: &Range<u64>) -> u64 {
        let len = self.live.len() as u64;
        // What is skipped stays a hole, in whole blocks.
        let skipped = (range.start / BLOCK).saturating_sub(len.div_ceil(BLOCK)) * BLOCK;
        let holes = self.holes.range(range.start / BLOCK..range.end.div_ceil(BLOCK)).count();
        range.end.saturating_sub(len) - skipped.min(range.end.saturating_sub(len))
            + holes as u64 * BLOCK
    }

    fn fill(&mut self, range: &Range<u64>) {
        for block in range.start / BLOCK..range.end.div_ceil(BLOCK) {
            self.holes.remove(&block);
        }
    }

    /// Makes zeros and holes of a range's whole blocks; a power cut may undo what is not synced.
    pub fn discard(&mut self, range: &Range<u64>) {
        let end = range.end.min(self.live.len() as u64);
        for block in range.start.div_ceil(BLOCK)..end / BLOCK {
            let (start, len) = ((block * BLOCK) as usize, BLOCK as usize);
            self.live[start..start + len].fill(0);
            self.dirty.extend(sectors(start, len));
            self.holes.insert(block);
        }
    }

    /// Makes holes of what was never written.
    pub fn discard_unwritten(&mut self) {
        self.holes = self.zeros();
    }

    /// The whole blocks of zeros.
    fn zeros(&self) -> BTreeSet<u64> {
        let blocks = (0u64..).zip(self.live.chunks_exact(BLOCK as usize));
        blocks.filter(|(_, block)| block.iter().all(|byte| *byte == 0)).map(|(n, _)| n).collect()
    }

    pub fn begin_sync(&self) -> PendingSync {
        let copy = |sector: &usize| (*sector, sector_of(&self.live, *sector).to_vec());
        PendingSync { len: self.live.len(), sectors: self.dirty.iter().map(copy).collect() }
    }

    pub fn end_sync(&mut self, pending: PendingSync) {
        if self.durable.len() < pending.len {
            self.durable.resize(pending.len, 0);
        }
        for (sector, bytes) in pending.sectors {
            let start = sector * SECTOR;
            self.durable[start..start + bytes.len()].copy_from_slice(&bytes);
            // Written again since the sync began: dirty still.
            if sector_of(&self.live, sector) == bytes.as_slice() {
                self.dirty.remove(&sector);
            }
        }
    }

    /// A sync failed: the system forgets that the sectors are dirty, the device may or may not have them.
    pub fn fail_sync(&mut self) {
        self.in_doubt.append(&mut self.dirty);
    }

    pub fn flip(&mut self, position: u64, xor: u8) {
        for bytes in [&mut self.live, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(position as usize) {
                *byte ^= xor;
            }
        }
    }

    pub fn truncate(&mut self, len: u64) {
        self.live.truncate(len as usize);
        self.holes.retain(|block| (block + 1) * BLOCK <= len);
        self.durable.truncate(len as usize);
    }

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
                    // The first half of the last write's sectors is whole, one is torn, the rest is lost.
                    let middle = self.last.iter().nth(self.last.len() / 2).copied().unwrap_or(0);
                    match sector.cmp(&middle) {
                        std::cmp::Ordering::Less => SECTOR,
                        std::cmp::Ordering::Equal => SECTOR / 3,
                        std::cmp::Ordering::Greater => 0,
                    }
                }
                CrashSurvival::KeepAll | CrashSurvival::TearLast => SECTOR,
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
        // What a cut brings back takes its space again.
        let zeros = self.zeros();
        self.holes.retain(|block| zeros.contains(block));
    }

    pub fn settle(&mut self) {
        self.durable = self.live.clone();
        self.dirty.clear();
        self.in_doubt.clear();
        self.last.clear();
    }
}
