//! The one place where the catalog and the view change.
//!
//! Flush, merge and garbage collection each hand in an edit. Edits are made one after the other on the newest
//! catalog, written as the next generation, and shown to readers only after that generation is durable.
//! Files that an edit no longer names are removed once no reader can still open them.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use ingest::env::FilePath;
use ingest::ids::{CutNumber, Generation, Offset};
use ingest::log::ReadError;
use ingest::mutant::Mutant;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::file_ids::{FileIds, TakenIds};
use super::{Catalog, PublishError};
use crate::memtable::Memtable;
use crate::partition::context::PartitionContext;
use crate::state::Buckets;
use crate::view::{ReadView, SealedFiles, Snapshot};

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

impl EditError {
    /// Tells that the generation was written, in part or whole, before the edit failed. The next start may
    /// find it.
    fn may_be_found(&self) -> bool {
        !matches!(self, EditError::Publish(PublishError::Encode { .. }))
    }
}

/// The newest catalog, the view that readers get, and the buckets.
pub(crate) struct CatalogStore {
    context: Arc<PartitionContext>,
    /// Swapped as a whole; every read clones the reference.
    view: RwLock<Arc<ReadView>>,
    /// Changed by the fold only.
    buckets: RwLock<Arc<Buckets>>,
    /// Held while an edit is made; the generation last tried, published or not.
    turn: tokio::sync::Mutex<Generation>,
    ids: FileIds,
    /// Replaced views that readers may still hold.
    replaced: Mutex<Vec<Weak<ReadView>>>,
    /// The last cut that the catalog has.
    cut: watch::Sender<CutNumber>,
}

impl CatalogStore {
    /// Begins with the catalog's files, which are open, and an empty memtable behind them.
    pub fn new(context: Arc<PartitionContext>, sealed: SealedFiles) -> Self {
        let catalog = &sealed.catalog;
        let (generation, cut, ids) = (catalog.generation, catalog.cut, FileIds::new(catalog));
        let memtable = Arc::new(Memtable::new(catalog.next));
        let partition = context.id;
        let sealed = Arc::new(sealed);
        let view = ReadView { partition, memtable, frozen: Vec::new(), sealed };
        Self {
            context,
            view: RwLock::new(Arc::new(view)),
            buckets: RwLock::default(),
            turn: tokio::sync::Mutex::new(generation),
            ids,
            replaced: Mutex::default(),
            cut: watch::Sender::new(cut),
        }
    }

    /// The current view.
    pub fn view(&self) -> Arc<ReadView> {
        self.view.read().clone()
    }

    /// The memtable that the fold writes to.
    pub fn memtable(&self) -> Arc<Memtable> {
        self.view.read().memtable.clone()
    }

    /// The offset below which every record is applied here.
    pub fn applied(&self) -> Offset {
        self.view.read().memtable.applied()
    }

    /// The buckets, as of the last applied record.
    pub fn buckets(&self) -> Arc<Buckets> {
        self.buckets.read().clone()
    }

    /// Replaces the buckets. Called by the fold, before the record that changes them counts as applied.
    pub fn set_buckets(&self, buckets: Arc<Buckets>) {
        *self.buckets.write() = buckets;
    }

    /// A snapshot for a read that begins now: everything answered before is in it.
    pub fn snapshot(&self) -> Snapshot {
        // The view first, then how far its memtable has come: what was answered before is in both.
        let view = self.view();
        let at = view.memtable.applied();
        Snapshot { view, at, buckets: self.buckets() }
    }

    /// Freezes the memtable and puts an empty one, which begins at offset `next`, in its place. Returns the
    /// frozen memtable, which stays in the view until [`CatalogStore::publish`] replaces it by its run.
    pub fn freeze(&self, next: Offset) -> Arc<Memtable> {
        let mut view = self.view.write();
        let memtable = view.memtable.clone();
        let frozen = std::iter::once(memtable.clone()).chain(view.frozen.iter().cloned());
        let frozen = ReadView {
            partition: view.partition,
            memtable: Arc::new(Memtable::new(next)),
            frozen: frozen.collect(),
            sealed: view.sealed.clone(),
        };
        self.replace(&mut view, frozen);
        memtable
    }

    /// Makes an edit durable, then visible; edits wait for their turn in the order of the calls. With `flushed`
    /// that frozen memtable leaves the view in the same step in which its run enters it. `ids` are those of
    /// the files that the edit names: they stay taken when the end of the publication is unknown.
    ///
    /// On an error nothing is visible; the generation may have been written all the same.
    pub async fn publish(
        &self,
        flushed: Option<&Arc<Memtable>>,
        ids: Option<&mut TakenIds>,
        edit: impl FnOnce(&mut Catalog) + Send,
    ) -> Result<(), EditError> {
        let published = self.publish_edit(flushed, edit).await;
        if let (Err(error), Some(ids)) = (&published, ids)
            && error.may_be_found()
        {
            ids.keep();
        }
        published
    }

