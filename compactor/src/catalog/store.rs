//! The only module that changes the catalog and the view.
//!
//! Flush, merge and garbage collection each pass an edit. Edits are applied one after the other to the
//! newest catalog. Each result is written as the next generation, and readers see it only after that
//! generation is durable. Garbage collection removes files that no generation names once no reader can open
//! them.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use ingest::env::FilePath;
use ingest::ids::{CutNumber, Generation, Offset};
use ingest::log::ReadError;
use ingest::mutant::Mutant;
use ingest::place::PerPlace;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::file_ids::{FileIds, TakenIds};
use super::{Catalog, PublishError};
use crate::memtable::Memtable;
use crate::partition::context::PartitionContext;
use crate::state::Buckets;
use crate::view::{ReadView, SealedFiles, Snapshot};

/// The error of an edit. Readers continue with the former view.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The catalog could not be written. The files that it would have named must stay while the next start
    /// may find the generation.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The generation is durable, but its new files could not be opened; the view did not change.
    #[error(transparent)]
    Open(#[from] ReadError),
}

impl EditError {
    /// Returns true if the generation may have been written, in part or whole, before the edit failed. The
    /// next start may then find it.
    fn may_be_found(&self) -> bool {
        !matches!(self, EditError::Publish(PublishError::Encode { .. }))
    }
}

/// The newest catalog, the view for readers, and the buckets of one partition.
pub(crate) struct CatalogStore {
    context: Arc<PartitionContext>,
    /// Replaced as a whole, never changed in place; every read clones the reference.
    view: RwLock<Arc<ReadView>>,
    /// Replaced by the fold only.
    buckets: RwLock<Arc<Buckets>>,
    /// The lock that orders edits, held from the edit until its view is visible. Holds the generation that
    /// was tried last, published or not.
    turn: tokio::sync::Mutex<Generation>,
    ids: FileIds,
    /// Replaced views that readers may still hold.
    replaced: Mutex<Vec<Weak<ReadView>>>,
    /// The last cut whose catalog is published.
    cut: watch::Sender<CutNumber>,
}

impl CatalogStore {
    /// Begins with open sealed files and an empty memtable that starts at the catalog's next offset.
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

    /// Returns the current view. The view does not change; later edits and freezes make new ones.
    pub fn view(&self) -> Arc<ReadView> {
        self.view.read().clone()
    }

    /// Returns the memtable that the fold writes to, until the next [`CatalogStore::freeze`].
    pub fn memtable(&self) -> Arc<Memtable> {
        self.view.read().memtable.clone()
    }

    /// Returns the offset below which every record is applied on this node.
    pub fn applied(&self) -> Offset {
        self.view.read().memtable.applied()
    }

    /// Returns the buckets as of the last applied record, or of the record that the fold is applying.
    pub fn buckets(&self) -> Arc<Buckets> {
        self.buckets.read().clone()
    }

    /// Replaces the buckets. Called by the fold only, before the record that changes them counts as
    /// applied.
    pub fn set_buckets(&self, buckets: Arc<Buckets>) {
        *self.buckets.write() = buckets;
    }

    /// Returns a snapshot for a read that begins now. Every record whose outcome was answered before the
    /// call is visible in it; the buckets may already contain the record that follows.
    pub fn snapshot(&self) -> Snapshot {
        // The view is read first, then the applied offset of its memtable: records that were answered
        // before the call are below that offset or in a frozen memtable of the view.
        let view = self.view();
        let at = view.memtable.applied();
        Snapshot { view, at, buckets: self.buckets() }
    }

    /// Freezes the memtable and replaces it with an empty one that begins at offset `next`. Returns the
    /// frozen memtable, which stays visible in the view until [`CatalogStore::publish`] replaces it with
    /// its run. Called by the fold only, at a cut.
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

