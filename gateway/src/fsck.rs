//! `siltstone fsck`: reads every byte of a data directory, recomputes every checksum, and compares what
//! refers to what. It changes nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use compactor::catalog::{self, Catalog, LoadError};
use compactor::layout::Layout;
use compactor::sealed;
use compactor::segment::Segment;
use compactor::state::{StateKey, StreamState, decode_part};
use compactor::view::Sealed;
use ingest::entry::{Extent, ObjectVersion, Payload, Statement};
use ingest::env::production;
use ingest::env::{Env, FilePath};
use ingest::log::embedded;
use ingest::words::PartitionId;

use crate::config::Settings;
use crate::server::identity::Identity;
use crate::server::store::{Lock, bulk_options, log_options};

/// Checks a data directory; prints what is wrong, and exits 1 if anything is.
pub fn run(data: &Path) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let faults = runtime.block_on(check(data))?;
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() {
        println!("{}: clean", data.display());
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}: {} faults", data.display(), faults.len());
    Ok(ExitCode::FAILURE)
}

async fn check(data: &Path) -> anyhow::Result<Vec<String>> {
    let _lock = Lock::take(data).with_context(|| format!("cannot check {}", data.display()))?;
    let Some(identity) = Identity::read(data)? else {
        bail!("{} is not a siltstone data directory", data.display());
    };
    let env = production::of(data)?;
    let partitions = match identity {
        Identity::Embedded(_) => 1,
        Identity::Node(node) => node.partitions,
    };
    let mut faults = Vec::new();
    for id in (0..partitions).map(PartitionId::new) {
        check_partition(&env, data, &identity, id, &mut faults).await?;
    }
    Ok(faults)
}

async fn check_partition(
    env: &Env,
    data: &Path,
    identity: &Identity,
    id: PartitionId,
    faults: &mut Vec<String>,
) -> anyhow::Result<()> {
    let store = identity.store();
    let settings = Settings::for_tools(data.to_path_buf());
    let layout = Layout::new(id);
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
    // A node's log is with the brokers, and its spool is made anew by each start.
    if let Identity::Embedded(_) = identity {
        let log = embedded::verify(env, &log_options(&settings, store), id, catalog.next).await?;
        faults.extend(log.into_iter().map(|corruption| corruption.to_string()));
    }
    check_sealed(env, &layout, &catalog, faults).await?;
    let extents = referenced(env, &layout, &catalog, faults).await?;
    let options = bulk_options(&settings, &catalog);
    for bulk in &catalog.bulks {
        let found = ingest::bulk::verify(env, &options, bulk.id, &extents).await?;
        faults.extend(found.into_iter().map(|corruption| corruption.to_string()));
    }
    Ok(())
}

/// Every file that the catalog names: its digest, and its own checksums for the place.
async fn check_sealed(
    env: &Env,
    layout: &Layout,
    catalog: &Catalog,
    faults: &mut Vec<String>,
) -> anyhow::Result<()> {
    let disk = &env.disk;
    let handles = Arc::default();
    for segment in &catalog.segments {
        let path = layout.segment(segment.id);
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
    let opened = Sealed::open(disk, layout, catalog.store, catalog.clone(), None).await?;
    for run in &opened.runs {
        for table in [&run.keys, &run.more, &run.tags, &run.state].into_iter().flatten() {
            let found: Vec<_> = Arc::clone(table).verify().await;
            faults.extend(found.into_iter().map(|error| error.to_string()));
        }
        let Ok(manifest) = &run.manifest else { continue };
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
    }
    Ok(())
}

/// The extents in bulk files that segments and state runs name, each once.
async fn referenced(
    env: &Env,
    layout: &Layout,
    catalog: &Catalog,
    faults: &mut Vec<String>,
) -> anyhow::Result<Vec<Extent>> {
    let known: Vec<_> = catalog.bulks.iter().map(|bulk| bulk.id).collect();
    let mut extents = BTreeMap::new();
    let mut missing = (0u64, 0u64);
    let mut add = |from: &[Extent]| {
        for extent in from.iter().filter(|extent| extent.is_missing()) {
            missing = (missing.0 + 1, missing.1.saturating_add(extent.len));
        }
        for extent in from.iter().filter(|extent| known.contains(&extent.file)) {
            let known = extents.entry((extent.file, extent.position)).or_insert(*extent);
            known.len = known.len.max(extent.len);
        }
    };
    let handles = Arc::default();
    for segment in &catalog.segments {
        let path: FilePath = layout.segment(segment.id);
        let open =
            Segment::open(&env.disk, &path, catalog.store, segment.id, segment.file.len, &handles);
        // What is damaged here has been told by the check of the segment itself.
        open.scan(|object| {
            if let Statement::Object(ObjectVersion { payload: Payload::Bulk(of), .. }) =
                &object.statement
            {
                add(of);
            }
        })
        .await;
    }
    let opened = Sealed::open(&env.disk, layout, catalog.store, catalog.clone(), None).await?;
    for run in &opened.runs {
        let Ok(state) = &run.state else { continue };
        let mut cursor = state.cursor();
        if cursor.seek(StateKey::STREAMS).await.is_err() {
            continue;
        }
        while let (Some(key), Some(value)) = (cursor.key(), cursor.value_bytes()) {
            let key = StateKey(Bytes::copy_from_slice(key));
            let named = match value.first() {
                // What has come of a stream under way may have been given back since: it was given up.
                Some(1) if key.is_stream() => {
                    StreamState::decode(value.slice(1..)).map(|_| Vec::new())
                }
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
    if missing.0 > 0 {
        let (places, bytes) = missing;
        faults.push(format!(
            "partition {}: {bytes} bytes of payload in {places} places are not on this node, which had no room when they came; remove its directory and start it to have them from the log",
            catalog.partition
        ));
    }
    Ok(extents.into_values().collect())
}
