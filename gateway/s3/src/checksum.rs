//! The checksums of S3 objects: algorithms, their names, computation and text form; and entity tags.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use xxhash_rust::xxh3::Xxh3;
use xxhash_rust::xxh64::Xxh64;

use crate::error::{ErrorCode, S3Error};

/// A checksum algorithm of S3. Records and object headers contain the numbers, which must therefore never change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum ChecksumAlgorithm {
    /// CRC-32.
    Crc32 = 1,
    /// CRC-32C.
    Crc32c = 2,
    /// CRC-64/NVME.
    Crc64Nvme = 3,
    /// SHA-1.
    Sha1 = 4,
    /// SHA-256.
    Sha256 = 5,
    /// SHA-512.
    Sha512 = 6,
    /// MD5.
    Md5 = 7,
    /// XXH64.
    Xxhash64 = 8,
    /// XXH3 with 64 bits.
    Xxhash3 = 9,
    /// XXH3 with 128 bits.
    Xxhash128 = 10,
}

/// The names of an algorithm and the length of its digest.
struct AlgorithmNames {
    name: &'static str,
    header: &'static str,
    element: &'static str,
    /// The length of a digest in bytes.
    len: usize,
}

const fn names(
    name: &'static str,
    header: &'static str,
    element: &'static str,
    len: usize,
) -> AlgorithmNames {
    AlgorithmNames { name, header, element, len }
}

impl ChecksumAlgorithm {
    /// All algorithms. A checksum of any of them is verified when a client sends it, and stored with the object.
    pub const ALL: [ChecksumAlgorithm; 10] = [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
        ChecksumAlgorithm::Sha512,
        ChecksumAlgorithm::Md5,
        ChecksumAlgorithm::Xxhash64,
        ChecksumAlgorithm::Xxhash3,
        ChecksumAlgorithm::Xxhash128,
    ];

    fn names(self) -> AlgorithmNames {
        match self {
            ChecksumAlgorithm::Crc32 => names("CRC32", "x-amz-checksum-crc32", "ChecksumCRC32", 4),
            ChecksumAlgorithm::Crc32c => {
                names("CRC32C", "x-amz-checksum-crc32c", "ChecksumCRC32C", 4)
            }
            ChecksumAlgorithm::Crc64Nvme => {
                names("CRC64NVME", "x-amz-checksum-crc64nvme", "ChecksumCRC64NVME", 8)
            }
            ChecksumAlgorithm::Sha1 => names("SHA1", "x-amz-checksum-sha1", "ChecksumSHA1", 20),
            ChecksumAlgorithm::Sha256 => {
                names("SHA256", "x-amz-checksum-sha256", "ChecksumSHA256", 32)
            }
            ChecksumAlgorithm::Sha512 => {
                names("SHA512", "x-amz-checksum-sha512", "ChecksumSHA512", 64)
            }
            ChecksumAlgorithm::Md5 => names("MD5", "x-amz-checksum-md5", "ChecksumMD5", 16),
            ChecksumAlgorithm::Xxhash64 => {
                names("XXHASH64", "x-amz-checksum-xxhash64", "ChecksumXXHASH64", 8)
            }
            ChecksumAlgorithm::Xxhash3 => {
                names("XXHASH3", "x-amz-checksum-xxhash3", "ChecksumXXHASH3", 8)
            }
            ChecksumAlgorithm::Xxhash128 => {
                names("XXHASH128", "x-amz-checksum-xxhash128", "ChecksumXXHASH128", 16)
            }
        }
    }

