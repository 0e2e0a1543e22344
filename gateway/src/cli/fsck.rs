//! `siltstone fsck`: reads every referenced byte of a data directory, recomputes every checksum, and checks that all
//! references have a target. Nothing is changed.
//!
//! References to payload are in the catalog's segments and state tables, and in the records of the log above the
//! catalog's cut. These records are folded again, in memory. The check takes the memory of a start for these records,
//! and 16 bytes for each extent in bulk files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use compactor::apply::StoreRules;
use compactor::catalog::{self, Catalog, LoadError};
use compactor::layout::PartitionLayout;
use compactor::refold::Refold;
use compactor::sealed;
use compactor::segment::Segment;
use compactor::state::{StateKey, StreamState, decode_part};
use compactor::view::{OpenRun, SealedFiles};
use ingest::entry::{EntryValue, Extent, ObjectVersion, PayloadLocation};
use ingest::env::production;
use ingest::env::{Env, FilePath};
use ingest::ids::{BulkId, PartitionId};
use ingest::log::embedded;

use crate::config::StorageSettings;
use crate::server::cold_folder;
use crate::server::engine_options::{bulk_options, log_options};
use crate::server::identity::DataIdentity;
use crate::server::store::DataLock;

/// Checks a data directory, prints a line for each fault, and exits 1 if there is one. Fails if another process has the
/// directory open, and if the directory has no readable identity of a store.
pub fn run(data: &Path) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (identity, faults) = runtime.block_on(check(data))?;
    for fault in &faults {
        println!("{fault}");
    }
    if let DataIdentity::Node(node) = &identity {
        println!(
            "{}: node {} of a cluster. Not checked: the log, which is on brokers, and payload to which only \
             the log refers",
            data.display(),
            node.node
        );
    }
    if faults.is_empty() {
        println!("{}: clean", data.display());
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}: {} faults", data.display(), faults.len());
    Ok(ExitCode::FAILURE)
}

async fn check(data: &Path) -> anyhow::Result<(DataIdentity, Vec<String>)> {
    let _lock = DataLock::take(data).with_context(|| format!("cannot check {}", data.display()))?;
    let Some(identity) = DataIdentity::read(data)? else {
        bail!("{} is not a siltstone data directory", data.display());
    };
    cold_folder::verify(data, identity.store())
        .with_context(|| format!("cannot check {}", data.display()))?;
    let env = production::of(data)?;
    let partitions = match &identity {
        DataIdentity::Embedded(_) => 1,
        DataIdentity::Node(node) => node.partitions,
    };
    let mut faults = Vec::new();
    for id in (0..partitions).map(PartitionId::new) {
        check_partition(&env, &identity, id, &mut faults).await?;
    }
    Ok((identity, faults))
}

