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

use crate::catalog::Catalog;
use crate::partition::PartitionShared;

/// Drops dead segments and bulk files from the catalog, then removes files that nobody needs. Failures
/// are logged and met again next time: garbage that stays is no harm.
pub(crate) async fn collect_garbage(shared: &PartitionShared) {
    let collects_early = shared.env.mutated(Mutant::CollectDuringReplay);
    if !*shared.replayed.borrow() && !collects_early {
        return;
    }
    if let Err(error) = drop_dead(shared).await {
        tracing::warn!(%error, "dead files could not be dropped from the catalog");
    }
    if let Err(error) = remove_unnamed(shared).await {
        tracing::warn!(%error, "a file that nobody needs could not be removed");
    }
}

/// Publishes a catalog without the files whose last reference has gone.
async fn drop_dead(shared: &PartitionShared) -> Result<(), crate::publish::EditError> {
    let has_dead = {
        let view = shared.view.read();
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
    shared.publish(None, edit).await
}

/// Starts the task that gives back, once after a start, what earlier lives had reserved in bulk files and
/// did not write.
pub(crate) fn start_tidying(shared: &Arc<PartitionShared>) -> Task {
    let (shared, env) = (shared.clone(), shared.env.clone());
    let task: Fut<'static, ()> = Box::pin(async move {
        let files = match shared.bulk.list().await {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!(%error, "bulk files cannot be listed; reserved space stays taken");
                return;
            }
        };
        for id in files {
            if let Err(error) = shared.bulk.tidy(id).await {
                tracing::warn!(%error, "the reserved space of a bulk file stays taken");
            }
        }
    });
    env.rt.spawn("tidy bulk files", task)
}

/// Removes files that neither the catalog nor a memtable, an upload or a reader needs.
async fn remove_unnamed(shared: &PartitionShared) -> Result<(), DiskError> {
    // The order matters. First the files that nobody writes any more, then what is being written, then the
    // view: whatever came to be referred to in between is named, or referred to, by the view read after.
    let sealed_bulks = shared.bulk.collectable().await?;
    let mut found = Vec::new();
    for folder in [shared.layout.segments_folder(), shared.layout.runs_folder()] {
        match shared.env.disk.list(&folder).await {
            Ok(files) => found.extend(files.into_iter().map(|(path, _)| path)),
            Err(error) if error.kind == DiskErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let being_written = shared.publisher.being_written(&shared.layout);
    // The current view first: one that is replaced meanwhile is among those that are held.
    let mut views = vec![shared.view.read().clone()];
    views.extend(shared.publisher.held_views());
    let mut needed: BTreeSet<BulkId> = BTreeSet::new();
    let mut named: BTreeSet<FilePath> = BTreeSet::new();
    for view in &views {
        let catalog = &view.sealed.catalog;
        named.extend(catalog.files(&shared.layout));
        needed.extend(catalog.bulks.iter().map(|bulk| bulk.id));
        if !shared.env.mutated(Mutant::CollectTailReference) {
            for memtable in std::iter::once(&view.memtable).chain(&view.frozen) {
                needed.extend(memtable.bulk_files());
            }
        }
    }
    // A reader holds its files before it lets go of its view: asked after the views, so that none is missed.
    if !shared.env.mutated(Mutant::CollectWhileRead) {
        needed.extend(shared.bulk.being_read());
    }
    let mut changed = BTreeSet::new();
    // One that cannot be removed does not keep the others.
    let mut failed = None;
    for id in sealed_bulks.into_iter().filter(|id| !needed.contains(id)) {
        match shared.bulk.remove(id).await {
            Ok(()) => drop(changed.insert(shared.layout.bulk_folder())),
            Err(error) => failed = Some(error),
        }
    }
    for path in found.iter().filter(|path| !named.contains(*path) && !being_written.contains(*path))
    {
        match shared.env.disk.remove(path).await {
            Ok(()) => changed.extend(path.folder()),
            Err(error) => failed = Some(error),
        }
    }
    // A removal that is lost does no harm; only a durable one gives its space back for sure.
    for folder in changed {
        shared.env.disk.sync_folder(Some(&folder)).await?;
    }
    failed.map_or(Ok(()), Err)
}

/// After a start: removes what an interrupted cut or merge left behind.
pub(crate) async fn remove_leftovers(shared: &PartitionShared) -> Result<(), DiskError> {
    remove_unnamed(shared).await
}