    /// The name of the algorithm, in upper case, as the header `x-amz-checksum-algorithm` and XML documents have it.
    pub fn name(self) -> &'static str {
        self.names().name
    }

    /// The header whose value is a checksum of this algorithm, in lower case, such as `x-amz-checksum-crc32`.
    pub fn header(self) -> &'static str {
        self.names().header
    }

    /// The XML element whose text is a checksum of this algorithm, such as `ChecksumCRC32`.
    pub fn element(self) -> &'static str {
        self.names().element
    }

    /// The algorithm whose checksum a header contains. `None` unless `header` is the [header](Self::header) of an
    /// algorithm, in lower case.
    pub fn with_header(header: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header() == header)
    }

    /// The algorithm with a name, in any case of letters; `None` for a name that S3 does not define.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The algorithm with a number, as records contain it; `None` for any other number, 0 included.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| *algorithm as u8 == code)
    }

    /// The length in bytes of a digest of this algorithm, before it is written as base64.
    pub fn digest_len(self) -> usize {
        self.names().len
    }

    /// Computes the digest of bytes that are all in memory, most significant byte first.
    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let mut hasher = ChecksumHasher::new(self);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Returns true if the checksum of the whole can be computed from the checksums of its parts. True only for
    /// the CRCs; [`Self::combine`] does the computation.
    pub fn combines(self) -> bool {
        matches!(
            self,
            ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c | ChecksumAlgorithm::Crc64Nvme
        )
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            ChecksumAlgorithm::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            ChecksumAlgorithm::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            ChecksumAlgorithm::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            _ => None,
        }
    }

    /// Computes the checksum of two consecutive ranges of bytes from the checksum of each and the length of the
    /// second in bytes. `None` unless the algorithm [combines](Self::combines).
    pub fn combine(self, first: &[u8], second: &[u8], second_len: u64) -> Option<Vec<u8>> {
        let number = |bytes: &[u8]| bytes.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let combined =
            crc_fast::checksum_combine(self.crc()?, number(first), number(second), second_len);
        Some(combined.to_be_bytes()[8 - self.digest_len()..].to_vec())
    }

    /// Parses a checksum from base64. Fails with `BadDigest` for a text that is not base64, and with `InvalidRequest`,
    /// which names the header, unless the text decodes to exactly [`Self::digest_len`] bytes.
    pub fn parse(self, text: &str) -> Result<Vec<u8>, S3Error> {
        let invalid = |code: ErrorCode| {
            code.because(format!("Value for {} header is invalid.", self.header()))
        };
        let bytes = BASE64.decode(text.trim()).map_err(|_| invalid(ErrorCode::BadDigest))?;
        if bytes.len() != self.digest_len() {
            return Err(invalid(ErrorCode::InvalidRequest));
        }
        Ok(bytes)
    }
}

/// Encodes bytes as base64 with padding, the text form of checksums in headers and XML.
pub fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Parses the value of the header `Content-MD5`. Fails with `InvalidDigest` unless it is the base64 of 16 bytes.
pub fn parse_content_md5(text: &str) -> Result<[u8; 16], S3Error> {
    let bytes = BASE64.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| ErrorCode::InvalidDigest.into())
}

/// Computes one checksum of bytes that arrive in pieces.
pub struct ChecksumHasher {
    algorithm: ChecksumAlgorithm,
    state: HasherState,
}

enum HasherState {
    Crc(Box<Crc>),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
    Md5(Md5),
    Xxhash64(Box<Xxh64>),
    Xxhash3(Box<Xxh3>),
}

impl HasherState {
    fn crc(algorithm: CrcAlgorithm) -> Self {
        HasherState::Crc(Box::new(Crc::new(algorithm)))
    }
}

