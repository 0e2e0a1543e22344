//! The store in a data directory: its identity, its lock, its engine.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use compactor::catalog::Catalog;
use compactor::layout::Layout;
use compactor::partition::{Options, Partition};
use ingest::bulk::{self, BulkFiles};
use ingest::env::{Env, FilePath};
use ingest::log::embedded::{self, EmbeddedLog};
use ingest::words::{PartitionId, StoreId};

use crate::config::Settings;

/// The one partition of an embedded store.
pub const PARTITION: PartitionId = PartitionId::ZERO;
const IDENTITY_MAGIC: &str = "siltstone store 1";

/// A stop waits so long for its cut. A cut that cannot be sealed must not keep a server from stopping.
const LAST_CUT: Duration = Duration::from_secs(60);

/// A store at work.
pub struct Store {
    /// Its engine.
    pub partition: Partition,
    log: Arc<EmbeddedLog>,
    _lock: Lock,
}

/// Makes the data directory, and its name durable in every folder above that was made with it.
pub fn make_folder(data: &Path) -> anyhow::Result<()> {
    let missing: Vec<&Path> = data.ancestors().take_while(|folder| !folder.exists()).collect();
    fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    for made in missing {
        sync_folder_of(made)?;
    }
    Ok(())
}

/// Makes the name of a file or folder durable.
fn sync_folder_of(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

/// Keeps other processes out of the data directory. The system lets go of it when the process ends.
pub struct Lock(#[expect(dead_code, reason = "held, not read")] fs::File);

impl Lock {
    /// Takes the lock, or says who has it.
    pub fn take(data: &Path) -> anyhow::Result<Self> {
        let path = data.join("LOCK");
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        let locked = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        if locked.is_err() {
            bail!("{} is in use by another siltstone process", data.display());
        }
        Ok(Self(file))
    }
}

/// Reads the store's id; makes one for an empty directory.
pub fn identity(data: &Path, may_create: bool) -> anyhow::Result<StoreId> {
    let copies = [data.join("identity.a"), data.join("identity.b")];
    let mut damaged = Vec::new();
    for path in &copies {
        match fs::read(path) {
            // A copy that is not even text is damaged like any other.
            Ok(bytes) => match parse_identity(&String::from_utf8_lossy(&bytes)) {
                Some(id) => return Ok(id),
                None => damaged.push(path.display().to_string()),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => bail!("cannot read {}: {error}", path.display()),
        }
    }
    if !damaged.is_empty() {
        bail!("the store's identity is corrupt: {}", damaged.join(", "));
    }
    // Without an identity there must be no data either.
    if data.join("log").exists() || data.join("p0000").exists() {
        bail!("{} holds data and no identity file", data.display());
    }
    if !may_create {
        bail!("{} is not a siltstone data directory", data.display());
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    let line = format!("{IDENTITY_MAGIC} {}", hex::encode(id));
    let text = format!("{line} {:08x}\n", crc32c::crc32c(line.as_bytes()));
    for path in &copies {
        write_private(path, text.as_bytes())?;
    }
    Ok(StoreId(id))
}

fn parse_identity(text: &str) -> Option<StoreId> {
    let (line, crc) = text.trim_end().rsplit_once(' ')?;
    let id = line.strip_prefix(IDENTITY_MAGIC)?.trim();
    let mut bytes = [0; 16];
    hex::decode_to_slice(id, &mut bytes).ok()?;
    (format!("{:08x}", crc32c::crc32c(line.as_bytes())) == crc).then_some(StoreId(bytes))
}

/// Writes a file that only its owner may read, durably and at once.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut options = fs::OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_folder_of(path)
}

/// How the log is kept under these settings.
pub fn log_options(settings: &Settings, store: StoreId) -> embedded::Options {
    embedded::Options {
        folder: FilePath::new("log"),
        store,
        file_bytes: settings.log_file_bytes,
        queue_bytes: 16 << 20,
        reserve_bytes: settings.reserve_bytes,
    }
}

/// How bulk files are kept under these settings.
pub fn bulk_options(settings: &Settings, catalog: &Catalog) -> bulk::Options {
    bulk::Options {
        folder: Layout::new(catalog.partition).bulk_folder(),
        store: catalog.store,
        partition: catalog.partition,
        next: catalog.next_bulk,
        file_bytes_max: settings.bulk_file_bytes,
        // The log's syncs wait behind these on the device: small enough for a small PUT beside an upload.
        sync_bytes: 4 << 20,
        reserve_bytes: settings.reserve_bytes,
    }
}

impl Store {
    /// Opens the store, recovering what the last stop left.
    pub async fn open(env: Env, settings: &Settings) -> anyhow::Result<Self> {
        let data = &settings.data;
        let lock = Lock::take(data)?;
        let store = identity(data, true)?;
        let found = Partition::catalog(&env, store, PARTITION).await.context("the catalog")?;
        let catalog = found.unwrap_or_else(|| Catalog::first(store, PARTITION));
        let floors = BTreeMap::from([(PARTITION, catalog.next)]);
        let (log, report) = EmbeddedLog::open(&env, log_options(settings, store), &floors)
            .await
            .context("the log")?;
        if let Some(corruption) = report.corruptions.get(&PARTITION) {
            bail!("the log lost records that were acknowledged: {corruption}");
        }
        if report.torn_bytes > 0 {
            tracing::info!(bytes = report.torn_bytes, "an unfinished batch was cut off");
        }
        let log = Arc::new(log);
        let bulk = BulkFiles::open(env.clone(), bulk_options(settings, &catalog)).await?;
        let options = Options {
            cut: settings.cut,
            reserve_bytes: settings.reserve_bytes,
            ..Options::default()
        };
        let partition = Partition::open(env, log.clone(), bulk, catalog, options).await?;
        Ok(Self { partition, log, _lock: lock })
    }

    /// Folds what is not folded yet, and stops.
    pub async fn close(&self) {
        match tokio::time::timeout(LAST_CUT, self.partition.cut()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "no last cut; the next start replays the log instead");
            }
            Err(_) => tracing::warn!("the last cut takes too long; the next start replays the log"),
        }
        self.log.close().await;
    }
}
