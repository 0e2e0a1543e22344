//! Runs queries on threads of their own: admits them, plans them on fresh snapshots, hands rows over.

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use ingest::words::{Offset, PartitionId};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::alive::Alive;
use crate::catalog::{Base, CATALOG, SCHEMA};
use crate::error::SqlError;
use crate::session::{Description, Session};
use crate::source::Source;

/// How queries are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes that all queries together may hold for sorting, grouping and joining.
    pub memory_bytes: usize,
    /// Where what does not fit in memory goes, and at most how many bytes of it. Without a place, a query
    /// that needs more memory ends with an error that says so. The folder belongs to the engine.
    pub spill: Option<(PathBuf, u64)>,
    /// Threads for all queries together.
    pub threads: usize,
    /// Queries under way at a time.
    pub queries_max: usize,
    /// More wait, within their deadline, so many; what comes beyond is turned away.
    pub waiting_max: usize,
    /// How long one query may take, its wait included.
    pub deadline: Duration,
    /// A query that took so long is told of in the log.
    pub slow: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memory_bytes: 128 << 20,
            spill: None,
            threads: 2,
            queries_max: 8,
            waiting_max: 64,
            deadline: Duration::from_secs(60),
            slow: Duration::from_secs(5),
        }
    }
}

/// What has become of queries.
#[derive(Default, Debug)]
pub struct Counters {
    /// Queries that were answered to their end.
    pub done: AtomicU64,
    /// Queries that were not.
    pub failed: AtomicU64,
    /// Queries that were turned away.
    pub refused: AtomicU64,
    /// Queries that wait now.
    pub waiting: AtomicUsize,
}

/// Batches of a result that wait for a slow client.
const BATCHES_WAITING: usize = 1;

/// Runs queries.
pub struct Engine {
    /// Taken when the engine is dropped: a runtime must not be dropped where it would block.
    runtime: Option<Runtime>,
    base: Base,
    room: Arc<Semaphore>,
    waiting_max: usize,
    deadline: Duration,
    slow: Duration,
    counters: Arc<Counters>,
}

/// A query.
#[derive(Clone, Debug)]
pub struct Question {
    /// The text: one statement.
    pub text: String,
    /// Values for `$1`, `$2` and so on.
    pub parameters: Vec<ScalarValue>,
}

impl From<String> for Question {
    fn from(text: String) -> Self {
        Self { text, parameters: Vec::new() }
    }
}

/// Where in each partition's log an answer stands: everything below is in it.
pub type ReadAt = Vec<(PartitionId, Offset)>;

/// A result's rows, as they come. Dropping it ends the query.
pub struct Rows {
    /// The columns.
    pub schema: SchemaRef,
    /// What the answer contains.
    pub at: ReadAt,
    batches: mpsc::Receiver<Result<RecordBatch, SqlError>>,
    task: JoinHandle<()>,
    alive: Arc<Alive>,
}

impl Rows {
    /// The next rows; none at the end.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, SqlError>> {
        self.batches.recv().await
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.alive.end();
        self.task.abort();
    }
}

/// A session that sees what was acknowledged before, and where it stands.
async fn open(base: Base, source: &dyn Source) -> Result<(Session, ReadAt), SqlError> {
    let seen = source.fresh().await.map_err(|error| SqlError::reading(&error))?;
    let snapshots = seen.iter().map(|seen| &seen.snapshot);
    let at = snapshots.map(|snapshot| (snapshot.view.partition, snapshot.at)).collect();
    Ok((Session::new(base, &seen, source.asker())?, at))
}

