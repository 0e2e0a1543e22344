//! What a check of a stopped store makes of its log is what the next start makes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use compactor::apply::StoreRules;
use compactor::catalog::Catalog;
use compactor::layout::PartitionLayout;
use compactor::partition::Partition;
use compactor::refold::Refold;
use compactor::view::{SealedFiles, Snapshot};
use ingest::bulk;
use ingest::entry::Extent;
use ingest::env::FilePath;
use ingest::ids::{BulkId, PartitionId};
use ingest::log::embedded;
use ingest::record::Versioning;
use query::listing::{self, ListRequest, ListStart};
use simulator::{Sim, SimDisk};

use crate::crash::{SharedClients, seeds};
use crate::world::{Client, STORE, log_options, open};

const ID: PartitionId = PartitionId::ZERO;

/// Every version in every bucket.
async fn shown(snapshot: &Snapshot) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for bucket in snapshot.buckets.iter() {
        let (bucket, prefix) = (bucket.id, Default::default());
        let delimiter = Default::default();
        let request =
            ListRequest { bucket, prefix, delimiter, from: ListStart::Start, max: 10_000 };
        let page = listing::versions(snapshot, &request).await.map_err(|e| e.to_string())?;
        assert!(page.next.is_none(), "one page holds them all");
        found.push(format!("{bucket}: {:?}", page.listed));
    }
    Ok(found)
}

/// Folds the log of a stopped store; checks the payload that it names, and gives what it shows.
async fn refolded(sim: &Sim, disk: &SimDisk) -> Result<(Vec<String>, usize), String> {
    let env = sim.env(disk);
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let catalog = Partition::catalog(&env, STORE, ID).await.map_err(|e| text(&e))?;
    let catalog = catalog.unwrap_or_else(|| Catalog::first(STORE, ID));
    let log = log_options(true);
    let (next, next_bulk, mut batches) = (catalog.next, catalog.next_bulk, Vec::new());
    let wrong = embedded::verify_noting(&env, &log, ID, next, &mut batches).await;
    assert_eq!(wrong.map_err(|e| text(&e))?, []);
    let sealed =
        SealedFiles::open(&env.disk, &PartitionLayout::new(ID), STORE, catalog, None).await;
    let sealed = Arc::new(sealed.map_err(|e| text(&e))?);
    let rules = StoreRules { part_bytes_min: 0 };
    let mut fold = Refold::begin(rules, sealed).await.map_err(|e| text(&e))?;
    let mut extents: BTreeMap<BulkId, Vec<Extent>> = BTreeMap::new();
    for place in &batches {
        for committed in embedded::read_batch(&env, place).await.map_err(|e| text(&e))? {
            if committed.offset < next {
                continue;
            }
            for extent in fold.take(&committed).await.map_err(|e| text(&e))? {
                extents.entry(extent.file).or_default().push(extent);
            }
        }
    }
    let options = bulk::BulkOptions {
        folder: FilePath::new("p0000/bulk"),
        store: STORE,
        partition: ID,
        next: next_bulk,
        file_bytes_max: 96 << 10,
        sync_bytes: 64 << 10,
        reserve_bytes: 0,
    };
    for (id, extents) in &extents {
        let wrong = bulk::verify(&env, &options, *id, extents).await.map_err(|e| text(&e))?;
        assert_eq!(wrong, [], "what the log names is whole");
    }
    Ok((shown(&fold.snapshot()).await?, extents.len()))
}

fn run(seed: u64) -> Result<usize, String> {
    let sim = Sim::new(seed);
    let disk = SimDisk::new(&sim);
    let mut clients = Vec::new();
    let made = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        for (number, versioning) in [(0, Versioning::Off), (1, Versioning::On)] {
            let bucket = engine.bucket(&format!("bucket-{number}"), versioning).await?;
            clients.push(Client::new(number, bucket, versioning, seed));
        }
        engine.close().await;
        Ok::<(), String>(())
    });
    made.map_err(|stopped| format!("{stopped:?}"))??;
    sim.stop();
    let clients = SharedClients::new(clients);
    let lived = sim.block_on(&disk, clients.live(&sim, &disk, false));
    lived.map_err(|stopped| format!("{stopped:?}"))??;
    sim.stop();
    let checked = sim.block_on(&disk, refolded(&sim, &disk));
    let (found, files) = checked.map_err(|stopped| format!("{stopped:?}"))??;
    sim.stop();
    let opened = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        let wanted = shown(&engine.partition.snapshot()).await?;
        engine.close_log().await;
        Ok::<_, String>(wanted)
    });
    let wanted = opened.map_err(|stopped| format!("{stopped:?}"))??;
    if found == wanted { Ok(files) } else { Err(format!("{found:#?} instead of {wanted:#?}")) }
}

#[test]
fn a_check_folds_the_log_as_a_start_does() {
    let mut files = 0;
    for seed in 0..seeds(40) {
        files += run(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    assert!(files > 0, "no log named any payload beside it");
}
