//! Garbage collection: removing files that nothing refers to.
//!
//! Roots are the catalog, the memtables' references, uploads under way, the snapshots of readers, and the bulk
//! files that they hold without one. A file
//! goes in two steps: the catalog that no longer names it is published, and once no reader holds a view
//! that names it the file is removed. Nothing is collected before replay has finished, because until
//! then the memtable does not know all that it refers to.

use std::collections::BTreeSet;
use std::sync::Arc;

use ingest::env::{DiskError, DiskErrorKind, FilePath, Fut, Task};
use ingest::ids::BulkId;
use ingest::mutant::Mutant;

use super::board::{JobBoard, JobKind};
use crate::catalog::Catalog;
use crate::catalog::store::{CatalogStore, EditError};
use crate::partition::context::PartitionContext;
use crate::partition::health::Health;
use crate::partition::space::SpaceWatch;

/// See the module's description.
pub(crate) struct GarbageCollector {
    pub context: Arc<PartitionContext>,
    pub store: Arc<CatalogStore>,
    pub health: Arc<Health>,
    pub space: Arc<SpaceWatch>,
    pub board: Arc<JobBoard>,
}

/// Files that nobody needs, the small ones with their length in bytes.
struct Garbage {
    bulks: Vec<BulkId>,
    files: Vec<(FilePath, u64)>,
}

impl GarbageCollector {
    /// Drops dead segments and bulk files from the catalog, then removes files that nobody needs. Failures
    /// are logged and met again next time: garbage that stays is no harm.
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

    /// Publishes a catalog without the files whose last reference has gone.
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

    /// Starts the task that gives back, once after a start, what earlier lives had reserved in bulk files and
    /// did not write.
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

    /// Removes files that neither the catalog nor a memtable, an upload or a reader needs.
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

    /// Finds the files that nobody needs.
    async fn find_unnamed(&self) -> Result<Garbage, DiskError> {
        // The order matters. First the files that nobody writes any more, then what is being written, then the
        // view: whatever came to be referred to in between is named, or referred to, by the view read after.
        let sealed_bulks = self.context.bulk.collectable().await?;
        let mut found = Vec::new();
        for folder in [self.context.layout.segments_folder(), self.context.layout.runs_folder()] {
            match self.context.env.disk.list(&folder).await {
                Ok(files) => found.extend(files),
                Err(error) if error.kind == DiskErrorKind::NotFound => {}
                Err(error) => return Err(error),
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
        // A reader holds its files before it lets go of its view: asked after the views, so that none is missed.
        if !self.context.env.mutated(Mutant::CollectWhileRead) {
            needed.extend(self.context.bulk.being_read());
        }
        let is_garbage =
            |(path, _): &(FilePath, u64)| !named.contains(path) && !being_written.contains(path);
        found.retain(is_garbage);
        let bulks = sealed_bulks.into_iter().filter(|id| !needed.contains(id)).collect();
        Ok(Garbage { bulks, files: found })
    }

    /// Removes files. One that cannot be removed does not keep the others; the last error is returned.
    async fn remove(&self, garbage: Garbage) -> Result<(), DiskError> {
        let mut changed = BTreeSet::new();
        let mut failed = None;
        for id in garbage.bulks {
            match self.context.bulk.remove(id).await {
                Ok(()) => drop(changed.insert(self.context.layout.bulk_folder())),
                Err(error) => failed = Some(error),
            }
        }
        for (path, _) in &garbage.files {
            match self.context.env.disk.remove(path).await {
                Ok(()) => changed.extend(path.folder()),
                Err(error) => failed = Some(error),
            }
        }
        // A removal that is lost does no harm; only a durable one gives its space back for sure.
        for folder in changed {
            self.context.env.disk.sync_folder(Some(&folder)).await?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// After a start: removes what an interrupted cut or merge left behind.
    pub async fn remove_leftovers(&self) -> Result<(), DiskError> {
        self.remove_unnamed().await
    }
}
