//! Returning space: of uploads that were abandoned or refused, and of files that an earlier process left.
//!
//! Only space that no record names, now or later, is returned, and no byte of it is written again: a
//! lost write shows as zeros, regardless of the bytes before. The return is durable some time later. A
//! power cut in between costs space until the file is removed, never payload.

use std::ops::Range;
use std::sync::Arc;

use super::BulkFiles;
use super::file::BulkFile;
use super::format;
use super::reserve::UploadPiece;
use super::upload::PendingWrite;
use crate::entry::Extent;
use crate::env::{DiskError, DiskErrorKind, Fut, OpenMode};
use crate::ids::BulkId;
use crate::mutant::Mutant;

/// The part of an abandoned upload that is returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReclaimScope {
    /// All of it.
    Whole,
    /// Only the part that was reserved and not written, since a state run or another record may name
    /// the rest.
    Unwritten,
}

/// The place of an abandoned piece: its beginning, the end of its writes, the end of its blocks, and
/// its own end. All in bytes from the beginning of the file.
struct AbandonedPiece {
    file: Arc<BulkFile>,
    start: u64,
    written: u64,
    allocated: u64,
    end: u64,
}

impl AbandonedPiece {
    fn of(piece: &UploadPiece) -> Self {
        Self {
            file: piece.file.clone(),
            start: piece.extent.position,
            written: piece.written,
            allocated: piece.allocated,
            end: piece.end(),
        }
    }
}

impl BulkFiles {
    /// Returns the space of an abandoned upload in a task of its own, after the upload's last write has
    /// ended. Called by drops, which cannot wait. Errors are logged: the space then stays taken until
    /// the file is removed.
    pub(super) fn give_back(
        self: &Arc<Self>,
        pieces: Vec<UploadPiece>,
        writing: Option<PendingWrite>,
        which: ReclaimScope,
    ) {
        if self.env.mutated(Mutant::KeepAbandoned) {
            return;
        }
        let bulk = self.clone();
        // The files are not held in flight: one that is removed meanwhile returns all of its space.
        let places: Vec<AbandonedPiece> = pieces.iter().map(AbandonedPiece::of).collect();
        drop(pieces);
        let task: Fut<'static, ()> = Box::pin(async move {
            // Waited for first, since a write that ends later would take its blocks again.
            if let Some(writing) = writing {
                let _ = writing.ended.await;
            }
            for place in places {
                bulk.give_back_place(&place, which).await;
            }
        });
        self.env.rt.spawn("bulk give back", task).detach();
    }

    /// Returns the rest of a piece that has become shorter, in a task of its own: the blocks behind the bytes that were
    /// written, and the place up to `end`, where the piece ended before. No later write of the piece may go there.
    pub(super) fn give_back_rest(self: &Arc<Self>, piece: &mut UploadPiece, end: u64) {
        let place = AbandonedPiece { end, ..AbandonedPiece::of(piece) };
        // From now on these blocks are another upload's, whatever becomes of this one.
        piece.allocated = piece.written;
        if self.env.mutated(Mutant::KeepAbandoned) {
            return;
        }
        let bulk = self.clone();
        let task: Fut<'static, ()> = Box::pin(async move {
            bulk.give_back_place(&place, ReclaimScope::Unwritten).await;
        });
        self.env.rt.spawn("bulk give back", task).detach();
    }

    /// Returns the blocks of one piece, then its place if no other upload has reserved behind it.
    async fn give_back_place(&self, place: &AbandonedPiece, which: ReclaimScope) {
        let start = match which {
            ReclaimScope::Whole => place.start,
            ReclaimScope::Unwritten => place.written,
        };
        let id = place.file.identity.file;
        let end = match self.env.mutated(Mutant::DiscardNeighbour) {
            true => place.end.max(self.reserved_end(id)),
            false => place.allocated,
        };
        if discard(&place.file, start..end).await {
            // The next upload may begin where the writes of this one ended, but only if this place is
            // the last in the file.
            let mut state = self.state.lock();
            if let Some(current) = &mut state.current[id.place()]
                && current.file.identity.file == id
                && current.end == place.end
            {
                current.end = place.written;
            }
        }
    }

    /// The end of all reservations in the current file; 0 for any other file.
    fn reserved_end(&self, id: BulkId) -> u64 {
        let state = self.state.lock();
        let current =
            state.current[id.place()].as_ref().filter(|current| current.file.identity.file == id);
        current.map_or(0, |current| current.end)
    }

    /// Returns the space of durable payload, in a task of its own. The caller must know that no record
    /// names the payload and none ever will.
    pub(super) fn give_back_written(self: &Arc<Self>, written: Vec<(Arc<BulkFile>, Extent)>) {
        if self.env.mutated(Mutant::KeepAbandoned) {
            return;
        }
        let task: Fut<'static, ()> = Box::pin(async move {
            for (file, extent) in written {
                discard(&file, extent.position..extent.position + format::span(extent.len)).await;
            }
        });
        self.env.rt.spawn("bulk give back", task).detach();
    }

    /// Returns space that an earlier process reserved in a file and did not write. Does nothing when
    /// the file is gone or not sealed, so it never races with an upload. Bytes that can be read stay
    /// unchanged. Fails when the disk does; a retry is safe.
    pub async fn tidy(&self, id: BulkId) -> Result<(), DiskError> {
        if !self.is_sealed(id) || self.env.mutated(Mutant::KeepAbandoned) {
            return Ok(());
        }
        match self.env.disk.open(&self.options.path(id), OpenMode::Write).await {
            Err(error) if error.kind == DiskErrorKind::NotFound => Ok(()),
            opened => opened?.discard_unwritten().await,
        }
    }
}

/// Returns a range of a file to the device, and `true` only on success. After an error the range is
/// garbage until the file is removed.
async fn discard(file: &BulkFile, range: Range<u64>) -> bool {
    if range.is_empty() {
        return true;
    }
    let discarded = file.handle.discard(range).await;
    if let Err(error) = &discarded {
        tracing::warn!(%error, "the space of an abandoned upload could not be returned");
    }
    discarded.is_ok()
}