    /// Makes an edit durable, then visible. Edits run one at a time, in the order of the calls. The
    /// memtable `flushed` leaves the view in the same step in which its run becomes visible. `ids` are
    /// those of the new files, which stay protected if the result of the publication is unknown.
    ///
    /// The caller must have synced the new files and their folders. On an error readers see no change, but
    /// the generation may have been written; the next edit gets a higher number. Only the end of the
    /// partition may drop the future, since a generation may be durable without being visible here.
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
        // Held to the end: two edits on the same catalog would lose one of them.
        let mut tried = self.turn.lock().await;
        let former = self.view().sealed.clone();
        let mut catalog = former.catalog.clone();
        edit(&mut catalog);
        // A number is never tried twice: a failed publication may have left a copy under it.
        catalog.generation = tried.next();
        catalog.previous = former.catalog.digest_of_encoding();
        (catalog.next_segment, catalog.next_run) = self.ids.next();
        let next = context.bulk.next();
        catalog.next_bulk = PerPlace::each(|place| catalog.next_bulk[place].max(next[place]));
        *tried = catalog.generation;
        if context.env.mutated(Mutant::DropFrozenEarly) {
            self.swap(flushed, former.clone());
            ingest::env::yield_once().await;
        }
        super::publish(&context.env, &context.layout, &catalog).await?;
        // The generation is durable, so no start can find an older one.
        self.ids.forget_uncertain();
        let (disk, layout) = (&context.env.disk, &context.layout);
        let sealed = SealedFiles::open(disk, layout, context.store, catalog, Some(&former)).await?;
        self.swap(flushed, Arc::new(sealed));
        self.warn_when_crowded(former.catalog.longest_list().0);
        Ok(())
    }

    /// Opens runs again of which a file could not be used: the file may have been restored, or the device
    /// may work again. The catalog does not change, and a run that still cannot be opened stays as it is.
    /// Waits for the edit under way, if any.
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

    /// Makes a view of other sealed files visible, without the frozen memtable that was flushed to one of
    /// them.
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

    /// Replaces the view, and keeps a weak reference to the former one while readers hold it.
    fn replace(&self, view: &mut Arc<ReadView>, by: ReadView) {
        let mut replaced = self.replaced.lock();
        replaced.retain(|view| view.strong_count() > 0);
        replaced.push(Arc::downgrade(view));
        *view = Arc::new(by);
    }

    /// Returns all views whose files may be opened: the current one first, then replaced ones that readers
    /// still hold. Garbage collection must not remove any file that one of them names.
    pub fn views_in_use(&self) -> Vec<Arc<ReadView>> {
        // The order matters: a view that is replaced between the two steps is found in the second.
        let mut views = vec![self.view()];
        views.extend(self.replaced.lock().iter().filter_map(Weak::upgrade));
        views
    }

    /// Takes ids for two new segments and for a new run; see [`FileIds::take`]. Called before the
    /// files are created.
    pub fn take_ids(&self) -> TakenIds {
        self.ids.take()
    }

    /// Returns the files that may be under construction, which garbage collection must not remove.
    pub fn being_written(&self) -> BTreeSet<FilePath> {
        self.ids.being_written(&self.context.layout)
    }

    /// Returns a receiver of the last published cut. Only the newest value is kept, so a slow receiver may
    /// skip cuts.
    pub fn follow_cut(&self) -> watch::Receiver<CutNumber> {
        self.cut.subscribe()
    }

    /// Announces a cut to all receivers of [`CatalogStore::follow_cut`]. Called only after the cut's
    /// catalog has been published.
    pub fn announce_cut(&self, cut: CutNumber) {
        self.cut.send_replace(cut);
    }

    /// Returns the length of the catalog's longest list as a share of the limit, from 0 to 1.
    pub fn fill(&self) -> f64 {
        let (count, _) = self.view.read().sealed.catalog.longest_list();
        count as f64 / self.context.options.files_max as f64
    }

    /// Returns the reason why writes that make the store larger are refused: the catalog names at least
    /// nine tenths of the files that it may name. `None` below that.
    pub fn crowded(&self) -> Option<String> {
        let files_max = self.context.options.files_max;
        let (count, what) = self.view.read().sealed.catalog.longest_list();
        (count >= files_max - files_max / 10).then(|| {
            format!(
                "the catalog names {count} {what} of at most {files_max}; deletes are still taken"
            )
        })
    }

    /// Logs a warning for each twentieth of the limit that the longest list has passed since it had the
    /// length `before`, from one half of the limit on. Called after every edit.
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