async fn check_partition(
    env: &Env,
    identity: &DataIdentity,
    id: PartitionId,
    faults: &mut Vec<String>,
) -> anyhow::Result<()> {
    let store = identity.store();
    let settings = StorageSettings::for_tools();
    let layout = PartitionLayout::new(id);
    let catalog = match catalog::read(env, &layout, store, id).await {
        Ok((found, damaged)) => {
            faults.extend(damaged.into_iter().map(|(_, corruption)| corruption.to_string()));
            found.unwrap_or_else(|| Catalog::first(store, id))
        }
        Err(LoadError::Corrupt(corruption)) => {
            faults.push(corruption.to_string());
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    check_sealed(env, &layout, &catalog, faults).await?;
    let mut extents = ReferencedExtents::default();
    // A node's log is on brokers, and each start makes the spool again.
    if let DataIdentity::Embedded(own) = identity {
        let options = log_options(&settings, *own);
        check_log(env, &options, &layout, &catalog, &mut extents, faults).await?;
    }
    referenced(env, &layout, &catalog, &mut extents, faults).await?;
    let options = bulk_options(&settings, &catalog);
    let named = catalog.bulks.iter().map(|bulk| bulk.id);
    let files: BTreeSet<BulkId> = named.chain(extents.by_file.keys().copied()).collect();
    for id in files {
        let found = ingest::bulk::verify(env, &options, id, &extents.take(id)).await?;
        faults.extend(found.into_iter().map(|corruption| corruption.to_string()));
    }
    Ok(())
}

/// The referenced extents by file: position and length in bytes.
#[derive(Default)]
struct ReferencedExtents {
    by_file: BTreeMap<BulkId, Vec<(u64, u64)>>,
}

impl ReferencedExtents {
    fn add(&mut self, extent: &Extent) {
        self.by_file.entry(extent.file).or_default().push((extent.position, extent.len));
    }

    /// Removes and returns the extents of a file in the order of their positions. Of several extents at one
    /// position only the longest is returned.
    fn take(&mut self, file: BulkId) -> Vec<Extent> {
        let mut of_file = self.by_file.remove(&file).unwrap_or_default();
        of_file.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        of_file.dedup_by_key(|(position, _)| *position);
        of_file.into_iter().map(|(position, len)| Extent { file, position, len }).collect()
    }
}

/// Checks the log, and collects the extents to which its records above the cut refer.
async fn check_log(
    env: &Env,
    options: &embedded::EmbeddedLogOptions,
    layout: &PartitionLayout,
    catalog: &Catalog,
    extents: &mut ReferencedExtents,
    faults: &mut Vec<String>,
) -> anyhow::Result<()> {
    let (id, mut batches) = (catalog.partition, Vec::new());
    let found = embedded::verify_noting(env, options, id, catalog.next, &mut batches).await?;
    faults.extend(found.into_iter().map(|corruption| corruption.to_string()));
    let sealed = SealedFiles::open(&env.disk, layout, catalog.store, catalog.clone(), None).await?;
    let rules = StoreRules::default();
    let folded = async {
        let mut fold = Refold::begin(rules, Arc::new(sealed)).await?;
        for place in &batches {
            for committed in embedded::read_batch(env, place).await? {
                if committed.offset >= catalog.next {
                    fold.take(&committed).await?.iter().for_each(|extent| extents.add(extent));
                }
            }
        }
        anyhow::Ok(())
    };
    if let Err(error) = folded.await {
        faults.push(format!("{error:#}; payload that only later records name was not checked"));
    }
    Ok(())
}

/// Checks every file that the catalog names: the digest in the catalog, and the checksums in the file, which give the
/// position of damage.
async fn check_sealed(
    env: &Env,
    layout: &PartitionLayout,
    catalog: &Catalog,
    faults: &mut Vec<String>,
) -> anyhow::Result<()> {
    let disk = &env.disk;
    let handles = Arc::default();
    for segment in &catalog.segments {
        let path = layout.segment(segment.place, segment.id);
        let found = sealed::verify(disk, &path, &segment.file).await;
        faults.extend(found.err().map(|error| error.to_string()));
        let mut objects = 0;
        let open =
            Segment::open(disk, &path, catalog.store, segment.id, segment.file.len, &handles);
        let scanned = open.scan(|_| objects += 1).await;
        faults.extend(scanned.into_iter().map(|error| error.to_string()));
        if objects != segment.objects {
            faults.push(format!("{path}: {objects} objects, the catalog says {}", segment.objects));
        }
    }
    for run in &catalog.runs {
        let files = [
            (layout.manifest(run.id), &run.manifest),
            (layout.sums(run.id), &run.sums),
            (layout.keys(run.id), &run.keys),
            (layout.more(run.id), &run.more),
            (layout.tags(run.id), &run.tags),
            (layout.state(run.id), &run.state),
        ];
        for (path, digest) in &files {
            let found = sealed::verify(disk, path, digest).await;
            faults.extend(found.err().map(|error| error.to_string()));
        }
    }
    let opened = SealedFiles::open(disk, layout, catalog.store, catalog.clone(), None).await?;
    for run in &opened.runs {
        check_run(run, faults).await?;
    }
    Ok(())
}

/// Checks every block of the tables of a run, and the number of rows in its manifest.
async fn check_run(run: &OpenRun, faults: &mut Vec<String>) -> anyhow::Result<()> {
    for table in [&run.keys, &run.more, &run.tags, &run.state].into_iter().flatten() {
        let found: Vec<_> = Arc::clone(table).verify().await;
        faults.extend(found.into_iter().map(|error| error.to_string()));
    }
    let Ok(manifest) = &run.manifest else { return Ok(()) };
    let mut rows = 0;
    let mut cursor = manifest.cursor()?;
    loop {
        match cursor.next().await {
            Ok(Some(_)) => rows += 1,
            Ok(None) => break,
            Err(error) => {
                faults.push(error.to_string());
                break;
            }
        }
    }
    if rows != run.run.entries {
        let path = manifest.path();
        faults.push(format!("{path}: {rows} rows, the catalog says {}", run.run.entries));
    }
    Ok(())
}

/// Adds the extents in bulk files that segments and state runs name.
async fn referenced(
    env: &Env,
    layout: &PartitionLayout,
    catalog: &Catalog,
    extents: &mut ReferencedExtents,
    faults: &mut Vec<String>,
) -> anyhow::Result<()> {
    // A segment also has dead objects, whose bulk files may have been removed.
    let known: BTreeSet<BulkId> = catalog.bulks.iter().map(|bulk| bulk.id).collect();
    let mut missing = (0u64, 0u64);
    let mut add = |from: &[Extent]| {
        for extent in from.iter().filter(|extent| extent.is_missing()) {
            missing = (missing.0 + 1, missing.1.saturating_add(extent.len));
        }
        from.iter().filter(|extent| known.contains(&extent.file)).for_each(|one| extents.add(one));
    };
    let handles = Arc::default();
    for segment in &catalog.segments {
        let path: FilePath = layout.segment(segment.place, segment.id);
        let open =
            Segment::open(&env.disk, &path, catalog.store, segment.id, segment.file.len, &handles);
        // Damage has been reported by the check of the segment itself.
        open.scan(|object| {
            if let EntryValue::Object(ObjectVersion {
                payload: PayloadLocation::Bulk(of), ..
            }) = &object.statement
            {
                add(of);
            }
        })
        .await;
    }
    let opened = SealedFiles::open(&env.disk, layout, catalog.store, catalog.clone(), None).await?;
    for run in &opened.runs {
        state_extents(run, &mut add, faults).await;
    }
    if missing.0 > 0 {
        let (places, bytes) = missing;
        faults.push(format!(
            "partition {}: {bytes} bytes of payload in {places} places are missing on this node, which had no room when they arrived; to restore them from the log, remove the data directory and start the node",
            catalog.partition
        ));
    }
    Ok(())
}

/// Passes the extents of the parts in a run's state table to `add`. An entry that cannot be decoded is a fault. A block
/// that cannot be read ends the loop, because the check of the table has reported it.
async fn state_extents(run: &OpenRun, add: &mut impl FnMut(&[Extent]), faults: &mut Vec<String>) {
    let Ok(state) = &run.state else { return };
    let mut cursor = state.cursor();
    if cursor.seek(StateKey::STREAMS).await.is_err() {
        return;
    }
    while let (Some(key), Some(value)) = (cursor.key(), cursor.value_bytes()) {
        let key = StateKey(Bytes::copy_from_slice(key));
        let named = match value.first() {
            // The space of an incomplete stream may have been released since, after the stream was abandoned.
            Some(1) if key.is_stream() => StreamState::decode(value.slice(1..)).map(|_| Vec::new()),
            Some(1) if key.is_part() => {
                decode_part(value.slice(1..)).map(|(_, part)| part.extents.to_vec())
            }
            _ => Ok(Vec::new()),
        };
        match named {
            Ok(named) => add(&named),
            Err(error) => faults.push(format!("state of run {}: {error}", run.run.id)),
        }
        if cursor.advance().await.is_err() {
            break;
        }
    }
}