impl Engine {
    /// Starts the threads.
    pub fn new(options: &Options) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads)
            .thread_name("sql")
            .on_thread_start(|| {
                // SCHED_IDLE: whoever else wants a processor takes it at once. Measured, GETs at 30 % of their highest
                // rate beside queries that scan everything: p99 is 4.2 to 5.9 times the quiet one at niceness 0, 1.7 to
                // 2.2 at 19, 1.3 to 1.7 so, and queries take as long. Refused or not, all are answered.
                let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
                let (thread, least) = (thread_native_id(), ThreadPriority::Min);
                let _ = set_thread_priority_and_policy(thread, least, idle);
            })
            .enable_time()
            .build()?;
        let largest_told = NonZeroUsize::MIN;
        let pool = TrackConsumersPool::new(FairSpillPool::new(options.memory_bytes), largest_told);
        let disk = match &options.spill {
            None => DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
            Some((folder, bytes_max)) => DiskManagerBuilder::default()
                .with_mode(DiskManagerMode::Directories(vec![folder.clone()]))
                .with_max_temp_directory_size(*bytes_max),
        };
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(io::Error::other)?;
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, SCHEMA)
            .with_information_schema(true)
            .with_target_partitions(options.threads)
            .with_batch_size(8192);
        // Errors tell where in the text they are.
        config.options_mut().sql_parser.collect_spans = true;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(environment)
            .with_default_features()
            .build();
        let base = Base::new(state).map_err(io::Error::other)?;
        Ok(Self {
            runtime: Some(runtime),
            base,
            room: Arc::new(Semaphore::new(options.queries_max)),
            waiting_max: options.waiting_max,
            deadline: options.deadline,
            slow: options.slow,
            counters: Arc::default(),
        })
    }

    /// What has become of queries so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("the runtime stays until the engine is dropped")
    }

    /// Takes a place in the queue, or says that it is full.
    fn line_up(&self) -> Result<Place, SqlError> {
        let counters = self.counters.clone();
        if counters.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max {
            counters.waiting.fetch_sub(1, Ordering::Relaxed);
            counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(SqlError::Busy);
        }
        Ok(Place { counters, room: self.room.clone() })
    }

    /// Runs a query. Returns once it is planned and its first rows are there, so that most errors are known
    /// before an answer begins.
    pub async fn query(
        &self,
        source: Arc<dyn Source>,
        question: Question,
    ) -> Result<Rows, SqlError> {
        let place = self.line_up()?;
        let (begun_out, begun_in) = oneshot::channel();
        let (out, batches) = mpsc::channel(BATCHES_WAITING);
        let (base, deadline, slow) = (self.base.clone(), self.deadline, self.slow);
        let counters = self.counters.clone();
        let alive = Alive::new(deadline);
        let asked = alive.clone();
        let task = self.runtime().spawn(async move {
            let mut ended = Ended { counters, is_done: false };
            let (began, text) = (Instant::now(), question.text.clone());
            let asker = source.asker().name.clone();
            let errors = out.clone();
            let run = async move {
                let _room = place.wait().await;
                run(base, &*source, question, &asked, begun_out, out).await
            };
            let result = tokio::time::timeout(deadline, run).await;
            let result = result.unwrap_or(Err(SqlError::Deadline(deadline.as_secs())));
            ended.is_done = result.is_ok();
            if began.elapsed() >= slow {
                let (seconds, rows) = (began.elapsed().as_secs_f64(), result.as_ref().ok());
                tracing::warn!(asker, seconds, rows, text, "a slow query");
            }
            if let Err(error) = result {
                // Nobody may be listening any more.
                let _ = errors.send(Err(error)).await;
            }
        });
        let (schema, at) = (Arc::new(Schema::empty()), ReadAt::new());
        let mut rows = Rows { schema, at, batches, task, alive };
        match begun_in.await {
            Ok((schema, at)) => (rows.schema, rows.at) = (schema, at),
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

    /// Tells what a statement asks for and answers with, without running it.
    pub async fn describe(
        &self,
        source: Arc<dyn Source>,
        text: String,
    ) -> Result<Description, SqlError> {
        let place = self.line_up()?;
        let (base, deadline) = (self.base.clone(), self.deadline);
        let planned = self.runtime().spawn(async move {
            let _room = place.wait().await;
            let planning = async { open(base, &*source).await?.0.describe(&text).await };
            let planned = tokio::time::timeout(deadline, planning).await;
            planned.unwrap_or(Err(SqlError::Deadline(deadline.as_secs())))
        });
        planned.await.unwrap_or_else(|error| Err(SqlError::Failed(error.to_string())))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A place among the queries that wait.
struct Place {
    counters: Arc<Counters>,
    room: Arc<Semaphore>,
}

impl Place {
    /// Waits until there is room; there is until what this gives is dropped.
    async fn wait(self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().acquire_owned().await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a query's end, also when it is dropped half way.
struct Ended {
    counters: Arc<Counters>,
    is_done: bool,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let counter = if self.is_done { &self.counters.done } else { &self.counters.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Plans and runs one query: tells the schema once the first rows are there, then sends rows. Gives how
/// many there were.
async fn run(
    base: Base,
    source: &dyn Source,
    question: Question,
    alive: &Arc<Alive>,
    begun: oneshot::Sender<(SchemaRef, ReadAt)>,
    out: mpsc::Sender<Result<RecordBatch, SqlError>>,
) -> Result<usize, SqlError> {
    let (session, at) = open(base, source).await?;
    let values = ParamValues::from(question.parameters);
    let mut stream = session.run(&question.text, values, alive).await?;
    let mut next = stream.next().await.transpose().map_err(|error| SqlError::running(&error))?;
    if begun.send((stream.schema(), at)).is_err() {
        return Ok(0);
    }
    let mut rows = 0;
    while let Some(batch) = next {
        rows += batch.num_rows();
        if out.send(Ok(batch)).await.is_err() {
            return Ok(rows);
        }
        next = stream.next().await.transpose().map_err(|error| SqlError::running(&error))?;
    }
    Ok(rows)
}