    async fn publish_edit(
        &self,
        flushed: Option<&Arc<Memtable>>,
        edit: impl FnOnce(&mut Catalog) + Send,
    ) -> Result<(), EditError> {
        let context = &self.context;
        let mut tried = self.turn.lock().await;
        let former = self.view().sealed.clone();
        let mut catalog = former.catalog.clone();
        edit(&mut catalog);
        catalog.generation = tried.next();
        catalog.previous = former.catalog.digest_of_encoding();
        (catalog.next_segment, catalog.next_run) = self.ids.next();
        catalog.next_bulk = catalog.next_bulk.max(context.bulk.highest().next());
        *tried = catalog.generation;
        if context.env.mutated(Mutant::DropFrozenEarly) {
            self.swap(flushed, former.clone());
            ingest::env::yield_once().await;
        }
        super::publish(&context.env, &context.layout, &catalog).await?;
        self.ids.forget_uncertain();
        let (disk, layout) = (&context.env.disk, &context.layout);
        let sealed = SealedFiles::open(disk, layout, context.store, catalog, Some(&former)).await?;
        self.swap(flushed, Arc::new(sealed));
        self.warn_when_crowded(former.catalog.longest_list().0);
        Ok(())
    }

    /// Tries once more to open runs of which a file could not be used: the file may have been put back, or the
    /// device may work again. The catalog does not change.
    pub async fn reopen_damaged(&self) {
        if self.view().sealed.runs.iter().all(|run| run.damage().is_none()) {
            return;
        }
        let _turn = self.turn.lock().await;
        let former = self.view().sealed.clone();
        let context = &self.context;
        if let Some(sealed) = former.reopened(&context.env.disk, &context.layout).await {
            self.swap(None, Arc::new(sealed));
        }
    }

    fn swap(&self, flushed: Option<&Arc<Memtable>>, sealed: Arc<SealedFiles>) {
        let mut view = self.view.write();
        let stays =
            |memtable: &&Arc<Memtable>| !flushed.is_some_and(|gone| Arc::ptr_eq(gone, memtable));
        let swapped = ReadView {
            partition: view.partition,
            memtable: view.memtable.clone(),
            frozen: view.frozen.iter().filter(stays).cloned().collect(),
            sealed,
        };
        self.replace(&mut view, swapped);
    }

    /// Puts another view in place, and remembers the former one: readers may hold it for long.
    fn replace(&self, view: &mut Arc<ReadView>, by: ReadView) {
        let mut replaced = self.replaced.lock();
        replaced.retain(|view| view.strong_count() > 0);
        replaced.push(Arc::downgrade(view));
        *view = Arc::new(by);
    }

    /// All views whose files may be opened: the current one first, then those that readers still hold.
    pub fn views_in_use(&self) -> Vec<Arc<ReadView>> {
        // A view that is replaced between the two steps is among the replaced ones.
        let mut views = vec![self.view()];
        views.extend(self.replaced.lock().iter().filter_map(Weak::upgrade));
        views
    }

    /// Takes ids for a new segment and a new run.
    pub fn take_ids(&self) -> TakenIds {
        self.ids.take()
    }

    /// The files that are being written and that no catalog names yet.
    pub fn being_written(&self) -> BTreeSet<FilePath> {
        self.ids.being_written(&self.context.layout)
    }

    /// Follows the last cut that the catalog has.
    pub fn follow_cut(&self) -> watch::Receiver<CutNumber> {
        self.cut.subscribe()
    }

    /// Wakes those who follow the cut. Called after the cut's catalog has been published.
    pub fn announce_cut(&self, cut: CutNumber) {
        self.cut.send_replace(cut);
    }

    /// The share of the limit that the catalog's longest list has reached, from 0 to 1.
    pub fn fill(&self) -> f64 {
        let (count, _) = self.view.read().sealed.catalog.longest_list();
        count as f64 / self.context.options.files_max as f64
    }

    /// The reason why writes that make the store larger are refused: the catalog names nine tenths of the
    /// files that it can name. `None` below that.
    pub fn crowded(&self) -> Option<String> {
        let files_max = self.context.options.files_max;
        let (count, what) = self.view.read().sealed.catalog.longest_list();
        (count >= files_max - files_max / 10).then(|| {
            format!(
                "the catalog names {count} {what} of at most {files_max}; deletes are still taken"
            )
        })
    }

    /// Logs a warning for each twentieth of the limit that the longest list passes from one half on; `before`
    /// is the length that was compared last.
    pub fn warn_when_crowded(&self, before: usize) {
        let files_max = self.context.options.files_max;
        let (count, what) = self.view.read().sealed.catalog.longest_list();
        let step = |count: usize| count * 20 / files_max.max(1);
        if step(count) > step(before) && step(count) >= 10 {
            tracing::warn!(
                count,
                files_max,
                "the catalog fills up with {what}: at nine tenths only deletes are taken"
            );
        }
    }
}
