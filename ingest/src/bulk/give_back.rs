//! Giving space back: of uploads that were abandoned or refused, and of files that an earlier life left.
//!
//! Only space that no record names and none ever will is given back, and no byte of it is written again:
//! a lost write shows as zeros, whatever lay there before. What is given back is durable some time later;
//! a power cut in between costs space until the file is removed, never payload.

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

/// Which part of an abandoned upload is given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReclaimScope {
    /// All of it.
    Whole,
    /// The part that was reserved and not written: something may name the rest, a state run say.
    Unwritten,
}

/// An abandoned piece: where it began, how far it was written and had blocks, and where
/// its place ended.
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
    /// Gives the space of an abandoned upload back, once its last write has ended. Done by a task, since
    /// uploads are abandoned by dropping them.
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
        // The files are not held: one that is removed meanwhile gives everything back.
        let places: Vec<AbandonedPiece> = pieces.iter().map(AbandonedPiece::of).collect();
        drop(pieces);
        let task: Fut<'static, ()> = Box::pin(async move {
            // A write that ends later would take its blocks again.
            if let Some(writing) = writing {
                let _ = writing.ended.await;
            }
            for place in places {
                bulk.give_back_place(&place, which).await;
            }
        });
        self.env.rt.spawn("bulk give back", task).detach();
    }

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
            // The place itself goes to the next upload, if it is the last: above what was written.
            let mut state = self.state.lock();
            if let Some(current) = &mut state.current
                && current.file.identity.file == id
                && current.end == place.end
            {
                current.end = place.written;
            }
        }
    }

    fn reserved_end(&self, id: BulkId) -> u64 {
        let state = self.state.lock();
        let current = state.current.as_ref().filter(|current| current.file.identity.file == id);
        current.map_or(0, |current| current.end)
    }

    /// Gives payload back that was durable already and that no record names or ever will.
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

    /// Gives back what earlier lives reserved in a file and did not write. Content if the file has gone.
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

/// Gives a range of a file back; says whether that went well. What stays is garbage until the file goes.
async fn discard(file: &BulkFile, range: Range<u64>) -> bool {
    if range.is_empty() {
        return true;
    }
    let discarded = file.handle.discard(range).await;
    if let Err(error) = &discarded {
        tracing::warn!(%error, "the space of an abandoned upload stays taken");
    }
    discarded.is_ok()
}
