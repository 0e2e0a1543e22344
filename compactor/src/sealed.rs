//! Files that are written once and synced, and are then only read or removed.
//!
//! The catalog names a sealed file together with its length and BLAKE3 digest, so that a missing, short or
//! exchanged file is detected. Formats have checksums of their own for each block; `fsck` verifies the
//! digest.
//!
//! Most functions here read once. A caller that verifies the bytes must read again before it reports
//! damage: see [`confirm`].

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ingest::codec::{DecodeError, Decoder, EncodeError, Encoder};
use ingest::env::{Disk, DiskError, DiskErrorKind, File, FilePath, OpenMode};
use ingest::log::{Corruption, ReadError, confirm};

use crate::layout::partition_of;

/// The length and digest of a sealed file, as the catalog stores them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileDigest {
    /// The length in bytes.
    pub len: u64,
    /// BLAKE3 of all bytes.
    pub blake3: [u8; 32],
}

impl FileDigest {
    /// Appends length and digest to an encoder, 40 bytes in all.
    pub fn encode(&self, out: &mut Encoder) {
        out.u64(self.len).raw(&self.blake3);
    }

    /// Decodes length and digest, in the order of [`FileDigest::encode`]. Fails if fewer than 40 bytes are
    /// left.
    pub fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self { len: from.u64("file length")?, blake3: from.array("file digest")? })
    }
}

/// The error of writing a sealed file. The file must not be used: remove it and begin again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// The disk failed. A retry may help.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An encoder refused its input, because no decoder would accept the result. A retry with the same
    /// input fails again.
    #[error("cannot encode {file}: {detail}")]
    Encode {
        /// The path of the file.
        file: FilePath,
        /// The encoder's message.
        detail: String,
    },
}

impl SealError {
    /// Makes the error for a value beyond a limit of the file's format.
    pub fn beyond(file: &FilePath, error: EncodeError) -> Self {
        Self::Encode { file: file.clone(), detail: error.to_string() }
    }
}

/// Bytes that are collected before they are written to the disk.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes a file from front to back, then seals it. Memory: up to 1 MiB, and the largest append.
pub struct SealedWriter {
    file: Arc<dyn File>,
    buffer: BytesMut,
    written: u64,
    hasher: blake3::Hasher,
}

impl SealedWriter {
    /// Creates the file. Fails if it exists already, or the disk fails.
    pub async fn create(disk: &Arc<dyn Disk>, path: &FilePath) -> Result<Self, SealError> {
        let file = disk.open(path, OpenMode::Create).await?;
        Ok(Self { file, buffer: BytesMut::new(), written: 0, hasher: blake3::Hasher::new() })
    }

    /// Returns the file's path, for error messages.
    pub fn path(&self) -> &FilePath {
        self.file.path()
    }

    /// Returns the position in bytes at which the next append begins.
    pub fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Appends bytes, which are durable only after [`SealedWriter::finish`]. After an error the file must
    /// be discarded.
    pub async fn append(&mut self, bytes: &[u8]) -> Result<(), SealError> {
        self.hasher.update(bytes);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Writes the collected bytes to the disk without a sync.
    async fn flush(&mut self) -> Result<(), SealError> {
        let bytes = self.buffer.split().freeze();
        if bytes.is_empty() {
            return Ok(());
        }
        let position = self.written;
        self.written += bytes.len() as u64;
        Ok(self.file.write_at(position, bytes).await?)
    }

    /// Writes the remaining bytes and syncs the file; returns length and digest. The caller must sync the
    /// folder before a catalog names the file. On an error the content is undefined, and the file must be
    /// discarded.
    pub async fn finish(mut self) -> Result<FileDigest, SealError> {
        self.flush().await?;
        self.file.sync().await?;
        Ok(FileDigest { len: self.written, blake3: self.hasher.finalize().into() })
    }
}

/// Opens a sealed file and compares its length with `len`, the length in the catalog. Fails with corruption
/// if the file is missing or has another length.
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

/// Makes the error for a corruption of a sealed file, at a position in bytes.
pub fn corruption(path: &FilePath, position: u64, detail: impl Into<String>) -> ReadError {
    ReadError::Corrupt(Corruption { file: path.to_string(), position, detail: detail.into() })
}

/// Classifies a failed read of a sealed file. A missing or short file and an unreadable range of a device
/// are corruption, since the catalog names the whole file. Exhausted handles or memory are a transient
/// error.
pub fn read_error(position: u64, error: &DiskError) -> ReadError {
    ReadError::of_disk(partition_of(&error.path), position, error)
}

/// Reads exactly `len` bytes at a position, unverified. Fails with corruption if the file ends before, see
/// [`read_error`].
pub async fn read(file: &Arc<dyn File>, position: u64, len: usize) -> Result<Bytes, ReadError> {
    file.read_at(position, len).await.map_err(|error| read_error(position, &error))
}

/// Reads a whole sealed file and compares length and BLAKE3 with the expected digest, for `fsck`. Reads 1
/// MiB at a time. Fails with corruption only after a second read has confirmed the damage.
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

/// Removes a file; does nothing if there is none. The removal is durable only after the caller has synced
/// the folder.
pub(crate) async fn remove_if_there(
    disk: &Arc<dyn Disk>,
    path: &FilePath,
) -> Result<(), DiskError> {
    match disk.remove(path).await {
        Err(error) if error.kind != DiskErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
