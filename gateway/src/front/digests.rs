//! The digests of a body on its way.
//!
//! MD5 is the slowest step of an upload by far (0.7 GB/s where CRCs do tens), so a large body is digested
//! beside its way to the disk: a quarter of a mebibyte at a time, on a thread for work that keeps a core busy,
//! while the next is being read and written. A small body is digested where it is.

use bytes::Bytes;
use s3::checksum::{Algorithm, Hasher, Md5Hasher};
use s3::error::{Code, S3Error};
use tokio::task::JoinHandle;

/// What is computed of a body.
pub struct Hashes {
    /// MD5, the entity tag.
    pub md5: Md5Hasher,
    /// The checksum that the client announces or that is asked for.
    pub checksum: Option<Hasher>,
    /// SHA-256, where the signature covers it.
    pub sha256: Option<Hasher>,
}

impl Hashes {
    /// Begins with nothing taken.
    pub fn new(checksum: Option<Algorithm>, wants_sha256: bool) -> Self {
        Self {
            md5: Md5Hasher::default(),
            checksum: checksum.map(Hasher::new),
            sha256: wants_sha256.then(|| Hasher::new(Algorithm::Sha256)),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.checksum.iter_mut().chain(&mut self.sha256).for_each(|hasher| hasher.update(bytes));
    }
}

/// So much is digested at a time; as much again may wait for its turn.
const BATCH_BYTES: usize = 256 << 10;

/// Digests under way.
pub struct Digests {
    at: Place,
    batch: Vec<Bytes>,
    batch_bytes: usize,
    is_beside: bool,
}

enum Place {
    Here(Box<Hashes>),
    Beside(JoinHandle<Box<Hashes>>),
}

impl Place {
    async fn back(self) -> Result<Box<Hashes>, S3Error> {
        match self {
            Place::Here(hashes) => Ok(hashes),
            Place::Beside(working) => working.await.map_err(|error| {
                tracing::error!(%error, "a digest was not computed");
                Code::InternalError.into()
            }),
        }
    }
}

impl Digests {
    /// Begins; `is_beside` for a large body.
    pub fn new(hashes: Hashes, is_beside: bool) -> Self {
        Self { at: Place::Here(Box::new(hashes)), batch: Vec::new(), batch_bytes: 0, is_beside }
    }

    /// Takes the next bytes. Waits while the digests are behind.
    pub async fn update(&mut self, bytes: &Bytes) -> Result<(), S3Error> {
        match &mut self.at {
            Place::Here(hashes) if !self.is_beside => hashes.update(bytes),
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

    /// Waits for the batch before, and hands the next one over.
    async fn turn(&mut self) -> Result<(), S3Error> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        // Cancelled at this await, the body is given up as a whole: nobody asks for its digests.
        let nothing = Place::Here(Box::new(Hashes::new(None, false)));
        let mut hashes = std::mem::replace(&mut self.at, nothing).back().await?;
        self.at = Place::Beside(tokio::task::spawn_blocking(move || {
            batch.iter().for_each(|bytes| hashes.update(bytes));
            hashes
        }));
        Ok(())
    }

    /// The digests of all that was taken.
    pub async fn finish(mut self) -> Result<Hashes, S3Error> {
        if !self.batch.is_empty() {
            self.turn().await?;
        }
        Ok(*self.at.back().await?)
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
                let hashes = Hashes::new(Some(Algorithm::Crc32c), true);
                let mut digests = Digests::new(hashes, is_beside);
                for start in (0..body.len()).step_by(piece) {
                    let bytes = body.slice(start..body.len().min(start + piece));
                    digests.update(&bytes).await.unwrap();
                }
                let hashes = digests.finish().await.unwrap();
                let others = hashes.checksum.into_iter().chain(hashes.sha256);
                found.push((hashes.md5.finish(), others.map(Hasher::finish).collect::<Vec<_>>()));
            }
            assert!(found[0] == found[1], "pieces of {piece}");
        }
    }
}
