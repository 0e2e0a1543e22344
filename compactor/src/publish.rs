//! Publishing: the one place where the catalog changes.
//!
//! Sealer, merger and collector each hand in an edit. Edits are made one after the other on the newest
//! catalog, written as the next generation, and shown to readers only after that generation is durable.
//! Files that an edit lets go are removed once no reader can still open them.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use ingest::env::FilePath;
use ingest::ids::{Generation, RunId, SegmentId};
use ingest::log::ReadError;
use ingest::mutant::Mutant;
use parking_lot::Mutex;

use crate::catalog::{self, Catalog, PublishError};
use crate::layout::PartitionLayout;
use crate::memtable::Memtable;
use crate::partition::PartitionShared;
use crate::view::{ReadView, SealedFiles};

/// A catalog could not be published.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Writing the catalog failed. What it would have named stays, in case the generation is found.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The new files could not be opened.
    #[error(transparent)]
    Open(#[from] ReadError),
}

/// See the module's description.
pub(crate) struct Publisher {
    /// Held while an edit is made; the generation last tried, published or not.
    turn: tokio::sync::Mutex<Generation>,
    ids: Arc<Mutex<FileIds>>,
    /// Views that readers may still hold.
    views: Mutex<Vec<Weak<ReadView>>>,
}

struct FileIds {
    next: (SegmentId, RunId),
    taken: BTreeSet<(SegmentId, RunId)>,
    /// Of the taken ones, those whose generation may or may not have been published.
    uncertain: BTreeSet<(SegmentId, RunId)>,
}

/// Ids whose files are being written. Dropped once a catalog names the files, or nothing ever will;
/// until then the collector leaves them alone.
pub(crate) struct TakenIds {
    pub segment: SegmentId,
    pub run: RunId,
    ids: Arc<Mutex<FileIds>>,
    stays: bool,
}

impl TakenIds {
    /// Takes note of how publishing went. A generation that could not be published for sure may still be
    /// the one that the next start finds: then the files that it names must be there, so they stay taken
    /// until a later generation is durable.
    pub fn note(&mut self, published: &Result<(), EditError>) {
        let was_written =
            |error| !matches!(error, &EditError::Publish(PublishError::Encode { .. }));
        self.stays = published.as_ref().err().is_some_and(was_written);
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

impl Publisher {
    /// Starts from the catalog that was found.
    pub fn new(catalog: &Catalog) -> Self {
        Self {
            turn: tokio::sync::Mutex::new(catalog.generation),
            ids: Arc::new(Mutex::new(FileIds {
                next: (catalog.next_segment, catalog.next_run),
                taken: BTreeSet::new(),
                uncertain: BTreeSet::new(),
            })),
            views: Mutex::default(),
        }
    }

    /// Takes ids for a new segment and a new run. Ids that come to nothing are not used again.
    pub fn take_ids(&self) -> TakenIds {
        let mut ids = self.ids.lock();
        let (segment, run) = ids.next;
        ids.next = (segment.next(), run.next());
        ids.taken.insert((segment, run));
        TakenIds { segment, run, ids: self.ids.clone(), stays: false }
    }

    /// The files whose ids are taken and that no catalog names yet.
    pub fn being_written(&self, layout: &PartitionLayout) -> BTreeSet<FilePath> {
        let ids = self.ids.lock();
        let files = |(segment, run): &(SegmentId, RunId)| {
            std::iter::once(layout.segment(*segment)).chain(layout.run_files(*run))
        };
        ids.taken.iter().flat_map(files).collect()
    }

    /// Remembers a view that is being replaced: readers may hold it for long.
    pub fn replaced(&self, view: &Arc<ReadView>) {
        let mut views = self.views.lock();
        views.retain(|view| view.strong_count() > 0);
        views.push(Arc::downgrade(view));
    }

    /// The replaced views that readers still hold.
    pub fn held_views(&self) -> Vec<Arc<ReadView>> {
        self.views.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// A newer generation is durable: what an uncertain one before it names is named by nothing.
    fn forget_uncertain(&self) {
        let mut ids = self.ids.lock();
        for id in std::mem::take(&mut ids.uncertain) {
            ids.taken.remove(&id);
        }
    }
}

impl PartitionShared {
    /// Makes an edit durable, then visible. With `sealed`, that frozen memtable leaves the view in the same
    /// step in which its run enters it.
    pub async fn publish(
        &self,
        sealed_memtable: Option<&Arc<Memtable>>,
        edit: impl FnOnce(&mut Catalog) + Send,
    ) -> Result<(), EditError> {
        let mut tried = self.publisher.turn.lock().await;
        let former = self.view.read().sealed.clone();
        let mut catalog = former.catalog.clone();
        edit(&mut catalog);
        catalog.generation = tried.next();
        catalog.previous = former.catalog.digest_of_encoding();
        (catalog.next_segment, catalog.next_run) = self.publisher.ids.lock().next;
        catalog.next_bulk = catalog.next_bulk.max(self.bulk.highest().next());
        *tried = catalog.generation;
        if self.env.mutated(Mutant::DropFrozenEarly) {
            self.swap(sealed_memtable, former.clone());
            ingest::env::yield_once().await;
        }
        catalog::publish(&self.env, &self.layout, &catalog).await?;
        self.publisher.forget_uncertain();
        let disk = &self.env.disk;
        let sealed =
            SealedFiles::open(disk, &self.layout, self.store, catalog, Some(&former)).await?;
        self.swap(sealed_memtable, Arc::new(sealed));
        self.look_at_files(former.catalog.longest_list().0);
        self.look_at_space().await;
        Ok(())
    }

    /// Tries once more to open runs of which a file could not be used: it may have been put back, or a device
    /// may have come to itself. Nothing of the catalog changes.
    pub async fn reopen_damaged(&self) {
        if self.view.read().sealed.runs.iter().all(|run| run.damage().is_none()) {
            return;
        }
        let _turn = self.publisher.turn.lock().await;
        let former = self.view.read().sealed.clone();
        if let Some(sealed) = former.reopened(&self.env.disk, &self.layout).await {
            self.swap(None, Arc::new(sealed));
        }
    }

    fn swap(&self, sealed_memtable: Option<&Arc<Memtable>>, sealed: Arc<SealedFiles>) {
        let mut view = self.view.write();
        let stays = |memtable: &&Arc<Memtable>| {
            !sealed_memtable.is_some_and(|gone| Arc::ptr_eq(gone, memtable))
        };
        self.publisher.replaced(&view);
        *view = Arc::new(ReadView {
            partition: view.partition,
            memtable: view.memtable.clone(),
            frozen: view.frozen.iter().filter(stays).cloned().collect(),
            sealed,
        });
    }
}
