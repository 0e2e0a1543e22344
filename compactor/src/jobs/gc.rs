//! Garbage collection: removes files to which nothing refers.
//!
//! The roots are the catalog, the references of memtables, uploads that are not finished, the snapshots of
//! readers, and bulk files that readers hold without a snapshot. A file is removed in two steps. First a
//! catalog that no longer names the file is published. Then, once no reader holds a view that names it, the
//! file is removed. Nothing is collected before replay has ended, because until then the memtable does not
//! have all references.

use std::collections::BTreeSet;
use std::sync::Arc;

use ingest::env::{DiskError, DiskErrorKind, FilePath, Fut, Task};
use ingest::ids::BulkId;
use ingest::mutant::Mutant;
use ingest::place::Place;

use super::board::{JobBoard, JobKind};
use crate::catalog::Catalog;
use crate::catalog::store::{CatalogStore, EditError};
use crate::partition::context::PartitionContext;
use crate::partition::health::Health;
use crate::partition::space::SpaceWatch;

/// Finds and removes the garbage of one partition.
pub(crate) struct GarbageCollector {
    pub context: Arc<PartitionContext>,
    pub store: Arc<CatalogStore>,
    pub health: Arc<Health>,
    pub space: Arc<SpaceWatch>,
    pub board: Arc<JobBoard>,
}

/// Files to which nothing refers; segments and run files with their length in bytes.
struct Garbage {
    bulks: Vec<BulkId>,
    files: Vec<(FilePath, u64)>,
}

/// Returns a list of files, and an empty one if the cold place cannot be listed: its files stay then, and garbage in the
/// hot place is still removed.
fn unless_cold<T>(place: Place, listed: Result<Vec<T>, DiskError>) -> Result<Vec<T>, DiskError> {
    match listed {
        Err(error) if place == Place::Cold => {
            tracing::warn!(%error, "files of the cold place cannot be listed and stay for now");
            Ok(Vec::new())
        }
        listed => listed,
    }
}

impl GarbageCollector {
    /// Drops segments and bulk files without references from the catalog, then removes all files that
    /// nothing needs. Does nothing before replay has ended. Failures are logged only, since the next call
    /// tries again and garbage is harmless. Called by the scheduler, which never runs it twice at the same
    /// time.
    pub async fn collect(&self) {
        let collects_early = self.context.env.mutated(Mutant::CollectDuringReplay);
        if !self.health.is_replayed() && !collects_early {
            return;
        }
        if let Err(error) = self.drop_dead().await {
            tracing::warn!(%error, "dead files could not be dropped from the catalog");
        }
        if let Err(error) = self.remove_unnamed().await {
            tracing::warn!(%error, "a file that nobody needs could not be removed");
        }
    }

    /// Publishes a catalog without the segments and bulk files whose count of references is 0. Readers may
    /// still use the files.
    async fn drop_dead(&self) -> Result<(), EditError> {
        let has_dead = {
            let view = self.store.view();
            let catalog = &view.sealed.catalog;
            catalog.segments.iter().any(|segment| segment.references == 0)
                || catalog.bulks.iter().any(|bulk| bulk.references == 0)
        };
        if !has_dead {
            return Ok(());
        }
        let edit = |catalog: &mut Catalog| {
            catalog.segments.retain(|segment| segment.references > 0);
            catalog.bulks.retain(|bulk| bulk.references > 0);
        };
        self.store.publish(None, None, edit).await?;
        self.space.look().await;
        Ok(())
    }

