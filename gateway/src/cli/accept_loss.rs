//! `siltstone fsck --accept-loss`: repairs the log of a store that cannot be opened because records are lost.
//!
//! The repair is a command and not a setting of the server, so that an operator sees the list of lost records, and
//! a server that restarts by itself never accepts a loss. Only the log of a store on one machine is repaired. A
//! node of a cluster is folded again from the log on brokers instead. A catalog or a state table without a readable
//! copy can only come from a backup, since the buckets are defined there.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use compactor::catalog::{self, Catalog};
use compactor::layout::PartitionLayout;
use ingest::env::{DiskErrorKind, Env, production};
use ingest::ids::Offset;
use ingest::log::embedded::{self, LostRange};

use crate::config::StorageSettings;
use crate::server::engine_options::log_options;
use crate::server::identity::DataIdentity;
use crate::server::store::{DataLock, PARTITION};

/// The largest number of key hashes that are printed for each lost range.
const HASHES_MAX: usize = 20;

/// Prints the records that the log of a data directory has lost, and makes a log of the rest. Damaged files are moved
/// aside before. Changes nothing if the log has no fault. Fails, without a change, if a process has the directory open,
/// if the directory is a node's copy, and if the catalog cannot be read or is missing although sealed files depend on
/// it.
pub fn run(data: &Path) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(accept(data))?;
    Ok(ExitCode::SUCCESS)
}

async fn accept(data: &Path) -> anyhow::Result<()> {
    let _lock =
        DataLock::take(data).with_context(|| format!("cannot repair {}", data.display()))?;
    let own = match DataIdentity::read(data)? {
        Some(DataIdentity::Embedded(own)) => own,
        Some(DataIdentity::Node(_)) => bail!(
            "{} is a node's copy: remove it, and the node folds the log on the brokers again",
            data.display()
        ),
        None => bail!("{} is not a siltstone data directory", data.display()),
    };
    let env = production::of(data)?;
    let layout = PartitionLayout::new(PARTITION);
    let found = catalog::read_durable(&env, &layout, own.store, PARTITION).await;
    let found = found.context("the catalog, which can only be restored from a backup")?;
    let found_none = found.is_none();
    let catalog = found.unwrap_or_else(|| Catalog::first(own.store, PARTITION));
    let options = log_options(&StorageSettings::for_tools(), own);
    let faults = embedded::verify(&env, &options, PARTITION, catalog.next).await?;
    if faults.is_empty() {
        println!("{}: the log is whole; there is no loss to accept", data.display());
        return Ok(());
    }
    for fault in faults {
        println!("{fault}");
    }
    let loss = embedded::repair(&env, &options, PARTITION, catalog.next).await?;
    let loses_first = loss.lost.first().is_some_and(|lost| lost.from == Offset::ZERO);
    if found_none && loses_first && holds_sealed(&env, &layout).await? {
        bail!(
            "{} has no catalog, and the beginning of the log is lost: all sealed files would be lost \
             with it. Restore the catalog, or use a backup; nothing has been changed",
            layout.catalog_folder()
        );
    }
    for lost in &loss.lost {
        println!("{}", words(lost));
    }
    if loss.lost.is_empty() {
        println!("no known record is lost; the records that were acknowledged last may be");
    }
    println!(
        "kept: everything below offset {}, and {} records above it. Of these records, writes that depend on \
         something lost (a bucket, an upload, a condition) may be rejected",
        catalog.next, loss.kept
    );
    for path in loss.accept(&env, catalog.time).await? {
        println!("set aside: {}", data.join(path.as_str()).display());
    }
    println!("{}: the store can be opened again", data.display());
    Ok(())
}

/// Returns true if a folder of the partition has a file. Fails if a folder cannot be listed.
async fn holds_sealed(env: &Env, layout: &PartitionLayout) -> anyhow::Result<bool> {
    for folder in layout.folders() {
        match env.disk.list(&folder).await {
            Ok(files) if files.is_empty() => {}
            Ok(_) => return Ok(true),
            Err(error) if error.kind == DiskErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// Describes a lost range of offsets, with the hashes of keys as far as they are known.
fn words(lost: &LostRange) -> String {
    let last = lost.below.get().saturating_sub(1);
    let mut words = format!("lost: offsets {} to {last}", lost.from);
    if !lost.key_hashes.is_empty() {
        let told = lost.key_hashes.iter().take(HASHES_MAX);
        let told: Vec<String> = told.map(|hash| format!("{hash:016x}")).collect();
        let more = lost.key_hashes.len().saturating_sub(HASHES_MAX);
        words += &format!("; the last of them concern keys with the hashes {}", told.join(" "));
        if more > 0 {
            words += &format!(" and {more} more");
        }
    }
    words
}
