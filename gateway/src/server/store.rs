//! The store in a data directory: the lock, the partitions and the log.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use compactor::catalog::Catalog;
use compactor::layout::PartitionLayout;
use compactor::partition::Partition;
use compactor::partitioner;
use compactor::view::Snapshot;
use ingest::bulk::BulkFiles;
use ingest::env::Env;
use ingest::ids::{Offset, PartitionId, StoreId};
use ingest::log::ReadError;
use ingest::log::embedded::EmbeddedLog;
use tokio::sync::watch;

use super::cold_folder;
use super::engine_options::{bulk_options, log_options, partition_options};
use super::identity::{DataIdentity, StoreIdentity, new_store};
use super::node::NodeContext;
use super::partition_handle::PartitionHandle;
use crate::config::{LogKind, ServerSettings};

/// The one partition of an embedded store.
pub const PARTITION: PartitionId = PartitionId::ZERO;

/// The longest wait for the last cut at a stop. A cut that cannot be published must not keep a server from stopping.
const LAST_CUT: Duration = Duration::from_secs(60);

/// An open store.
pub struct Store {
    /// The copies of all partitions, in the order of their ids.
    local: Vec<Partition>,
    /// The part that makes the store's writes durable.
    pub kind: LogBackend,
    _lock: DataLock,
}

/// The part of a store that makes its writes durable.
pub enum LogBackend {
    /// A log on this machine.
    Embedded(Arc<EmbeddedLog>),
    /// A log on brokers, of which this process is one node.
    Node(NodeContext),
}

