//! Runs queries on threads of their own: admits them, plans them on fresh snapshots, and sends encoded rows.

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use ingest::ids::{Offset, PartitionId};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::cancel::CancelToken;
use crate::catalog::{CATALOG, SCHEMA, SharedCatalog};
use crate::complexity::{self, STACK_BYTES};
use crate::dialect::{self, SqlStatement};
use crate::encode::RowSink;
use crate::error::SqlError;
use crate::session::{QuerySession, StatementDescription};
use crate::slots::QuerySlots;
use crate::source::{Principal, StoreSource};

/// The limits of an engine.
#[derive(Clone, Debug)]
pub struct SqlOptions {
    /// Bytes that all queries together may hold for sorting, grouping and joining.
    pub memory_bytes: usize,
    /// The folder for data beyond the memory, and the most bytes in it. The folder belongs to the engine alone.
    /// With `None` a query that needs more memory fails with [`SqlError::Memory`].
    pub spill: Option<(PathBuf, u64)>,
    /// Threads for all queries together, and the parallelism of one query.
    pub threads: usize,
    /// Queries that run at a time.
    pub queries_max: usize,
    /// Queries that wait at a time, within their deadline; more are refused with [`SqlError::Busy`].
    pub waiting_max: usize,
    /// The longest time of one query, from its admission to its last row, waiting included.
    pub deadline: Duration,
    /// The time from which on a query is logged as slow.
    pub slow: Duration,
}

