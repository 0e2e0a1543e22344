//! Ids for the files of new segments and runs, one segment for each place of payload, and protection of these files while they are being written.

use std::collections::BTreeSet;
use std::sync::Arc;

use ingest::env::FilePath;
use ingest::ids::{RunId, SegmentId};
use ingest::place::Place;
use parking_lot::Mutex;

use super::Catalog;
use crate::layout::PartitionLayout;

/// Gives ids to new files in rising order. An id is never given twice by one process.
pub(crate) struct FileIds {
    ids: Arc<Mutex<Ids>>,
}

/// The state that [`FileIds`] shares with every [`TakenIds`].
struct Ids {
    next: (SegmentId, RunId),
    taken: BTreeSet<(SegmentId, RunId)>,
    /// The taken ids whose generation may or may not have been published.
    uncertain: BTreeSet<(SegmentId, RunId)>,
}

/// Ids for two segments and for a run, taken for files that are being written. Garbage collection
/// leaves these files alone until the value is dropped: by then a catalog names the files, or none ever
/// will. Dropping after [`TakenIds::keep`] extends the protection.
pub(crate) struct TakenIds {
    /// The id of the segment for all headers, and for payload of the hot place.
    pub segment: SegmentId,
    /// The id of the segment for payload of the cold place, in whichever place the file is written.
    pub cold_segment: SegmentId,
    pub run: RunId,
    ids: Arc<Mutex<Ids>>,
    stays: bool,
}

impl TakenIds {
    /// Keeps the ids taken after the drop, until [`FileIds::forget_uncertain`]. Called when a publication
    /// failed with an unknown result: the next start may find that generation, so the files that it names
    /// must stay until a later generation is durable.
    pub fn keep(&mut self) {
        self.stays = true;
    }
}

impl Drop for TakenIds {
    fn drop(&mut self) {
        let mut ids = self.ids.lock();
        if self.stays {
            ids.uncertain.insert((self.segment, self.run));
        } else {
            ids.taken.remove(&(self.segment, self.run));
        }
    }
}

impl FileIds {
    /// Begins with the next free ids of a catalog.
    pub fn new(catalog: &Catalog) -> Self {
        let next = (catalog.next_segment, catalog.next_run);
        let (taken, uncertain) = (BTreeSet::new(), BTreeSet::new());
        Self { ids: Arc::new(Mutex::new(Ids { next, taken, uncertain })) }
    }

    /// Takes ids for two new segments and for a new run, all higher than all before. Garbage collection spares
    /// the files of all until the returned value is dropped.
    pub fn take(&self) -> TakenIds {
        let mut ids = self.ids.lock();
        let (segment, run) = ids.next;
        let cold_segment = segment.next();
        ids.next = (cold_segment.next(), run.next());
        ids.taken.insert((segment, run));
        TakenIds { segment, cold_segment, run, ids: self.ids.clone(), stays: false }
    }

    /// Returns the next free ids. Every catalog is published with them, so that a later process never
    /// repeats an id of a published file.
    pub fn next(&self) -> (SegmentId, RunId) {
        self.ids.lock().next
    }

    /// Returns the paths of the files whose ids are taken. A catalog may already name some of them, if its
    /// publication has just ended or its result is unknown.
    pub fn being_written(&self, layout: &PartitionLayout) -> BTreeSet<FilePath> {
        let ids = self.ids.lock();
        let files = |(segment, run): &(SegmentId, RunId)| {
            let cold = Place::ALL.map(|place| layout.segment(place, segment.next()));
            let segments = [layout.segment(Place::Hot, *segment)].into_iter().chain(cold);
            segments.chain(layout.run_files(*run))
        };
        ids.taken.iter().flat_map(files).collect()
    }

    /// Frees the ids that were kept by [`TakenIds::keep`]. Called only after a newer generation is durable,
    /// since no start can find an older one from then on.
    pub fn forget_uncertain(&self) {
        let mut ids = self.ids.lock();
        for id in std::mem::take(&mut ids.uncertain) {
            ids.taken.remove(&id);
        }
    }
}