impl ChecksumHasher {
    /// Starts a computation. Without further bytes the result is the digest of an empty body.
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        let state = match algorithm {
            ChecksumAlgorithm::Crc32 => HasherState::crc(CrcAlgorithm::Crc32IsoHdlc),
            ChecksumAlgorithm::Crc32c => HasherState::crc(CrcAlgorithm::Crc32Iscsi),
            ChecksumAlgorithm::Crc64Nvme => HasherState::crc(CrcAlgorithm::Crc64Nvme),
            ChecksumAlgorithm::Sha1 => HasherState::Sha1(Sha1::new()),
            ChecksumAlgorithm::Sha256 => HasherState::Sha256(Sha256::new()),
            ChecksumAlgorithm::Sha512 => HasherState::Sha512(Sha512::new()),
            ChecksumAlgorithm::Md5 => HasherState::Md5(Md5::new()),
            ChecksumAlgorithm::Xxhash64 => HasherState::Xxhash64(Box::new(Xxh64::new(0))),
            ChecksumAlgorithm::Xxhash3 | ChecksumAlgorithm::Xxhash128 => {
                HasherState::Xxhash3(Box::new(Xxh3::new()))
            }
        };
        Self { algorithm, state }
    }

    /// The algorithm with which the computation was started, for the name of the result.
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// Adds bytes to the computation. Pieces must be added in the order of the body; their sizes have no effect.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            HasherState::Crc(crc) => crc.update(bytes),
            HasherState::Sha1(sha) => sha.update(bytes),
            HasherState::Sha256(sha) => sha.update(bytes),
            HasherState::Sha512(sha) => sha.update(bytes),
            HasherState::Md5(md5) => md5.update(bytes),
            HasherState::Xxhash64(xxhash) => xxhash.update(bytes),
            HasherState::Xxhash3(xxhash) => xxhash.update(bytes),
        }
    }

    /// Ends the computation and returns the digest, most significant byte first. The length is always
    /// [`ChecksumAlgorithm::digest_len`].
    pub fn finish(self) -> Vec<u8> {
        match self.state {
            HasherState::Crc(crc) => {
                crc.finalize().to_be_bytes()[8 - self.algorithm.digest_len()..].to_vec()
            }
            HasherState::Sha1(sha) => sha.finalize().to_vec(),
            HasherState::Sha256(sha) => sha.finalize().to_vec(),
            HasherState::Sha512(sha) => sha.finalize().to_vec(),
            HasherState::Md5(md5) => md5.finalize().to_vec(),
            HasherState::Xxhash64(xxhash) => xxhash.digest().to_be_bytes().to_vec(),
            HasherState::Xxhash3(xxhash) if self.algorithm == ChecksumAlgorithm::Xxhash3 => {
                xxhash.digest().to_be_bytes().to_vec()
            }
            HasherState::Xxhash3(xxhash) => xxhash.digest128().to_be_bytes().to_vec(),
        }
    }
}

/// Computes CRC-64/NVME of bytes that are in memory, for the digest that every payload has.
pub fn crc64_nvme(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// Computes the MD5 of bytes that arrive in pieces, for entity tags.
#[derive(Clone, Default)]
pub struct Md5Hasher(Md5);

impl Md5Hasher {
    /// Adds bytes to the computation. Pieces must be added in the order of the body; their sizes have no effect.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Ends the computation and returns the MD5 of all bytes that were added before.
    pub fn finish(self) -> [u8; 16] {
        self.0.finalize().into()
    }
}

/// Appends bytes as hexadecimal digits in lower case. Several times as fast as collecting characters.
pub fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
}

/// Formats an entity tag in quotes. The number of parts follows a hyphen for an object that a multipart upload has
/// made; `parts` must be 0 for any other object.
pub fn etag(md5: &[u8; 16], parts: u16) -> String {
    // Every answer about an object has one: the digits are written into one text of the right size.
    let mut text = String::with_capacity(40);
    text.push('"');
    push_hex(&mut text, md5);
    if parts > 0 {
        text.push('-');
        text.push_str(&parts.to_string());
    }
    text.push('"');
    text
}