    /// Starts the task that releases, once after a start, the space that earlier processes had reserved in
    /// bulk files and not used. A file that fails is logged and keeps its reserved space.
    pub fn start_tidying(&self) -> Task {
        let context = self.context.clone();
        let task: Fut<'static, ()> = Box::pin(async move {
            let files = match context.bulk.list().await {
                Ok(files) => files,
                Err(error) => {
                    tracing::warn!(%error, "bulk files cannot be listed; reserved space stays taken");
                    return;
                }
            };
            for id in files {
                if let Err(error) = context.bulk.tidy(id).await {
                    tracing::warn!(%error, "the reserved space of a bulk file stays taken");
                }
            }
        });
        self.context.env.rt.spawn("tidy bulk files", task)
    }

    /// Removes files that no catalog, memtable, upload or reader needs, and reports the job if there are
    /// any.
    async fn remove_unnamed(&self) -> Result<(), DiskError> {
        let garbage = self.find_unnamed().await?;
        if garbage.bulks.is_empty() && garbage.files.is_empty() {
            return Ok(());
        }
        let (bulks, files) = (garbage.bulks.len(), garbage.files.len());
        let reason = format!("{bulks} bulk files and {files} other files without a reference");
        let bytes = garbage.files.iter().map(|(_, len)| len).sum();
        let job = self.board.begin(JobKind::GarbageCollection, reason, (0, bytes));
        let removed = self.remove(garbage).await;
        job.end(&removed);
        removed
    }

    /// Finds the files that nothing needs.
    async fn find_unnamed(&self) -> Result<Garbage, DiskError> {
        // The order matters. First the files that are complete, then those under construction, then the
        // views: a file that got its first reference in between is named, or referred to, by a view that is
        // read afterwards.
        let mut sealed_bulks = Vec::new();
        for place in Place::ALL {
            sealed_bulks.extend(unless_cold(place, self.context.bulk.collectable(place).await)?);
        }
        let mut found = Vec::new();
        for folder in self.context.layout.folders() {
            match self.context.env.disk.list(&folder).await {
                Err(error) if error.kind == DiskErrorKind::NotFound => {}
                listed => found.extend(unless_cold(folder.place(), listed)?),
            }
        }
        let being_written = self.store.being_written();
        let views = self.store.views_in_use();
        let mut needed: BTreeSet<BulkId> = BTreeSet::new();
        let mut named: BTreeSet<FilePath> = BTreeSet::new();
        for view in &views {
            let catalog = &view.sealed.catalog;
            named.extend(catalog.files(&self.context.layout));
            needed.extend(catalog.bulks.iter().map(|bulk| bulk.id));
            if !self.context.env.mutated(Mutant::CollectTailReference) {
                for memtable in std::iter::once(&view.memtable).chain(&view.frozen) {
                    needed.extend(memtable.bulk_files());
                }
            }
        }
        // A reader holds its files before it drops its view. Read after the views, the list therefore
        // misses no file.
        if !self.context.env.mutated(Mutant::CollectWhileRead) {
            needed.extend(self.context.bulk.being_read());
        }
        let is_garbage =
            |(path, _): &(FilePath, u64)| !named.contains(path) && !being_written.contains(path);
        found.retain(is_garbage);
        let bulks = sealed_bulks.into_iter().filter(|id| !needed.contains(id)).collect();
        Ok(Garbage { bulks, files: found })
    }

    /// Removes files, then syncs their folders. A file that cannot be removed does not prevent the removal
    /// of the others; the last error is returned.
    async fn remove(&self, garbage: Garbage) -> Result<(), DiskError> {
        let mut changed = BTreeSet::new();
        let mut failed = None;
        for id in garbage.bulks {
            match self.context.bulk.remove(id).await {
                Ok(()) => {
                    changed.insert(self.context.layout.bulk_folder().within(id.place()));
                }
                Err(error) => failed = Some(error),
            }
        }
        for (path, _) in &garbage.files {
            match self.context.env.disk.remove(path).await {
                Ok(()) => changed.extend(path.folder()),
                Err(error) => failed = Some(error),
            }
        }
        // A removal that is lost in a crash is harmless, but only a durable removal frees its space for
        // certain.
        for folder in changed {
            if let Err(error) = self.context.env.disk.sync_folder(Some(&folder)).await {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Removes the files that an interrupted flush or merge has left behind. Called once at a start, after
    /// replay and before the first job. Fails if a folder cannot be listed or a file cannot be removed.
    pub async fn remove_leftovers(&self) -> Result<(), DiskError> {
        self.remove_unnamed().await
    }
}
