//! The digests of a body on its way.
//!
//! MD5 is the slowest step of an upload by far (0.7 GB/s where CRCs do tens), so a large body is digested
//! beside its way to the disk: a quarter of a mebibyte at a time, on a thread for work that keeps a core busy,
//! while the next is being read and written. A small body is digested where it is.

use bytes::Bytes;
use ingest::entry::StoredChecksum;
use s3::checksum::{ChecksumAlgorithm, ChecksumHasher, Md5Hasher};
use s3::error::{ErrorCode, S3Error};
use tokio::task::JoinHandle;

/// The digests to compute for a body, with the state of each.
pub struct DigestSet {
    /// MD5, the entity tag.
    pub md5: Md5Hasher,
    /// The checksum that the client announces or wants.
    pub checksum: Option<ChecksumHasher>,
    /// SHA-256, where the signature covers the body by it.
    pub sha256: Option<ChecksumHasher>,
}

impl DigestSet {
    /// Digests of an empty body, to be updated.
    pub fn new(checksum: Option<ChecksumAlgorithm>, wants_sha256: bool) -> Self {
        Self {
            md5: Md5Hasher::default(),
            checksum: checksum.map(ChecksumHasher::new),
            sha256: wants_sha256.then(|| ChecksumHasher::new(ChecksumAlgorithm::Sha256)),
        }
    }

    /// The digests of all bytes so far.
    pub fn finish(self) -> FinishedDigests {
        let stored = |hasher: ChecksumHasher| {
            let algorithm = hasher.algorithm();
            let digest = hasher.finish().into();
            let checksum =
                StoredChecksum { algorithm: algorithm as u8, is_composite: false, digest };
            (algorithm, checksum)
        };
        FinishedDigests {
            md5: self.md5.finish(),
            checksum: self.checksum.map(stored),
            sha256: self.sha256.map(ChecksumHasher::finish),
        }
    }

    /// Takes the next bytes, in order, on this thread.
    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.checksum.iter_mut().chain(&mut self.sha256).for_each(|hasher| hasher.update(bytes));
    }
}

/// The digests of a whole body.
pub struct FinishedDigests {
    /// MD5.
    pub md5: [u8; 16],
    /// The checksum over the whole body, with its algorithm, if one was computed.
    pub checksum: Option<(ChecksumAlgorithm, StoredChecksum)>,
    /// SHA-256, if it was computed.
    pub sha256: Option<Vec<u8>>,
}

/// The number of bytes that are digested at a time. At most the same number waits.
const BATCH_BYTES: usize = 256 << 10;

/// Digests of a body that is being received.
pub struct BodyDigests {
    at: DigestPlace,
    batch: Vec<Bytes>,
    batch_bytes: usize,
    is_beside: bool,
}

enum DigestPlace {
    Here(Box<DigestSet>),
    Beside(JoinHandle<Box<DigestSet>>),
}

impl DigestPlace {
    async fn back(self) -> Result<Box<DigestSet>, S3Error> {
        match self {
            DigestPlace::Here(hashes) => Ok(hashes),
            DigestPlace::Beside(working) => working.await.map_err(|error| {
                ErrorCode::InternalError.because(format!("a digest was not computed: {error}"))
            }),
        }
    }
}

impl BodyDigests {
    /// Digests of an empty body. With `is_beside` they are computed on another thread, for a large body.
    pub fn new(hashes: DigestSet, is_beside: bool) -> Self {
        Self {
            at: DigestPlace::Here(Box::new(hashes)),
            batch: Vec::new(),
            batch_bytes: 0,
            is_beside,
        }
    }

    /// Takes the next bytes, in order. Waits while the digests are behind. After the future is dropped the digests must
    /// not be used.
    pub async fn update(&mut self, bytes: &Bytes) -> Result<(), S3Error> {
        match &mut self.at {
            DigestPlace::Here(hashes) if !self.is_beside => hashes.update(bytes),
            _ => {
                self.batch_bytes += bytes.len();
                self.batch.push(bytes.clone());
                if self.batch_bytes >= BATCH_BYTES {
                    self.turn().await?;
                }
            }
        }
        Ok(())
    }

    /// Waits for the batch under way and starts the next one on another thread.
    async fn turn(&mut self) -> Result<(), S3Error> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        // Cancelled at this await, the body is given up as a whole: nobody asks for its digests.
        let nothing = DigestPlace::Here(Box::new(DigestSet::new(None, false)));
        let mut hashes = std::mem::replace(&mut self.at, nothing).back().await?;
        self.at = DigestPlace::Beside(tokio::task::spawn_blocking(move || {
            batch.iter().for_each(|bytes| hashes.update(bytes));
            hashes
        }));
        Ok(())
    }

    /// The digests of all bytes that were taken. Waits for a batch under way; fails only when its thread has failed.
    pub async fn finish(mut self) -> Result<FinishedDigests, S3Error> {
        if !self.batch.is_empty() {
            self.turn().await?;
        }
        Ok(self.at.back().await?.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_has_the_same_digests_here_and_beside() {
        let body: Bytes = (0..1_000_003u32).map(|at| (at * 7) as u8).collect::<Vec<u8>>().into();
        for piece in [1_000, 65_536, 300_000, 2_000_000] {
            let mut found = Vec::new();
            for is_beside in [false, true] {
                let hashes = DigestSet::new(Some(ChecksumAlgorithm::Crc32c), true);
                let mut digests = BodyDigests::new(hashes, is_beside);
                for start in (0..body.len()).step_by(piece) {
                    let bytes = body.slice(start..body.len().min(start + piece));
                    digests.update(&bytes).await.unwrap();
                }
                let digests = digests.finish().await.unwrap();
                found.push((digests.md5, digests.checksum.unwrap().1, digests.sha256));
            }
            assert!(found[0] == found[1], "pieces of {piece}");
        }
    }
}