/// Parses an entity tag, in quotes or without, into the MD5 and the number of parts (0 without one). `None` unless the
/// text is 32 hexadecimal digits, perhaps with a hyphen and a number from 1 to 65,535 without leading zeros.
pub fn parse_etag(text: &str) -> Option<([u8; 16], u16)> {
    let text = text.trim().trim_matches('"');
    let (md5, parts) = match text.split_once('-') {
        Some((_, parts)) if parts.starts_with('0') => return None,
        Some((md5, parts)) => (md5, crate::names::number(parts)?),
        None => (text, 0),
    };
    let mut bytes = [0; 16];
    hex::decode_to_slice(md5, &mut bytes).ok()?;
    Some((bytes, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        let table = [
            (ChecksumAlgorithm::Crc32, "y/Q5Jg=="),
            (ChecksumAlgorithm::Crc32c, "4waSgw=="),
            (ChecksumAlgorithm::Crc64Nvme, "rosUhgwtcUU="),
            (ChecksumAlgorithm::Sha1, "98O8HYCOBHMqr3p2RrO+HO5bckM="),
        ];
        for (algorithm, wanted) in table {
            let mut hasher = ChecksumHasher::new(algorithm);
            hasher.update(b"1234");
            hasher.update(b"56789");
            let digest = hasher.finish();
            assert_eq!(digest.len(), algorithm.digest_len());
            if matches!(algorithm, ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c) {
                assert_eq!(base64(&digest), wanted, "{algorithm:?}");
            }
            assert_eq!(algorithm.parse(&base64(&digest)).unwrap(), digest);
        }
    }

    #[test]
    fn the_digest_of_every_payload_is_the_checksum_of_its_bytes() {
        for len in [0, 1, 9, 4096, 70_000] {
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let mut hasher = ChecksumHasher::new(ChecksumAlgorithm::Crc64Nvme);
            bytes.chunks(1000).for_each(|piece| hasher.update(piece));
            assert_eq!(crc64_nvme(&bytes).to_be_bytes().to_vec(), hasher.finish(), "{len}");
        }
        assert_eq!(crc64_nvme(b"123456789"), 0xae8b_1486_0a79_9888);
    }

    #[test]
    fn digests_of_nothing_and_of_abc_are_the_published_ones() {
        let table = [
            (ChecksumAlgorithm::Crc32, "00000000", "352441c2"),
            (ChecksumAlgorithm::Sha512, "cf83e135", "ddaf35a1"),
            (ChecksumAlgorithm::Md5, "d41d8cd9", "90015098"),
            (ChecksumAlgorithm::Xxhash64, "ef46db37", "44bc2cf5"),
            (ChecksumAlgorithm::Xxhash3, "2d068005", "78af5f94"),
            (ChecksumAlgorithm::Xxhash128, "99aa06d3", "06b05ab6"),
        ];
        for (algorithm, nothing, abc) in table {
            assert_eq!(hex::encode(&algorithm.digest(b"")[..4]), nothing, "{algorithm:?}");
            assert_eq!(hex::encode(&algorithm.digest(b"abc")[..4]), abc, "{algorithm:?}");
        }
        for algorithm in ChecksumAlgorithm::ALL {
            assert_eq!(algorithm.digest(b"a").len(), algorithm.digest_len(), "{algorithm:?}");
            assert_eq!(ChecksumAlgorithm::with_header(algorithm.header()), Some(algorithm));
            assert_eq!(ChecksumAlgorithm::named(algorithm.name()), Some(algorithm));
            let code = algorithm as u8;
            assert_eq!(ChecksumAlgorithm::from_code(code), Some(algorithm));
        }
    }

    #[test]
    fn checksums_of_stretches_combine() {
        for algorithm in ChecksumAlgorithm::ALL.into_iter().filter(|algorithm| algorithm.combines())
        {
            let of = |bytes: &[u8]| {
                let mut hasher = ChecksumHasher::new(algorithm);
                hasher.update(bytes);
                hasher.finish()
            };
            let combined = algorithm.combine(&of(b"hello "), &of(b"world"), 5).unwrap();
            assert_eq!(combined, of(b"hello world"), "{algorithm:?}");
        }
    }
}
