//! Files that are written once, synced, and from then on only read or removed.
//!
//! A sealed file is named by the catalog together with its length and BLAKE3 digest, so that a missing,
//! short or exchanged file is found wherever it matters. Formats inside carry checksums of their own per
//! block; the digest here is for `fsck`.
//!
//! Functions here read once. Whoever verifies what they give reads again before calling it damaged: see
//! [`confirm`].

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ingest::codec::{DecodeError, Decoder, EncodeError, Encoder};
use ingest::env::{Disk, DiskError, DiskErrorKind, File, FilePath, OpenMode};
use ingest::log::{Corruption, ReadError, confirm};

use crate::layout::partition_of;

/// What the catalog remembers of a sealed file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileDigest {
    /// Length in bytes.
    pub len: u64,
    /// BLAKE3 of all bytes.
    pub blake3: [u8; 32],
}

impl FileDigest {
    /// Appends it.
    pub fn encode(&self, out: &mut Encoder) {
        out.u64(self.len).raw(&self.blake3);
    }

    /// Takes it off.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self { len: from.u64("file length")?, blake3: from.array("file digest")? })
    }
}

/// A sealed file could not be written. Nothing of it is believed; remove it and begin again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An encoder refused its input: no decoder would take what came of it.
    #[error("cannot encode {file}: {detail}")]
    Encode {
        /// The file.
        file: FilePath,
        /// What the encoder said.
        detail: String,
    },
}

impl SealError {
    /// Something in a file would be beyond a limit.
    pub fn beyond(file: &FilePath, error: EncodeError) -> Self {
        Self::Encode { file: file.clone(), detail: error.to_string() }
    }
}

/// Bytes gathered before they go to the disk.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes a file from front to back, then seals it.
pub struct SealedWriter {
    file: Arc<dyn File>,
    buffer: BytesMut,
    written: u64,
    hasher: blake3::Hasher,
}

impl SealedWriter {
    /// Creates the file; it must not exist.
    pub async fn create(disk: &Arc<dyn Disk>, path: &FilePath) -> Result<Self, SealError> {
        let file = disk.open(path, OpenMode::Create).await?;
        Ok(Self { file, buffer: BytesMut::new(), written: 0, hasher: blake3::Hasher::new() })
    }

    /// The file's path.
    pub fn path(&self) -> &FilePath {
        self.file.path()
    }

    /// Where the next byte goes.
    pub fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Appends bytes.
    pub async fn append(&mut self, bytes: &[u8]) -> Result<(), SealError> {
        self.hasher.update(bytes);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), SealError> {
        let bytes = self.buffer.split().freeze();
        if bytes.is_empty() {
            return Ok(());
        }
        let position = self.written;
        self.written += bytes.len() as u64;
        Ok(self.file.write_at(position, bytes).await?)
    }

    /// Writes what is left and syncs the file. The caller syncs the folder.
    pub async fn finish(mut self) -> Result<FileDigest, SealError> {
        self.flush().await?;
        self.file.sync().await?;
        Ok(FileDigest { len: self.written, blake3: self.hasher.finalize().into() })
    }
}

/// Opens a sealed file and compares its length with what it should be.
pub async fn open(
    disk: &Arc<dyn Disk>,
    path: &FilePath,
    len: u64,
) -> Result<Arc<dyn File>, ReadError> {
    let file = disk.open(path, OpenMode::Read).await.map_err(|error| read_error(0, &error))?;
    let found = file.len().await.map_err(|error| read_error(0, &error))?;
    if found != len {
        let detail = format!("the file has {found} bytes, {len} were sealed");
        return Err(corruption(path, found.min(len), detail));
    }
    Ok(file)
}

/// A corruption of a sealed file.
pub fn corruption(path: &FilePath, position: u64, detail: impl Into<String>) -> ReadError {
    ReadError::Corrupt(Corruption { file: path.to_string(), position, detail: detail.into() })
}

/// Classifies a failed read of a sealed file. A missing or short file is damage, for the catalog names it
/// whole; so is a device that cannot read a stretch of it. That handles or memory have run out is not.
pub fn read_error(position: u64, error: &DiskError) -> ReadError {
    ReadError::of_disk(partition_of(&error.path), position, error)
}

/// Reads bytes of a sealed file.
pub async fn read(file: &Arc<dyn File>, position: u64, len: usize) -> Result<Bytes, ReadError> {
    file.read_at(position, len).await.map_err(|error| read_error(position, &error))
}

/// Recomputes a sealed file's length and digest, for `fsck`.
pub async fn verify(
    disk: &Arc<dyn Disk>,
    path: &FilePath,
    expected: &FileDigest,
) -> Result<(), ReadError> {
    confirm(|| verify_once(disk, path, expected)).await
}

async fn verify_once(
    disk: &Arc<dyn Disk>,
    path: &FilePath,
    expected: &FileDigest,
) -> Result<(), ReadError> {
    let file = open(disk, path, expected.len).await?;
    let mut hasher = blake3::Hasher::new();
    let mut position = 0;
    while position < expected.len {
        let len = (expected.len - position).min(BUFFER_BYTES as u64);
        hasher.update(&read(&file, position, len as usize).await?);
        position += len;
    }
    let found = *hasher.finalize().as_bytes();
    if found != expected.blake3 {
        let hex = |bytes: [u8; 32]| blake3::Hash::from(bytes).to_hex().to_string();
        let detail =
            format!("the file's BLAKE3 is {}, {} was sealed", hex(found), hex(expected.blake3));
        return Err(corruption(path, 0, detail));
    }
    Ok(())
}

/// Removes a file. Succeeds when there is none; the caller syncs the folder.
pub(crate) async fn remove_if_there(
    disk: &Arc<dyn Disk>,
    path: &FilePath,
) -> Result<(), DiskError> {
    match disk.remove(path).await {
        Err(error) if error.kind != DiskErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
