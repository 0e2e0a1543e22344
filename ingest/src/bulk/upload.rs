//! An upload: payload streams in, frames go out.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use bytes::{Buf, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};

use super::file::OpenFile;
use super::frame::{self, FRAME_BYTES, PAYLOAD_BYTES};
use super::{BulkError, BulkFiles, Options};
use crate::entry::Extent;
use crate::env::{DiskError, Env};
use crate::mutant::Mutant;
use crate::words::BulkId;

/// Frames gathered before they are written.
const WRITE_BYTES: usize = 4 * FRAME_BYTES as usize;

/// Holds files in use: while it lives, none of them is collected. Keep it until the outcome of the record
/// that names the payload is known.
pub struct InFlight {
    files: Vec<BulkId>,
    of: Weak<BulkFiles>,
}

impl InFlight {
    pub(super) fn new(of: &Arc<BulkFiles>) -> Self {
        Self { files: Vec::new(), of: Arc::downgrade(of) }
    }

    pub(super) fn hold(&mut self, id: BulkId) {
        if let Some(of) = self.of.upgrade()
            && !self.files.contains(&id)
        {
            *of.state.lock().in_flight.entry(id).or_default() += 1;
            self.files.push(id);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Some(of) = self.of.upgrade() else { return };
        let mut state = of.state.lock();
        for id in &self.files {
            if let Some(count) = state.in_flight.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    state.in_flight.remove(id);
                }
            }
        }
    }
}

/// Payload that is durable and waits for its record.
pub struct Written {
    /// Where it lies.
    pub extents: Arc<[Extent]>,
    /// CRC-64/NVME of it.
    pub digest: u64,
    /// Keeps its files from being collected.
    pub in_flight: InFlight,
}

/// An upload under way. Dropping it leaves its space to the collector.
pub struct Upload {
    env: Env,
    sync_bytes: u64,
    announced: u64,
    came: u64,
    /// Reserved extents that are not full yet.
    places: VecDeque<(Arc<OpenFile>, Extent)>,
    extents: Arc<[Extent]>,
    /// Payload bytes written to the first of `places`.
    in_extent: u64,
    /// Payload that does not fill a frame yet.
    partial: BytesMut,
    /// Frames to be written together, and where.
    frames: BytesMut,
    frames_at: u64,
    unsynced: u64,
    digest: Digest,
    in_flight: InFlight,
}

impl Upload {
    pub(super) fn new(
        env: Env,
        options: &Options,
        announced: u64,
        places: Vec<(Arc<OpenFile>, Extent)>,
        in_flight: InFlight,
    ) -> Self {
        Self {
            env,
            sync_bytes: options.sync_bytes,
            announced,
            came: 0,
            extents: places.iter().map(|(_, extent)| *extent).collect(),
            places: places.into(),
            in_extent: 0,
            partial: BytesMut::new(),
            frames: BytesMut::new(),
            frames_at: 0,
            unsynced: 0,
            digest: Digest::new(CrcAlgorithm::Crc64Nvme),
            in_flight,
        }
    }

    /// Takes the next bytes. Memory stays at a few frames; waits while they are written.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), BulkError> {
        self.came += bytes.len() as u64;
        if self.came > self.announced {
            return Err(BulkError::Length { announced: self.announced, came: self.came });
        }
        self.digest.update(&bytes);
        while !bytes.is_empty() {
            let Some((_, extent)) = self.places.front() else {
                return Err(BulkError::Length { announced: self.announced, came: self.came });
            };
            let frame = (extent.len - self.in_extent).min(PAYLOAD_BYTES) as usize;
            let take = bytes.len().min(frame - self.partial.len());
            self.partial.extend_from_slice(&bytes[..take]);
            bytes.advance(take);
            if self.partial.len() == frame {
                self.end_frame().await?;
            }
        }
        Ok(())
    }

    async fn end_frame(&mut self) -> Result<(), BulkError> {
        let Some((file, extent)) = self.places.front().cloned() else { return Ok(()) };
        let position = extent.position + self.in_extent / PAYLOAD_BYTES * FRAME_BYTES;
        if self.frames.is_empty() {
            self.frames_at = position;
            self.frames.reserve(WRITE_BYTES);
        }
        frame::encode(&file.head, position, &self.partial, &mut self.frames);
        self.in_extent += self.partial.len() as u64;
        self.partial.clear();
        let is_full = self.in_extent == extent.len;
        if self.frames.len() >= WRITE_BYTES || is_full {
            self.flush(&file).await?;
        }
        if self.unsynced >= self.sync_bytes || is_full {
            self.sync(&file).await?;
        }
        if is_full {
            self.places.pop_front();
            self.in_extent = 0;
        }
        Ok(())
    }

    async fn flush(&mut self, file: &OpenFile) -> Result<(), BulkError> {
        let bytes = self.frames.split().freeze();
        self.unsynced += bytes.len() as u64;
        let written = file.file.write_at(self.frames_at, bytes).await;
        written.map_err(|error| {
            file.fail(&error);
            failed(file, &error)
        })
    }

    async fn sync(&mut self, file: &OpenFile) -> Result<(), BulkError> {
        self.unsynced = 0;
        if self.env.mutated(Mutant::SkipBulkSync) {
            return Ok(());
        }
        file.sync().await.map_err(|error| failed(file, &error))
    }

    /// Ends the upload: everything that was announced has come and is durable.
    pub async fn finish(self) -> Result<Written, BulkError> {
        // The last frame of each extent was written and synced when it filled up.
        if self.came != self.announced || !self.places.is_empty() {
            return Err(BulkError::Length { announced: self.announced, came: self.came });
        }
        Ok(Written {
            extents: self.extents,
            digest: self.digest.finalize(),
            in_flight: self.in_flight,
        })
    }
}

fn failed(file: &OpenFile, error: &DiskError) -> BulkError {
    BulkError::Failed { file: file.file.path().clone(), detail: error.to_string() }
}
