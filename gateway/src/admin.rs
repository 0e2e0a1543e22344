//! The admin address: health, metrics, SQL, cuts. The address is on loopback only, because nothing is encrypted and only
//! SQL requires credentials. Requests of web pages in a browser on this machine are refused; see [`guard`].

pub mod cluster;
pub mod compaction;
mod guard;
mod metrics;
pub mod status;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Router, middleware};
use compactor::partition::Partition;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Mutex, Semaphore};

use crate::events::EventDeliveries;
use crate::server::connections::{ConnectionHandle, ConnectionTable};
use crate::server::http::HttpListener;
use crate::server::pace::ClientPace;
use crate::server::store::Store;
use crate::sql_service::{QueryOptions, SqlService};

/// The largest number of cuts and merges that run or wait; further requests are refused.
const ORDERS_MAX: usize = 64;
/// The least time between the begins of two requested cuts, or of two merges. Each one makes files that must be merged
/// later.
const ORDERS_APART: Duration = Duration::from_millis(10);

/// The state from which the admin address makes its responses.
#[derive(Clone)]
pub struct AdminService {
    store: Arc<Store>,
    events: Arc<EventDeliveries>,
    sql: SqlService,
    metrics: PrometheusHandle,
    ready: Arc<AtomicBool>,
    listeners: [Arc<ConnectionTable>; 2],
    port: u16,
    orders: Arc<MaintenanceQueue>,
}

/// The queue of requested cuts and merges. Of each kind one runs at a time.
struct MaintenanceQueue {
    places: Semaphore,
    cuts: Mutex<()>,
    merges: Mutex<()>,
}

impl AdminService {
    /// Makes the service. `ready` is set to false once the server stops. `port` is the port of the address, which a
    /// request must name in its header `Host`.
    pub fn new(
        store: Arc<Store>,
        events: Arc<EventDeliveries>,
        sql: SqlService,
        metrics: PrometheusHandle,
        ready: Arc<AtomicBool>,
        listeners: [Arc<ConnectionTable>; 2],
        port: u16,
    ) -> Self {
        let orders = MaintenanceQueue {
            places: Semaphore::new(ORDERS_MAX),
            cuts: Mutex::default(),
            merges: Mutex::default(),
        };
        Self { store, events, sql, metrics, ready, listeners, port, orders: Arc::new(orders) }
    }
}

/// Serves the admin address until the future is dropped; never returns. A response of success proves a connection, so
/// that it is closed for others only after a longer time.
pub async fn serve(listener: HttpListener, admin: AdminService) {
    let stall = listener.stall;
    let routes = Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(is_ready))
        .route("/health/cluster", get(answers))
        .route("/health/clock", get(clock))
        .route("/clock/believe", post(believe_clock))
        .route("/cluster", get(cluster))
        .route("/status", get(status))
        .route("/compaction", get(jobs))
        .route("/metrics", get(render))
        .route("/cut", post(cut))
        .route("/merge", post(merge))
        .route("/sql", post(self::sql))
        .layer(middleware::from_fn_with_state(admin.port, guard::check))
        .with_state(admin);
    let routes = TowerToHyperService::new(routes);
    let handle = move |request: Request<Incoming>| {
        let routes = routes.clone();
        async move {
            let connection = request.extensions().get::<Arc<ConnectionHandle>>().cloned();
            let request = request.map(|body| PacedBody::new(body, connection.clone(), stall));
            let answered: Result<Response, Infallible> =
                hyper::service::Service::call(&routes, request).await;
            let response = answered.unwrap_or_else(|never| match never {});
            if let Some(connection) = connection.filter(|_| response.status().is_success()) {
                connection.prove();
            }
            response
        }
    };
    listener.serve(handle, std::future::pending()).await;
}

/// The body of a request. Reading it fails if the client sends less than 64 KiB in the bounded time of waiting for it.
struct PacedBody {
    body: Incoming,
    connection: Option<Arc<ConnectionHandle>>,
    pace: ClientPace,
    /// The begin of the current wait for the client, and the timer that ends the wait.
    blocked: Option<(tokio::time::Instant, Pin<Box<tokio::time::Sleep>>)>,
}

