//! Names and contents of numbered objects.
//!
//! Both follow from the number alone, so one run can read and verify the objects of another one, without a
//! list of keys. Names are scattered over the key space, which shows a store that is fast only for ascending
//! keys. Bodies do not compress and do not repeat.

use std::fmt::Write as _;

use bytes::Bytes;
use s3::names::encode_path;

/// The step of SplitMix64: odd, so its multiples visit every number.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes the bits of a number (SplitMix64's finisher). The function is one to one, so different numbers never
/// have the same name.
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The part of a body that is compared with the expected one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompareDepth {
    /// The length, the first and the last eight bytes.
    Edges,
    /// The whole body.
    Whole,
}

/// Objects of one size, in one bucket, under one prefix.
#[derive(Clone, Debug)]
pub struct ObjectSet {
    /// `/bucket/prefix`, percent-encoded; names append only characters that need no encoding.
    base: String,
    bytes: usize,
}

impl ObjectSet {
    /// A set of objects of `bytes` bytes each. Nothing is written, and the bucket need not exist before the
    /// first request.
    pub fn new(bucket: &str, prefix: &str, bytes: usize) -> Self {
        Self { base: encode_path(&format!("/{bucket}/{prefix}")), bytes }
    }

    /// Returns the size of each object, in bytes. All objects of a set have the same size, which never
    /// changes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Replaces `path` by the percent-encoded path of an object, which is unique for each number. The caller
    /// can use one buffer again for all requests.
    pub fn path(&self, number: u64, path: &mut String) {
        path.clear();
        path.push_str(&self.base);
        write!(path, "{:016x}", mix(number)).expect("writing to a String cannot fail");
    }

    /// Makes the body of an object, always the same bytes for a number and a size. A shorter body is the
    /// beginning of a longer one.
    pub fn body(&self, number: u64) -> Bytes {
        let mut body = Vec::with_capacity(self.bytes + 8);
        for word in BodyWords::of(number).take(self.bytes.div_ceil(8)) {
            body.extend_from_slice(&word);
        }
        body.truncate(self.bytes);
        body.into()
    }

    /// Compares a body with the one of object `number`, and returns a description of the fault, or `None` if
    /// there is none.
    ///
    /// With [`CompareDepth::Edges`], a fault between the first and the last eight bytes is not found; the
    /// length must be right in any case.
    pub fn fault(&self, number: u64, body: &[u8], depth: CompareDepth) -> Option<String> {
        if body.len() != self.bytes {
            return Some(format!("{} bytes instead of {}", body.len(), self.bytes));
        }
        let byte_is_right = |position: usize| {
            let word = BodyWords::of(number).at(position as u64 / 8);
            body[position] == word[position % 8]
        };
        let is_right = match depth {
            CompareDepth::Edges => {
                let tail = self.bytes.saturating_sub(8)..self.bytes;
                (0..self.bytes.min(8)).all(byte_is_right) && tail.into_iter().all(byte_is_right)
            }
            CompareDepth::Whole => {
                let mut words = body.chunks(8).zip(BodyWords::of(number));
                words.all(|(found, word)| *found == word[..found.len()])
            }
        };
        (!is_right).then(|| "other bytes than were written".into())
    }
}

/// The endless body of a number, in words of eight bytes. Each word can be computed without the others.
struct BodyWords {
    seed: u64,
    next: u64,
}

impl BodyWords {
    fn of(number: u64) -> Self {
        // Not `mix(number)`, which is the name.
        Self { seed: mix(!number), next: 0 }
    }

    fn at(&self, index: u64) -> [u8; 8] {
        mix(self.seed.wrapping_add(index.wrapping_mul(STEP))).to_le_bytes()
    }
}

impl Iterator for BodyWords {
    type Item = [u8; 8];

    fn next(&mut self) -> Option<[u8; 8]> {
        self.next += 1;
        Some(self.at(self.next - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(objects: &ObjectSet, number: u64) -> String {
        let mut path = String::new();
        objects.path(number, &mut path);
        path
    }

    #[test]
    fn names_and_bodies_follow_from_the_number() {
        let (one, other) = (ObjectSet::new("b", "p/", 4096), ObjectSet::new("b", "p/", 4096));
        assert_eq!(path(&one, 7), path(&other, 7));
        assert_eq!(one.body(7), other.body(7));
        assert_eq!(path(&one, 0), "/b/p/e220a8397b1dcdaf");
        assert_eq!(path(&ObjectSet::new("b", "a b+", 1), 0), "/b/a%20b%2Be220a8397b1dcdaf");
    }

    #[test]
    fn names_and_bodies_of_different_numbers_differ() {
        let objects = ObjectSet::new("b", "", 8);
        let paths: std::collections::HashSet<_> = (0..10_000).map(|n| path(&objects, n)).collect();
        let bodies: std::collections::HashSet<_> = (0..10_000).map(|n| objects.body(n)).collect();
        assert_eq!((paths.len(), bodies.len()), (10_000, 10_000));
    }

    #[test]
    fn wrong_bodies_are_found() {
        for bytes in [0, 1, 7, 8, 9, 15, 16, 17, 4096, 5001] {
            let objects = ObjectSet::new("b", "", bytes);
            let body = objects.body(3);
            for depth in [CompareDepth::Edges, CompareDepth::Whole] {
                assert_eq!(objects.fault(3, &body, depth), None, "{bytes}");
                assert!(objects.fault(3, &[&body[..], b"x"].concat(), depth).is_some());
            }
            for position in 0..bytes {
                let mut flipped = body.to_vec();
                flipped[position] ^= 1;
                assert!(
                    objects.fault(3, &flipped, CompareDepth::Whole).is_some(),
                    "{bytes} {position}"
                );
                let is_edge = position < 8 || position + 8 >= bytes;
                assert_eq!(objects.fault(3, &flipped, CompareDepth::Edges).is_some(), is_edge);
            }
        }
    }
}