impl Default for SqlOptions {
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

/// Counts of queries, for metrics.
#[derive(Default, Debug)]
pub struct QueryCounters {
    /// Queries that ended without an error.
    pub done: AtomicU64,
    /// Queries that failed, ran past their deadline or were cancelled.
    pub failed: AtomicU64,
    /// Queries and other requests that were refused because too many waited.
    pub refused: AtomicU64,
    /// Queries and other requests that wait now.
    pub waiting: AtomicUsize,
}

/// Pieces of a result that wait for a slow client; a query with more pauses.
const PIECES_WAITING: usize = 1;

/// Runs queries on its own threads. Dropping it ends all queries at their next `await`, without waiting for
/// them.
pub struct SqlEngine {
    /// Taken when the engine is dropped: dropping a runtime blocks, which async code must not do.
    runtime: Option<Runtime>,
    base: SharedCatalog,
    places: Arc<QuerySlots>,
    deadline: Duration,
    slow: Duration,
    counters: Arc<QueryCounters>,
    /// The store's folder, whose name only operators may see in errors.
    folder: Option<String>,
}

/// A query with its parameters.
#[derive(Clone, Debug)]
pub struct QueryRequest {
    /// The text: exactly one statement.
    pub text: String,
    /// The values of `$1`, `$2` and so on.
    pub parameters: Vec<ScalarValue>,
}

impl From<String> for QueryRequest {
    fn from(text: String) -> Self {
        Self { text, parameters: Vec::new() }
    }
}

/// For each partition the offset of its snapshot: the result contains all records below it and none from it on.
pub type ReadOffsets = Vec<(PartitionId, Offset)>;

/// An encoded result in progress. Dropping it cancels the query.
pub struct QueryRows<P> {
    /// The result's columns.
    pub schema: SchemaRef,
    /// The offsets at which the result is consistent.
    pub at: ReadOffsets,
    pieces: mpsc::Receiver<Result<P, SqlError>>,
    task: JoinHandle<()>,
    alive: Arc<CancelToken>,
}

impl<P> QueryRows<P> {
    /// Returns the next piece in order, or `None` at the end. An error is the last item: the rows before it are
    /// incomplete. Cancel safe: a dropped call loses no piece.
    pub async fn next(&mut self) -> Option<Result<P, SqlError>> {
        self.pieces.recv().await
    }
}

impl<P> Drop for QueryRows<P> {
    fn drop(&mut self) {
        self.alive.end();
        self.task.abort();
    }
}

/// Opens a session on snapshots that contain everything that was acknowledged before the call.
async fn open(
    base: SharedCatalog,
    source: &dyn StoreSource,
) -> Result<(QuerySession, ReadOffsets), SqlError> {
    let seen = source.fresh().await.map_err(|error| SqlError::reading(&error))?;
    let snapshots = seen.iter().map(|seen| &seen.snapshot);
    let at = snapshots.map(|snapshot| (snapshot.view.partition, snapshot.at)).collect();
    Ok((QuerySession::new(base, &seen, source.asker())?, at))
}

impl SqlEngine {
    /// Starts the engine's threads; no query is run yet.
    ///
    /// Errors: if the threads cannot be started or DataFusion refuses the configuration.
    pub fn new(options: &SqlOptions) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads)
            .thread_name("sql")
            .thread_stack_size(STACK_BYTES)
            .on_thread_start(|| {
                // SCHED_IDLE: all other threads take precedence. Measured with GETs at 30 % of their highest
                // rate beside queries that scan everything: the p99 of a GET is 4.2 to 5.9 times that without
                // queries at niceness 0, 1.7 to 2.2 at 19, and 1.3 to 1.7 under SCHED_IDLE; queries take as
                // long. If the system refuses the policy, queries run all the same.
                let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
                let (thread, least) = (thread_native_id(), ThreadPriority::Min);
                let _ = set_thread_priority_and_policy(thread, least, idle);
            })
            .enable_time()
            .build()?;
        // The message of an exhausted pool names its largest consumers, which may be other users' queries: one
        // is enough.
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
            .with_target_partitions(options.threads)
            .with_batch_size(8192);
        // Errors then contain the place in the text.
        config.options_mut().sql_parser.collect_spans = true;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(environment)
            .with_default_features()
            .build();
        let base = SharedCatalog::new(state).map_err(io::Error::other)?;
        let counters = Arc::<QueryCounters>::default();
        let folder = options.spill.as_ref().and_then(|(folder, _)| folder.parent());
        let folder = folder.map(|folder| folder.display().to_string());
        Ok(Self {
            runtime: Some(runtime),
            base,
            places: QuerySlots::new(options.queries_max, options.waiting_max, counters.clone()),
            deadline: options.deadline,
            slow: options.slow,
            counters,
            folder: folder.filter(|folder| !folder.is_empty()),
        })
    }

    /// Returns the live counters. Each must be read on its own; there is no consistent view of all of them.
    pub fn counters(&self) -> &QueryCounters {
        &self.counters
    }

    /// Returns the runtime, which exists until the engine is dropped.
    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("the runtime stays until the engine is dropped")
    }

    /// Runs a query on fresh snapshots and encodes its rows on the engine's threads.
    ///
    /// Returns when the query is planned and its first rows exist, or the result is known to be empty. Most
    /// errors therefore occur before the caller has sent anything. Rows come in the order that the query
    /// demands, otherwise in any order. A caller that reads slowly pauses the query, which its deadline ends
    /// all the same. Dropping the future or the rows cancels the query.
    ///
    /// Errors: every [`SqlError`]; [`SqlError::Busy`] and [`SqlError::Complex`] (text too long) at once,
    /// without waiting. For a principal who is not an operator, texts that name files or other users' queries
    /// are replaced and logged.
    pub async fn query<E: RowSink>(
        &self,
        source: Arc<dyn StoreSource>,
        question: QueryRequest,
        encoder: E,
    ) -> Result<QueryRows<E::Piece>, SqlError> {
        complexity::check_length(&question.text)?;
        let mut place = self.places.line_up(&source.asker().id)?;
        let (begun_out, begun_in) = oneshot::channel();
        let (out, pieces) = mpsc::channel(PIECES_WAITING);
        let (base, deadline, slow) = (self.base.clone(), self.deadline, self.slow);
        let counters = self.counters.clone();
        let folder = self.folder.clone();
        let alive = CancelToken::new(deadline);
        let asked = alive.clone();
        let task = self.runtime().spawn(async move {
            // Dropped with the task: a query that is cancelled half way counts as failed.
            let mut ended = EndCounter { counters, is_done: false };
            let (began, text) = (Instant::now(), question.text.clone());
            let asker = source.asker().clone();
            let errors = out.clone();
            let run = async move {
                place.wait().await;
                run(base, &*source, question, &asked, encoder, begun_out, out).await
            };
            let result = tokio::time::timeout(deadline, run).await;
            let result = result.unwrap_or(Err(SqlError::Deadline(deadline.as_secs())));
            ended.is_done = result.is_ok();
            if began.elapsed() >= slow {
                warn_slow(&asker.name, began.elapsed(), result.as_ref().ok().copied(), &text);
            }
            if let Err(error) = result {
                // The receiver may have been dropped.
                let _ = errors.send(Err(told(error, &asker, folder.as_deref()))).await;
            }
        });
        // Built before the first `await`: if this future is dropped, `rows` is dropped with it and cancels the
        // query.
        let (schema, at) = (Arc::new(Schema::empty()), ReadOffsets::new());
        let mut rows = QueryRows { schema, at, pieces, task, alive };
        match begun_in.await {
            Ok((schema, at)) => (rows.schema, rows.at) = (schema, at),
            Err(_) => {
                // The task has ended without a beginning: its error is in the channel.
                let error = match rows.next().await {
                    Some(Err(error)) => error,
                    _ => SqlError::Failed("the query ended without an answer".into()),
                };
                return Err(error);
            }
        }
        Ok(rows)
    }

    /// Returns a statement's parameters and columns without running it; fresh snapshots are needed all the
    /// same.
    ///
    /// Admitted and limited in time like a query. A dropped call continues on the engine's threads until its
    /// deadline at the latest. Errors: as for [`SqlEngine::query`].
    pub async fn describe(
        &self,
        source: Arc<dyn StoreSource>,
        text: String,
    ) -> Result<StatementDescription, SqlError> {
        complexity::check_length(&text)?;
        let base = self.base.clone();
        let asker = source.asker().clone();
        let describing = async move { open(base, &*source).await?.0.describe(&text).await };
        self.beside(asker, describing).await
    }

    /// Parses a text of a PostgreSQL client into its statements, in order, on the engine's threads.
    ///
    /// Admitted and limited in time like a query. Errors: [`SqlError::Complex`], [`SqlError::Refused`] with a
    /// place in the text, [`SqlError::Busy`], [`SqlError::Deadline`].
    pub async fn statements(
        &self,
        asker: &Principal,
        text: String,
    ) -> Result<Vec<SqlStatement>, SqlError> {
        complexity::check_length(&text)?;
        self.beside(asker.clone(), async move { dialect::statements(&text) }).await
    }

    /// Runs work that is not a query on the engine's threads, admitted and limited in time like a query.
    async fn beside<T: Send + 'static>(
        &self,
        asker: Principal,
        work: impl Future<Output = Result<T, SqlError>> + Send + 'static,
    ) -> Result<T, SqlError> {
        let mut place = self.places.line_up(&asker.id)?;
        let (deadline, folder) = (self.deadline, self.folder.clone());
        let done = self.runtime().spawn(async move {
            let bounded = tokio::time::timeout(deadline, async {
                place.wait().await;
                work.await
            });
            let done = bounded.await.unwrap_or(Err(SqlError::Deadline(deadline.as_secs())));
            done.map_err(|error| told(error, &asker, folder.as_deref()))
        });
        done.await.unwrap_or_else(|error| Err(SqlError::Failed(error.to_string())))
    }
}