impl PacedBody {
    fn new(body: Incoming, connection: Option<Arc<ConnectionHandle>>, stall: Duration) -> Self {
        Self { body, connection, pace: ClientPace::new(stall), blocked: None }
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let arriving = &mut *self;
        match Pin::new(&mut arriving.body).poll_frame(context) {
            Poll::Ready(frame) => {
                if let Some((since, _)) = arriving.blocked.take() {
                    arriving.pace.waited(since.elapsed());
                    arriving.connection.iter().for_each(|connection| connection.came());
                }
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                arriving.pace.moved(data.map_or(0, Bytes::len));
                if frame.is_none() || arriving.body.is_end_stream() {
                    arriving.connection.iter().for_each(|connection| connection.body_ended());
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let left = arriving.pace.left();
                let connection = &arriving.connection;
                let (_, timer) = arriving.blocked.get_or_insert_with(|| {
                    connection.iter().for_each(|connection| connection.waits());
                    let now = tokio::time::Instant::now();
                    (now, Box::pin(tokio::time::sleep_until(now + left)))
                });
                std::task::ready!(timer.as_mut().poll(context));
                Poll::Ready(Some(Err("the body did not arrive in time".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// `/health/ready`: 200 with warnings if writes are accepted, otherwise 503 with the reason. Also 503 during a stop.
async fn is_ready(State(admin): State<AdminService>) -> (StatusCode, String) {
    match admin.store.trouble() {
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
        None if !admin.ready.load(Ordering::Relaxed) => {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into())
        }
        None => {
            let warnings = admin.store.warnings().into_iter();
            let lines = warnings.map(|warning| format!("warning: {warning}\n"));
            (StatusCode::OK, std::iter::once("ready\n".to_owned()).chain(lines).collect())
        }
    }
}

/// `/health/clock`: 200 if every partition trusts the wall clock, otherwise 503 with the seconds that it is ahead.
async fn clock(State(admin): State<AdminService>) -> (StatusCode, String) {
    let (text, is_believed) = admin.store.clock();
    (if is_believed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}

/// `/clock/believe`: makes every partition trust the wall clock from now on. Called by an operator who has checked it.
async fn believe_clock(State(admin): State<AdminService>) -> String {
    admin.store.local().iter().for_each(Partition::believe_clock);
    admin.store.clock().0
}

/// `/health/cluster`: 200 after a fresh read in every partition, otherwise 503 with the error of one.
async fn answers(State(admin): State<AdminService>) -> (StatusCode, String) {
    match admin.store.fresh().await {
        Ok(snapshots) => (StatusCode::OK, format!("{} partitions answer\n", snapshots.len())),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

async fn cluster(State(admin): State<AdminService>) -> axum::Json<cluster::NodeReport> {
    axum::Json(cluster::report(&admin.store).await)
}

async fn status(
    State(admin): State<AdminService>,
) -> Result<axum::Json<status::StatusReport>, StatusError> {
    let report = status::report(&admin.store, &admin.events).await;
    report.map(axum::Json).map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")))
}

async fn jobs(State(admin): State<AdminService>) -> axum::Json<Vec<compaction::PartitionJobs>> {
    axum::Json(compaction::report(&admin.store))
}

/// The status and the text of an error response.
type StatusError = (StatusCode, String);

async fn render(State(admin): State<AdminService>) -> String {
    admin.listeners.iter().for_each(|connections| metrics::take_connections(connections));
    metrics::take(&admin.store).await;
    admin.events.take_metrics().await;
    metrics::take_sql(admin.sql.engine());
    admin.metrics.render()
}

/// Runs a requested cut or merge after the former ones of its kind; 429 if too many wait. Dropping the future gives
/// up the place in the queue, but not a cut or merge that has begun.
async fn ordered(
    admin: &AdminService,
    turns: &Mutex<()>,
    order: impl Future<Output = (StatusCode, String)>,
) -> (StatusCode, String) {
    let Ok(_place) = admin.orders.places.try_acquire() else {
        return (StatusCode::TOO_MANY_REQUESTS, "too many cuts and merges wait already\n".into());
    };
    let turn = turns.lock().await;
    let (answer, ()) = tokio::join!(order, tokio::time::sleep(ORDERS_APART));
    drop(turn);
    answer
}

async fn cut(State(admin): State<AdminService>) -> (StatusCode, String) {
    ordered(&admin, &admin.orders.cuts, cut_all(&admin)).await
}

async fn merge(State(admin): State<AdminService>) -> (StatusCode, String) {
    ordered(&admin, &admin.orders.merges, merge_all(&admin)).await
}

async fn cut_all(admin: &AdminService) -> (StatusCode, String) {
    let cuts = admin.store.local().iter().map(Partition::cut);
    match futures::future::try_join_all(cuts).await {
        Ok(cuts) => {
            let numbers: Vec<String> = cuts.iter().map(ToString::to_string).collect();
            (StatusCode::OK, format!("cut {}\n", numbers.join(" ")))
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

async fn merge_all(admin: &AdminService) -> (StatusCode, String) {
    let merges = admin.store.local().iter().map(Partition::merge);
    match futures::future::try_join_all(merges).await {
        Ok(_) => (StatusCode::OK, "merged\n".into()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

async fn sql(
    State(admin): State<AdminService>,
    connection: Option<Extension<Arc<ConnectionHandle>>>,
    headers: HeaderMap,
    Query(wishes): Query<QueryOptions>,
    text: String,
) -> Response {
    let peer = connection.map(|Extension(connection)| connection.peer());
    admin.sql.answer(&headers, peer, wishes, text).await
}
