//! Mutation of bytes: the engine of the fuzz tests beside each format and wire decoder.
//!
//! Test code, included by path wherever there are decoders, so that one engine serves them all without
//! a crate of its own. A run depends on its seed only. `SILTSTONE_FUZZ=100` makes every run a hundred
//! times as long.
#![allow(dead_code, reason = "each crate uses what its formats need")]
#![allow(clippy::disallowed_methods, reason = "how long to fuzz is asked of the environment")]

/// The number of inputs to try: `default`, times the factor in `SILTSTONE_FUZZ` if that is set.
pub fn rounds(default: usize) -> usize {
    let times = std::env::var("SILTSTONE_FUZZ").ok().and_then(|text| text.parse().ok());
    default * times.unwrap_or(1usize)
}

/// A seeded stream of numbers (SplitMix64), with operations that change bytes.
pub struct Mutator(u64);

/// Numbers at the limits of lengths and counts.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x1000,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

impl Mutator {
    /// Starts a stream. The same seed always gives the same numbers and the same mutations, in the same
    /// order.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number of the stream, of 64 bits. The order of calls decides which number each caller
    /// gets.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0. Never panics, and takes one number of the stream
    /// unless `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    /// A number that is likely to be at a limit of something `len` bytes long: just before or after it,
    /// a power of two, or one of the usual edges.
    pub fn edge(&mut self, len: usize) -> u64 {
        match self.below(4) {
            0 => (len as u64).wrapping_add(self.next() % 5).wrapping_sub(2),
            1 => self.next() >> self.below(64),
            _ => EDGES[self.below(EDGES.len())],
        }
    }

    /// One of the seeds, changed in one to four ways. Must have at least one seed; the result may be
    /// empty or unchanged.
    pub fn mutated<B: AsRef<[u8]>>(&mut self, seeds: &[B]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].as_ref().to_vec();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, seeds);
        }
        bytes
    }

    /// Changes the bytes in one way: flips, overwrites, inserts, removes, or splices in a part of
    /// another seed.
    fn change<B: AsRef<[u8]>>(&mut self, bytes: &mut Vec<u8>, seeds: &[B]) {
        let at = self.below(bytes.len());
        let end = at + self.below((bytes.len() - at).min(64) + 1);
        match self.below(10) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            2 if !bytes.is_empty() => bytes[at] = self.next() as u8,
            // A length field of any width.
            3 | 4 => {
                let number = self.edge(bytes.len()).to_le_bytes();
                let width = [1, 2, 4, 8][self.below(4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
            // A varint of any length, in place of a byte.
            5 if !bytes.is_empty() => {
                let mut number = self.edge(bytes.len());
                let mut varint = Vec::new();
                while number >= 0x80 {
                    varint.push(number as u8 | 0x80);
                    number >>= 7;
                }
                varint.push(number as u8);
                bytes.splice(at..=at, varint);
            }
            6 => bytes.truncate(at),
            7 => {
                bytes.drain(at..end);
            }
            8 => {
                let random: Vec<u8> = (0..self.below(16)).map(|_| self.next() as u8).collect();
                bytes.splice(at..at, random);
            }
            _ => {
                let other = seeds[self.below(seeds.len())].as_ref();
                let from = self.below(other.len());
                let to = from + self.below((other.len() - from).min(256) + 1);
                bytes.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
}