/// Logs a query that took longer than the limit; `rows` is `None` for a query that failed.
fn warn_slow(asker: &str, took: Duration, rows: Option<usize>, text: &str) {
    let seconds = took.as_secs_f64();
    tracing::warn!(operation = "SQL", asker, seconds, rows, text, "a slow query");
}

/// Returns the error as the principal may see it. Errors that name files of the store, or other users' queries,
/// are logged in full and replaced, except for operators.
fn told(error: SqlError, asker: &Principal, folder: Option<&str>) -> SqlError {
    if asker.is_operator || !error.tells_of_the_store(folder) {
        return error;
    }
    tracing::warn!(operation = "SQL", asker = asker.name, %error, "a query failed");
    error.in_public()
}

impl Drop for SqlEngine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Counts a query's end when it is dropped, however the query ended.
struct EndCounter {
    counters: Arc<QueryCounters>,
    is_done: bool,
}

impl Drop for EndCounter {
    fn drop(&mut self) {
        let counter = if self.is_done { &self.counters.done } else { &self.counters.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Plans and runs one query, sends the schema once the first rows exist, then the encoded pieces in order.
/// Returns the number of rows sent; ends early, without an error, if the receiver is dropped.
async fn run<E: RowSink>(
    base: SharedCatalog,
    source: &dyn StoreSource,
    question: QueryRequest,
    alive: &Arc<CancelToken>,
    mut encoder: E,
    begun: oneshot::Sender<(SchemaRef, ReadOffsets)>,
    out: mpsc::Sender<Result<E::Piece, SqlError>>,
) -> Result<usize, SqlError> {
    let (session, at) = open(base, source).await?;
    let values = ParamValues::from(question.parameters);
    let mut stream = session.run(&question.text, values, alive).await?;
    let mut next = stream.next().await.transpose().map_err(|error| SqlError::running(&error))?;
    encoder.begin(&stream.schema())?;
    // The caller has dropped the result: nobody needs the rows.
    if begun.send((stream.schema(), at)).is_err() {
        return Ok(0);
    }
    let mut rows = 0;
    while let Some(batch) = next {
        let mut from = 0;
        while from < batch.num_rows() {
            alive.check().map_err(|overdue| SqlError::Deadline(overdue.0))?;
            let (piece, taken) = encoder.rows(&batch.slice(from, batch.num_rows() - from))?;
            // Without this a sink that encodes no row would loop without end.
            from += taken.max(1);
            if let Some(piece) = piece
                && out.send(Ok(piece)).await.is_err()
            {
                return Ok(rows + from);
            }
        }
        rows += batch.num_rows();
        next = stream.next().await.transpose().map_err(|error| SqlError::running(&error))?;
    }
    if let Some(piece) = encoder.end()? {
        // A receiver that was dropped needs no end.
        let _ = out.send(Ok(piece)).await;
    }
    Ok(rows)
}
