//! Runs queries on threads of their own.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use compactor::view::Snapshot;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider,
};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::{SQLOptions, SessionState};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use query::scan::Shown;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::error::SqlError;
use crate::table::{self, Entries};

/// How queries are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes that all queries together may hold for sorting, grouping and joining.
    pub memory_bytes: usize,
    /// Threads for all queries together.
    pub threads: usize,
    /// Queries under way at a time; more wait, within their deadline.
    pub queries_max: usize,
    /// How long one query may take.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memory_bytes: 128 << 20,
            threads: 2,
            queries_max: 8,
            deadline: Duration::from_secs(60),
        }
    }
}

/// Batches of a result that wait for a slow client.
const BATCHES_WAITING: usize = 2;

/// Runs queries.
pub struct Engine {
    /// Taken when the engine is dropped: a runtime must not be dropped where it would block.
    runtime: Option<Runtime>,
    state: SessionState,
    room: Arc<Semaphore>,
    deadline: Duration,
}

/// A result's rows, as they come. Dropping it ends the query.
pub struct Rows {
    /// The columns.
    pub schema: SchemaRef,
    batches: mpsc::Receiver<Result<RecordBatch, SqlError>>,
    task: JoinHandle<()>,
}

impl Rows {
    /// The next rows; none at the end.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, SqlError>> {
        self.batches.recv().await
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Engine {
    /// Starts the threads.
    pub fn new(options: &Options) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads)
            .thread_name("sql")
            .enable_time()
            .build()?;
        let largest_told = NonZeroUsize::MIN;
        let pool = TrackConsumersPool::new(FairSpillPool::new(options.memory_bytes), largest_told);
        // Without a place to spill to, a query that needs more memory ends with an error that says so.
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(io::Error::other)?;
        let config = SessionConfig::new()
            .with_information_schema(true)
            .with_target_partitions(options.threads)
            .with_batch_size(2048);
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(environment)
            .with_default_features()
            .build();
        Ok(Self {
            runtime: Some(runtime),
            state,
            room: Arc::new(Semaphore::new(options.queries_max)),
            deadline: options.deadline,
        })
    }

    /// Runs a query on the snapshots of all partitions. Returns once it is planned and its first rows are there, so that most
    /// errors are known before an answer begins.
    pub async fn query(&self, snapshots: Vec<Snapshot>, text: String) -> Result<Rows, SqlError> {
        let (schema_out, schema_in) = oneshot::channel();
        let (out, batches) = mpsc::channel(BATCHES_WAITING);
        let (state, room, deadline) = (self.state.clone(), self.room.clone(), self.deadline);
        let runtime = self.runtime.as_ref().expect("the runtime stays until the engine is dropped");
        let task = runtime.spawn(async move {
            let errors = out.clone();
            let run = async move {
                let _room = room.acquire_owned().await;
                run(state, snapshots, &text, schema_out, out).await
            };
            let ended = tokio::time::timeout(deadline, run).await;
            let error = match ended {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => SqlError::Deadline(deadline.as_secs()),
            };
            // Nobody may be listening any more.
            let _ = errors.send(Err(error)).await;
        });
        let mut rows = Rows { schema: Arc::new(Schema::empty()), batches, task };
        match schema_in.await {
            Ok(schema) => rows.schema = schema,
            Err(_) => {
                let error = match rows.next().await {
                    Some(Err(error)) => error,
                    _ => SqlError::Failed("the query ended without an answer".into()),
                };
                return Err(error);
            }
        }
        Ok(rows)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Plans and runs one query: tells the schema once the first rows are there, then sends rows.
async fn run(
    state: SessionState,
    snapshots: Vec<Snapshot>,
    text: &str,
    schema: oneshot::Sender<SchemaRef>,
    out: mpsc::Sender<Result<RecordBatch, SqlError>>,
) -> Result<(), SqlError> {
    let planning = |error| SqlError::planning(&error);
    let context = session(state, &snapshots).map_err(planning)?;
    let only_reading =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let frame = context.sql_with_options(text, only_reading).await.map_err(planning)?;
    let mut stream = frame.execute_stream().await.map_err(planning)?;
    let mut next = stream.next().await.transpose().map_err(|error| SqlError::running(&error))?;
    if schema.send(stream.schema()).is_err() {
        return Ok(());
    }
    while let Some(batch) = next {
        if out.send(Ok(batch)).await.is_err() {
            return Ok(());
        }
        next = stream.next().await.transpose().map_err(|error| SqlError::running(&error))?;
    }
    Ok(())
}

/// A session with a catalog of its own: the tables are those of these snapshots.
fn session(
    state: SessionState,
    snapshots: &[Snapshot],
) -> datafusion::error::Result<SessionContext> {
    let tables = MemorySchemaProvider::new();
    for (name, shown) in [("objects", Shown::Objects), ("versions", Shown::Versions)] {
        tables.register_table(name.into(), Arc::new(Entries::new(snapshots, shown)))?;
    }
    tables.register_table("buckets".into(), Arc::new(table::buckets(snapshots)?))?;
    let names = state.config_options().catalog.clone();
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(&names.default_schema, Arc::new(tables))?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(names.default_catalog, Arc::new(catalog));
    let state = SessionStateBuilder::new_from_existing(state).with_catalog_list(Arc::new(catalogs));
    Ok(SessionContext::new_with_state(state.build()))
}