/// The exclusive lock of a data directory, held until it is dropped. The system releases the lock when the process
/// ends.
pub struct DataLock(#[expect(dead_code, reason = "held, not read")] fs::File);

impl DataLock {
    /// Takes the lock without waiting. Fails if another process has the lock, and if the file `LOCK` cannot be opened.
    /// Nothing in the directory may be read or changed before.
    pub fn take(data: &Path) -> anyhow::Result<Self> {
        let path = data.join("LOCK");
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        let locked = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        if locked.is_err() {
            bail!("{} is in use by another siltstone process", data.display());
        }
        Ok(Self(file))
    }
}

impl Store {
    /// Opens the store: takes the lock, reads or makes the identity, recovers the log and replays it. On return
    /// every record that was acknowledged before is applied. Fails if the directory is in use, belongs to another
    /// node or kind of log, or is damaged. Records that are lost from the log are never passed over here.
    pub async fn open(env: Env, settings: &ServerSettings) -> anyhow::Result<Self> {
        let lock = DataLock::take(&settings.service.data)?;
        let found = DataIdentity::read(&settings.service.data)?;
        match &settings.log {
            LogKind::Embedded => Self::open_embedded(env, settings, found, lock).await,
            LogKind::Kafka(kafka) => {
                let (node, partitions) = NodeContext::open(env, settings, kafka, found).await?;
                Ok(Self { local: partitions, kind: LogBackend::Node(node), _lock: lock })
            }
        }
    }

    async fn open_embedded(
        env: Env,
        settings: &ServerSettings,
        found: Option<DataIdentity>,
        lock: DataLock,
    ) -> anyhow::Result<Self> {
        let own = match found {
            Some(DataIdentity::Embedded(own)) => own,
            Some(DataIdentity::Node(node)) => bail!(
                "{} is the copy of node {} of a cluster: start it with --log kafka, or give another data directory",
                settings.service.data.display(),
                node.node
            ),
            None => {
                let own = StoreIdentity { store: new_store()?, is_begun: false };
                DataIdentity::Embedded(own).write(&settings.service.data)?;
                own
            }
        };
        cold_folder::open(settings, own.store, own.is_begun)?;
        let found = Partition::catalog(&env, own.store, PARTITION).await.context("the catalog")?;
        let has_catalog = found.is_some();
        let catalog = found.unwrap_or_else(|| Catalog::first(own.store, PARTITION));
        let floors = BTreeMap::from([(PARTITION, catalog.next)]);
        let (log, report) = EmbeddedLog::open(&env, log_options(&settings.storage, own), &floors)
            .await
            .context("the log")?;
        if let Some(corruption) = report.corruptions.get(&PARTITION) {
            let folder = PartitionLayout::new(PARTITION).catalog_folder();
            let also =
                if has_catalog { String::new() } else { format!(" ({folder} has no catalog)") };
            bail!(
                "the log lost records that were acknowledged: {corruption}{also}; nothing has been changed. \
                 Put back what is missing, or see what would be lost with `siltstone fsck`, and accept that \
                 with `siltstone fsck --accept-loss`"
            );
        }
        if report.torn_bytes > 0 {
            tracing::info!(
                bytes = report.torn_bytes,
                "an unfinished batch at the end of the log was overwritten"
            );
        }
        DataIdentity::Embedded(own).mend(&settings.service.data)?;
        let log = Arc::new(log);
        let bulk = BulkFiles::open(env.clone(), bulk_options(&settings.storage, &catalog)).await?;
        let options = partition_options(settings);
        let partition = Partition::open(env, log.clone(), bulk, catalog, options).await?;
        if !own.is_begun {
            // Only when the log's first file is there, and before the first request is served.
            let status = partition.log().status(PARTITION);
            if status.end == Offset::ZERO {
                let reason = status.refusing.map_or("no room for it".into(), |e| e.to_string());
                bail!("cannot create the first log file of a new store: {reason}");
            }
            DataIdentity::Embedded(StoreIdentity { is_begun: true, ..own })
                .write(&settings.service.data)?;
        }
        Ok(Self { local: vec![partition], kind: LogBackend::Embedded(log), _lock: lock })
    }

    /// The partition of buckets with this name. The name alone decides it, before and after the bucket exists.
    pub fn partition_of(&self, bucket: &str) -> PartitionHandle<'_> {
        let id = partitioner::home(bucket, self.local.len() as u32);
        PartitionHandle::new(&self.local[id.get() as usize])
    }

    /// The partition with an id; `None` when the store has fewer partitions.
    pub fn partition(&self, id: PartitionId) -> Option<PartitionHandle<'_>> {
        self.local.get(id.get() as usize).map(PartitionHandle::new)
    }

    /// All partitions, in the order of their ids.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = PartitionHandle<'_>> {
        self.local.iter().map(PartitionHandle::new)
    }

    /// The copies in this process, in the order of their ids, for administration. Requests must use
    /// [`partition_of`](Self::partition_of) instead.
    pub fn local(&self) -> &[Partition] {
        &self.local
    }

    /// The store's id.
    pub fn id(&self) -> StoreId {
        self.local[0].snapshot().view.sealed.catalog.store
    }

    /// Changes to `Some(false)` when another process has claimed this node's id; this process must stop then.
    pub fn holds_node(&self) -> watch::Receiver<Option<bool>> {
        self.local[0].holds_node()
    }

    /// A fresh snapshot of every partition, in the order of their ids. Fails when one partition cannot be read.
    pub async fn fresh(&self) -> Result<Vec<Snapshot>, ReadError> {
        futures::future::try_join_all(self.local.iter().map(Partition::fresh)).await
    }

    /// The reason for which a write would be refused, of the first partition with a reason; `None` if every partition
    /// accepts writes.
    pub fn trouble(&self) -> Option<String> {
        let of = |partition: &Partition| {
            let reason = partition.readiness().err()?;
            Some(format!("partition {}: {reason}", partition.id()))
        };
        self.local.iter().find_map(of)
    }

    /// Facts that an operator should know although writes are accepted, in the order of the partitions. Empty for a
    /// healthy store.
    pub fn warnings(&self) -> Vec<String> {
        let of = |partition: &Partition| {
            let id = partition.id();
            let warnings = partition.warnings().into_iter();
            warnings.map(move |warning| format!("partition {id}: {warning}")).collect::<Vec<_>>()
        };
        self.local.iter().flat_map(of).collect()
    }

    /// A message about the wall clock, and true if all partitions trust it. Otherwise the message is about the first
    /// partition that does not.
    pub fn clock(&self) -> (String, bool) {
        let doubted = self.local.iter().find(|partition| partition.clock_ahead().1);
        match doubted {
            None => ("the wall clock is believed\n".into(), true),
            Some(partition) => {
                let ahead = partition.clock_ahead().0;
                let text = format!(
                    "the wall clock is {ahead:.0} s ahead of what the monotonic clock allows and is not believed (partition {}): objects get the time without the jump; if the clock is right, say so with `siltstone clock --believe`\n",
                    partition.id()
                );
                (text, false)
            }
        }
    }

    /// Closes the store. An embedded store makes a last cut in each partition, waits for it for at most 60 s, and
    /// closes the log; a node only closes its log, since cuts concern all nodes. Never fails: without the cut the
    /// next start replays the log.
    pub async fn close(&self) {
        match &self.kind {
            LogBackend::Embedded(log) => {
                let cuts = futures::future::join_all(self.local.iter().map(Partition::cut));
                match tokio::time::timeout(LAST_CUT, cuts).await {
                    Ok(cuts) => {
                        for error in cuts.into_iter().filter_map(Result::err) {
                            tracing::warn!(%error, "the last cut failed; the next start replays the log");
                        }
                    }
                    Err(_) => tracing::warn!(
                        "the last cut was not published in time; the next start replays the log"
                    ),
                }
                log.close().await;
            }
            // A cut record makes all nodes cut, so a node makes none for its own stop.
            LogBackend::Node(node) => node.log.close().await,
        }
    }
}
