//! Opens a data directory in the form in which a server keeps it, without the server.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use compactor::catalog::Catalog;
use compactor::layout::PartitionLayout;
use compactor::partition::{Partition, PartitionOptions};
use ingest::bulk::{self, BulkFiles};
use ingest::env::{FilePath, production};
use ingest::ids::{PartitionId, StoreId};
use ingest::log::embedded::{self, EmbeddedLog};

/// A store in this process.
pub struct EngineStore {
    /// The only partition.
    pub partition: Partition,
    log: Arc<EmbeddedLog>,
}

/// Reads the id of the store, or writes a new one if `identity.a` cannot be read. `docs/formats/directory.md`
/// specifies the line. Fails if the line is not that of a store on one machine; the checksum is not verified.
fn identity(data: &Path) -> anyhow::Result<StoreId> {
    let path = data.join("identity.a");
    let Ok(text) = fs::read_to_string(&path) else {
        let store = StoreId(*b"siltstone--bench");
        let line = format!("siltstone store 2 {} new", hex::encode(store.0));
        let text = format!("{line} {:08x}\n", crc32c::crc32c(line.as_bytes()));
        for copy in ["identity.a", "identity.b"] {
            fs::write(data.join(copy), &text)?;
        }
        return Ok(store);
    };
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        ["siltstone", "store", "2", id, _, _] => {
            let mut store = [0; 16];
            hex::decode_to_slice(id, &mut store).context("the store's id")?;
            Ok(StoreId(store))
        }
        _ => bail!("{} is not the identity of a store on one machine", path.display()),
    }
}

impl EngineStore {
    /// Opens a data directory, or makes a new store in an empty one, and recovers its log.
    ///
    /// No server may have the directory open: the caller must ensure that, since nothing here locks it. Fails
    /// if a file cannot be read or written, or if the identity is not that of a store on one machine.
    pub async fn open(data: &Path, options: PartitionOptions) -> anyhow::Result<Self> {
        fs::create_dir_all(data)?;
        let store = identity(data)?;
        let env = production::of(data)?;
        let id = PartitionId::ZERO;
        let found = Partition::catalog(&env, store, id).await?;
        let catalog = found.unwrap_or_else(|| Catalog::first(store, id));
        let floors = BTreeMap::from([(id, catalog.next)]);
        let log_options = embedded::EmbeddedLogOptions {
            folder: FilePath::new("log"),
            store,
            file_bytes: 256 << 20,
            queue_bytes: 16 << 20,
            reserve_bytes: 0,
            is_begun: false,
        };
        let (log, _) = EmbeddedLog::open(&env, log_options, &floors).await?;
        let log = Arc::new(log);
        let bulk_options = bulk::BulkOptions {
            folder: PartitionLayout::new(id).bulk_folder(),
            store,
            partition: id,
            next: catalog.next_bulk,
            file_bytes_max: 1 << 30,
            sync_bytes: 4 << 20,
            reserve_bytes: 0,
        };
        let bulk = BulkFiles::open(env.clone(), bulk_options).await?;
        let partition = Partition::open(env, log.clone(), bulk, catalog, options).await?;
        Ok(Self { partition, log })
    }

    /// Closes the log. Records that are not folded stay in the log, for the next server that opens the
    /// directory. Must be called before the process ends.
    pub async fn close(&self) {
        self.log.close().await;
    }
}
