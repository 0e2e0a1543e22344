//! One node's way up: the log on its brokers, and a copy of every partition folded from it, as a server
//! opens them.

use std::sync::Arc;
use std::time::Duration;

use compactor::apply::StoreRules;
use compactor::catalog::{Catalog, LoadError};
use compactor::partition::{
    self, CutPolicy, OpenError, Partition, PartitionOptions, PayloadRoute, ReadConsistency, hash_of,
};
use ingest::bulk::{self, BulkFiles, FRAME_PAYLOAD_MAX};
use ingest::env::{DiskErrorKind, Env, FilePath, timeout};
use ingest::ids::{NodeId, Offset, PartitionId, StoreId};
use ingest::log::brokers::Brokers;
use ingest::log::replicated::{self, ProducerTimeouts, ReplicatedLog};
use ingest::log::{Log, ReadError};
use simulator::SimRandom;

use crate::world::STORE;

/// How the nodes of a world are set; everything so small that a short life meets all of it.
#[derive(Clone, Debug)]
pub struct Settings {
    pub partitions: u32,
    pub write_wait: Duration,
    read_wait: Duration,
    cut: CutPolicy,
    merge_fan_in: usize,
    spool_file_bytes: u64,
    bulk_file_bytes: u64,
    patience: ProducerTimeouts,
}

impl Settings {
    /// Draws them.
    pub fn draw(random: &SimRandom) -> Self {
        let seconds =
            |least: u64, most: u64| Duration::from_secs(least + random.below(most - least + 1));
        Self {
            partitions: 1 + random.below(2) as u32,
            write_wait: seconds(4, 15),
            read_wait: seconds(2, 10),
            cut: CutPolicy {
                bytes: 1 << 20,
                entries: 8 + random.below(33) as usize,
                age: seconds(2, 30),
                records: 200 + random.below(2_000),
            },
            merge_fan_in: 2 + random.below(3) as usize,
            spool_file_bytes: [1 << 10, 8 << 10, 64 << 10][random.below(3) as usize],
            bulk_file_bytes: [96 << 10, 256 << 10][random.below(2) as usize],
            patience: ProducerTimeouts { stuck: seconds(2, 8), pause: seconds(1, 3) },
        }
    }

    fn of_log(&self) -> replicated::ReplicatedLogOptions {
        replicated::ReplicatedLogOptions {
            queue_bytes: 512 << 10,
            spool_file_bytes: self.spool_file_bytes,
            patience: self.patience,
            ..replicated::ReplicatedLogOptions::new(FilePath::new("spool"))
        }
    }

    fn of_bulk(&self, catalog: &Catalog) -> bulk::BulkOptions {
        bulk::BulkOptions {
            folder: FilePath::new(format!("p{:04}/bulk", catalog.partition.get())),
            store: catalog.store,
            partition: catalog.partition,
            next: catalog.next_bulk,
            file_bytes_max: self.bulk_file_bytes,
            sync_bytes: 64 << 10,
            reserve_bytes: 0,
        }
    }

    fn of_partition(&self, node: partition::ThisNode) -> PartitionOptions {
        PartitionOptions {
            rules: StoreRules { part_bytes_min: 0 },
            cut: self.cut,
            merge_fan_in: self.merge_fan_in,
            write_wait: self.write_wait,
            reads: ReadConsistency::Barrier,
            read_wait: self.read_wait,
            trims: false,
            // One frame: what is large comes in several pieces.
            payload: PayloadRoute::Log { piece_bytes: FRAME_PAYLOAD_MAX as usize },
            node: Some(node),
            ..PartitionOptions::default()
        }
    }
}

/// A node at work.
pub struct Running {
    pub env: Env,
    pub store: StoreId,
    pub log: Arc<ReplicatedLog>,
    pub partitions: Vec<Arc<Partition>>,
}

/// A node did not come up.
pub enum Failure {
    /// Another start may get on: brokers do not answer, another process has the id.
    Later(String),
    /// It never should.
    Never(String),
}

fn later(error: impl ToString) -> Failure {
    Failure::Later(error.to_string())
}

fn never(error: impl ToString) -> Failure {
    Failure::Never(error.to_string())
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable { .. } => later(error),
            _ => never(error),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        // A disk without power is looked at by whoever cut it.
        match &error {
            LoadError::Disk(disk) if disk.kind != DiskErrorKind::NotFound => later(error),
            LoadError::NotNow(_) => later(error),
            _ => never(error),
        }
    }
}

impl From<replicated::OpenError> for Failure {
    fn from(error: replicated::OpenError) -> Self {
        match error {
            replicated::OpenError::Brokers(_) => later(error),
            _ => never(error),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Read(error) => error.into(),
            OpenError::Catalog(error) => error.into(),
            // The writer's record may not have gone out.
            OpenError::Fold(_) => later(error),
            _ => never(error),
        }
    }
}

/// What a node has of its own before it is up.
pub struct Start {
    pub env: Env,
    pub brokers: Arc<dyn Brokers>,
    pub settings: Settings,
    /// What its directory was made for; none of a new one.
    pub store: Option<StoreId>,
    pub node: partition::ThisNode,
}

/// Opens every partition and claims the node's id.
pub async fn open(start: Start) -> Result<Running, Failure> {
    let Start { env, brokers, settings, store, node } = start;
    let opened =
        ReplicatedLog::open(&env, brokers, settings.partitions, store, settings.of_log()).await?;
    let log = Arc::new(opened);
    let mut partitions = Vec::new();
    for id in (0..settings.partitions).map(PartitionId::new) {
        let found = Partition::catalog(&env, log.store(), id).await?;
        let catalog = found.unwrap_or_else(|| Catalog::first(log.store(), id));
        check_last(&env, &log, &catalog).await?;
        let bulk = BulkFiles::open(env.clone(), settings.of_bulk(&catalog)).await.map_err(never)?;
        let (env, log, options) = (env.clone(), log.clone(), settings.of_partition(node));
        partitions.push(Arc::new(Partition::open(env, log, bulk, catalog, options).await?));
    }
    if !partitions[0].claim_node().await {
        return Err(later("the id is another process's"));
    }
    Ok(Running { env, store: log.store(), log, partitions })
}

/// Opens the only node of a world where nothing hinders it; `again` after its first life.
pub async fn open_alone(
    env: Env,
    brokers: Arc<dyn Brokers>,
    settings: Settings,
    again: bool,
) -> Result<Running, String> {
    let store = again.then_some(STORE);
    let node = partition::ThisNode { id: NodeId::new(1), held_before: again };
    let opened = open(Start { env, brokers, settings, store, node }).await;
    opened.map_err(|(Failure::Later(reason) | Failure::Never(reason))| reason)
}

/// What was folded last must be where it was.
async fn check_last(env: &Env, log: &Arc<ReplicatedLog>, catalog: &Catalog) -> Result<(), Failure> {
    let Some(last) = catalog.next.get().checked_sub(1).map(Offset::new) else { return Ok(()) };
    let read = async {
        let mut reader = log.read(catalog.partition, last).await?;
        reader.next().await
    };
    let wait = Duration::from_secs(30);
    let Some(found) = timeout(env.clock.as_ref(), wait, read).await else {
        return Err(later("the last record that was folded does not come"));
    };
    match found?.first() {
        Some(found) if found.offset == last && hash_of(&found.record) == catalog.last => Ok(()),
        found => Err(never(format!("offset {last} was folded and now is {found:?}"))),
    }
}
