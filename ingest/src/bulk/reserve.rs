//! Space for an upload, reserved before its first byte is taken, so that a full device refuses an upload
//! at its beginning instead of failing it in the middle.

use std::sync::Arc;

use super::file::BulkFile;
use super::format::{self, BLOCK, Identity};
use super::{BulkError, BulkFiles, Current, InFlight};
use crate::entry::Extent;
use crate::env::{DiskError, DiskErrorKind, Open};
use crate::mutant::Mutant;
use crate::words::BulkId;

/// Space for the part of an upload that lies in one file.
pub struct Piece {
    pub file: Arc<BulkFile>,
    pub extent: Extent,
    pub in_flight: InFlight,
}

impl BulkFiles {
    /// Reserves space for an upload of `len` bytes: one piece, unless it is larger than a file may be.
    ///
    /// Dropping the future may leave an empty file behind, which is sealed and garbage.
    pub(super) async fn reserve(self: &Arc<Self>, len: u64) -> Result<Vec<Piece>, BulkError> {
        // One at a time: space that one has seen free, another must not take.
        let _turn = self.turn.lock().await;
        let needed = self.bytes_needed(len);
        let free = self.env.disk.free_bytes().await?;
        if needed.saturating_add(self.options.reserve_bytes) > free {
            return Err(BulkError::Full { needed, free });
        }
        let mut begun = Vec::new();
        match self.reserve_pieces(len, &mut begun).await {
            Ok(pieces) => Ok(pieces),
            Err(error) => {
                self.discard(&begun).await;
                if error.kind == DiskErrorKind::NoSpace {
                    return Err(BulkError::Full { needed, free });
                }
                Err(BulkError::Disk(error))
            }
        }
    }

    /// What an upload may take of the device, headers of new files included.
    fn bytes_needed(&self, len: u64) -> u64 {
        let files = len / format::capacity(self.file_end() - BLOCK) + 1;
        format::span(len).saturating_add(files.saturating_mul(2 * BLOCK))
    }

    /// Where a file ends at the latest, in whole blocks.
    fn file_end(&self) -> u64 {
        self.options.file_bytes_max / BLOCK * BLOCK
    }

    async fn reserve_pieces(
        self: &Arc<Self>,
        len: u64,
        begun: &mut Vec<BulkId>,
    ) -> Result<Vec<Piece>, DiskError> {
        let mut pieces = Vec::new();
        let mut rest = len;
        while rest > 0 {
            let (file, position, in_flight) = match self.current_with_room(rest) {
                Some(found) => found,
                None => self.begin_file(begun).await?,
            };
            let taken = rest.min(format::capacity(self.file_end() - position));
            let end = position + format::span(taken);
            if let Err(error) = file.handle.allocate(0..end).await {
                if error.kind != DiskErrorKind::NoSpace {
                    file.fail(&error);
                }
                return Err(error);
            }
            self.state.lock().advance(file.identity.file, end);
            let extent = Extent { file: file.identity.file, position, len: taken };
            pieces.push(Piece { file, extent, in_flight });
            rest -= taken;
        }
        Ok(pieces)
    }

    /// The file that takes reservations, if an upload of `len` bytes fits into what is left of it.
    fn current_with_room(self: &Arc<Self>, len: u64) -> Option<(Arc<BulkFile>, u64, InFlight)> {
        let mut state = self.state.lock();
        let current = state.current.as_ref().filter(|current| current.is_open())?;
        let (file, end) = (current.file.clone(), current.end);
        if format::span(len) > self.file_end() - end {
            return None;
        }
        let in_flight = InFlight::new(self, &mut state, file.identity.file);
        Some((file, end, in_flight))
    }

    /// Begins the next file, which takes reservations from now on; the one before it is sealed once its
    /// uploads have ended. Its name is durable when this returns.
    async fn begin_file(
        self: &Arc<Self>,
        begun: &mut Vec<BulkId>,
    ) -> Result<(Arc<BulkFile>, u64, InFlight), DiskError> {
        // In flight before it exists, so that collection never meets it half made.
        let (id, in_flight) = {
            let mut state = self.state.lock();
            let id = state.take_id();
            (id, InFlight::new(self, &mut state, id))
        };
        let identity = Identity {
            store: self.options.store,
            partition: self.options.partition,
            file: id,
            nonce: self.env.random.next(),
        };
        let handle = self.env.disk.open(&self.options.path(id), Open::Create).await?;
        begun.push(id);
        handle.write_at(0, identity.encode()).await?;
        if !self.env.mutated(Mutant::SkipBulkFolderSync) {
            self.env.disk.sync_folder(Some(&self.options.folder)).await?;
        }
        let file = Arc::new(BulkFile::new(&self.env, identity, handle));
        self.state.lock().current = Some(Current { file: file.clone(), end: BLOCK });
        Ok((file, BLOCK, in_flight))
    }

    /// Removes the files that a reservation began in vain. One that cannot be removed is garbage.
    async fn discard(&self, begun: &[BulkId]) {
        for id in begun {
            {
                let mut state = self.state.lock();
                state.current.take_if(|current| current.file.identity.file == *id);
            }
            if let Err(error) = self.env.disk.remove(&self.options.path(*id)).await
                && error.kind != DiskErrorKind::NotFound
            {
                tracing::warn!(%error, "a bulk file that was begun in vain stays as garbage");
            }
        }
    }
}
