//! The checksums that clients send with objects, and entity tags.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::Sha256;

use crate::error::{Code, S3Error};

/// An algorithm of S3's. The numbers are those that the store keeps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Algorithm {
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
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 5] = [
        Algorithm::Crc32,
        Algorithm::Crc32c,
        Algorithm::Crc64Nvme,
        Algorithm::Sha1,
        Algorithm::Sha256,
    ];

    /// The name in headers such as `x-amz-checksum-algorithm`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "CRC32",
            Algorithm::Crc32c => "CRC32C",
            Algorithm::Crc64Nvme => "CRC64NVME",
            Algorithm::Sha1 => "SHA1",
            Algorithm::Sha256 => "SHA256",
        }
    }

    /// The header that carries such a checksum.
    pub fn header(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "x-amz-checksum-crc32",
            Algorithm::Crc32c => "x-amz-checksum-crc32c",
            Algorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Algorithm::Sha1 => "x-amz-checksum-sha1",
            Algorithm::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The XML element that carries such a checksum.
    pub fn element(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "ChecksumCRC32",
            Algorithm::Crc32c => "ChecksumCRC32C",
            Algorithm::Crc64Nvme => "ChecksumCRC64NVME",
            Algorithm::Sha1 => "ChecksumSHA1",
            Algorithm::Sha256 => "ChecksumSHA256",
        }
    }

    /// The algorithm of a name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The algorithm with a number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| *algorithm as u8 == code)
    }

    /// Bytes of a digest.
    pub fn digest_len(self) -> usize {
        match self {
            Algorithm::Crc32 | Algorithm::Crc32c => 4,
            Algorithm::Crc64Nvme => 8,
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
        }
    }

    /// Whether checksums of parts combine to that of the whole.
    pub fn combines(self) -> bool {
        matches!(self, Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Crc64Nvme)
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Algorithm::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Algorithm::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Algorithm::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Algorithm::Sha1 | Algorithm::Sha256 => None,
        }
    }

    /// The checksum of two stretches from those of each.
    pub fn combine(self, first: &[u8], second: &[u8], second_len: u64) -> Option<Vec<u8>> {
        let number = |bytes: &[u8]| bytes.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let combined =
            crc_fast::checksum_combine(self.crc()?, number(first), number(second), second_len);
        Some(combined.to_be_bytes()[8 - self.digest_len()..].to_vec())
    }

    /// Parses a checksum as headers carry it.
    pub fn parse(self, text: &str) -> Result<Vec<u8>, S3Error> {
        let bytes =
            BASE64.decode(text.trim()).ok().filter(|bytes| bytes.len() == self.digest_len());
        bytes.ok_or_else(|| {
            Code::InvalidRequest.because(format!("Value for {} header is invalid.", self.header()))
        })
    }
}

/// Base64, as checksums are written.
pub fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Parses a `Content-MD5`.
pub fn parse_content_md5(text: &str) -> Result<[u8; 16], S3Error> {
    let bytes = BASE64.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Code::InvalidDigest.into())
}

/// Computes one checksum as bytes come.
pub struct Hasher {
    algorithm: Algorithm,
    state: State,
}

enum State {
    Crc(Box<Crc>),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    /// Starts.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match (algorithm.crc(), algorithm) {
            (Some(crc), _) => State::Crc(Box::new(Crc::new(crc))),
            (None, Algorithm::Sha1) => State::Sha1(Sha1::new()),
            (None, _) => State::Sha256(Sha256::new()),
        };
        Self { algorithm, state }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Takes bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc(crc) => crc.update(bytes),
            State::Sha1(sha) => sha.update(bytes),
            State::Sha256(sha) => sha.update(bytes),
        }
    }

    /// The digest, most significant byte first.
    pub fn finish(self) -> Vec<u8> {
        match self.state {
            State::Crc(crc) => {
                crc.finalize().to_be_bytes()[8 - self.algorithm.digest_len()..].to_vec()
            }
            State::Sha1(sha) => sha.finalize().to_vec(),
            State::Sha256(sha) => sha.finalize().to_vec(),
        }
    }
}

/// MD5 as bytes come, for entity tags.
#[derive(Clone, Default)]
pub struct Md5Hasher(Md5);

impl Md5Hasher {
    /// Takes bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest.
    pub fn finish(self) -> [u8; 16] {
        self.0.finalize().into()
    }
}

/// An entity tag as headers carry it: quoted, with the number of parts where there are parts.
pub fn etag(md5: &[u8; 16], parts: u16) -> String {
    if parts == 0 {
        format!("\"{}\"", hex::encode(md5))
    } else {
        format!("\"{}-{parts}\"", hex::encode(md5))
    }
}

/// Parses an entity tag, quoted or not; `None` for one that this store never gives.
pub fn parse_etag(text: &str) -> Option<([u8; 16], u16)> {
    let text = text.trim().trim_matches('"');
    let (md5, parts) = text.split_once('-').unwrap_or((text, "0"));
    let mut bytes = [0; 16];
    hex::decode_to_slice(md5, &mut bytes).ok()?;
    Some((bytes, parts.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        let table = [
            (Algorithm::Crc32, "y/Q5Jg=="),
            (Algorithm::Crc32c, "4waSgw=="),
            (Algorithm::Crc64Nvme, "rosUhgwtcUU="),
            (Algorithm::Sha1, "98O8HYCOBHMqr3p2RrO+HO5bckM="),
        ];
        for (algorithm, wanted) in table {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"1234");
            hasher.update(b"56789");
            let digest = hasher.finish();
            assert_eq!(digest.len(), algorithm.digest_len());
            if matches!(algorithm, Algorithm::Crc32 | Algorithm::Crc32c) {
                assert_eq!(base64(&digest), wanted, "{algorithm:?}");
            }
            assert_eq!(algorithm.parse(&base64(&digest)).unwrap(), digest);
        }
    }

    #[test]
    fn checksums_of_stretches_combine() {
        for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.combines()) {
            let of = |bytes: &[u8]| {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(bytes);
                hasher.finish()
            };
            let combined = algorithm.combine(&of(b"hello "), &of(b"world"), 5).unwrap();
            assert_eq!(combined, of(b"hello world"), "{algorithm:?}");
        }
    }
}
