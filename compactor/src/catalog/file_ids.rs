//! Ids of segments and runs whose files are being written.

use std::collections::BTreeSet;
use std::sync::Arc;

use ingest::env::FilePath;
use ingest::ids::{RunId, SegmentId};
use parking_lot::Mutex;

use super::Catalog;
use crate::layout::PartitionLayout;

/// The ids that are given to new files, in rising order; an id is never used twice.
pub(crate) struct FileIds {
    ids: Arc<Mutex<Ids>>,
}

struct Ids {
    next: (SegmentId, RunId),
    taken: BTreeSet<(SegmentId, RunId)>,
    /// Of the taken ones, those whose generation may or may not have been published.
    uncertain: BTreeSet<(SegmentId, RunId)>,
}

/// One id for a segment and one for a run, taken for files that are being written. Garbage collection leaves
/// these files alone until the value is dropped: by then a catalog names the files, or none ever will.
pub(crate) struct TakenIds {
    pub segment: SegmentId,
    pub run: RunId,
    ids: Arc<Mutex<Ids>>,
    stays: bool,
}

impl TakenIds {
    /// Keeps the ids taken behind a publication with an unknown end. A generation that could not be published
    /// for sure may still be the one that the next start finds; the files that it names must be there until a
    /// later generation is durable.
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
    /// Continues behind the highest ids of a catalog.
    pub fn new(catalog: &Catalog) -> Self {
        let next = (catalog.next_segment, catalog.next_run);
        let (taken, uncertain) = (BTreeSet::new(), BTreeSet::new());
        Self { ids: Arc::new(Mutex::new(Ids { next, taken, uncertain })) }
    }

    /// Takes ids for a new segment and a new run.
    pub fn take(&self) -> TakenIds {
        let mut ids = self.ids.lock();
        let (segment, run) = ids.next;
        ids.next = (segment.next(), run.next());
        ids.taken.insert((segment, run));
        TakenIds { segment, run, ids: self.ids.clone(), stays: false }
    }

    /// The ids that come next; a catalog is published with them.
    pub fn next(&self) -> (SegmentId, RunId) {
        self.ids.lock().next
    }

    /// The files whose ids are taken and that no catalog names yet.
    pub fn being_written(&self, layout: &PartitionLayout) -> BTreeSet<FilePath> {
        let ids = self.ids.lock();
        let files = |(segment, run): &(SegmentId, RunId)| {
            std::iter::once(layout.segment(*segment)).chain(layout.run_files(*run))
        };
        ids.taken.iter().flat_map(files).collect()
    }

    /// Frees uncertain ids. Called when a newer generation is durable, so that no older one can be found by
    /// the next start.
    pub fn forget_uncertain(&self) {
        let mut ids = self.ids.lock();
        for id in std::mem::take(&mut ids.uncertain) {
            ids.taken.remove(&id);
        }
    }
}
