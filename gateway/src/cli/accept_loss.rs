//! `siltstone fsck --accept-loss`: makes a store that cannot be opened one that can.
//!
//! It is a tool of its own and no setting of the server, so that what is lost is listed to somebody who asked,
//! once, and a server that restarts by itself never decides it. It mends the log of a store on one machine.
//! A node of a cluster is made anew from the brokers instead; a catalog or a state run of which no copy is
//! left can only come from a backup, since they say which buckets there are.

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

/// The most key hashes that are told for each stretch.
const HASHES_MAX: usize = 20;

/// Lists what is lost of a data directory's log, and makes a log of the rest.
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
    let found = catalog::read(&env, &layout, own.store, PARTITION).await;
    let (found, _) = found.context("the catalog, which only a backup can bring back")?;
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
            "{} has no catalog, and the log does not reach back to its beginning: what is sealed would be \
             lost with it. Put the catalog back, or use a backup; nothing has been changed",
            layout.catalog_folder()
        );
    }
    for lost in &loss.lost {
        println!("{}", words(lost));
    }
    if loss.lost.is_empty() {
        println!("nothing that is known of is lost; what was acknowledged last may be");
    }
    println!(
        "kept: everything below offset {}, and {} records above it. Of these, writes that hang on \
         something lost (a bucket, an upload, a condition) may come to nothing",
        catalog.next, loss.kept
    );
    for path in loss.accept(&env, catalog.time).await? {
        println!("set aside: {}", data.join(path.as_str()).display());
    }
    println!("{}: the store can be opened again", data.display());
    Ok(())
}

/// Tells that there are sealed files.
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

/// A stretch that is lost, as far as it is known.
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
