//! The admin address: health, metrics, SQL, cuts. Loopback only: what is sent is not encrypted, and only SQL
//! asks for credentials.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use compactor::partition::Partition;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use crate::cluster;
use crate::door::{Door, Wishes};
use crate::measures;
use crate::server::store::Store;
use crate::status;

#[derive(Clone)]
struct Admin {
    store: Arc<Store>,
    door: Door,
    metrics: PrometheusHandle,
    ready: Arc<AtomicBool>,
}

/// Serves the admin address until the task is ended.
pub async fn serve(
    listener: TcpListener,
    store: Arc<Store>,
    door: Door,
    metrics: PrometheusHandle,
    ready: Arc<AtomicBool>,
) {
    let routes = Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(is_ready))
        .route("/health/cluster", get(answers))
        .route("/health/clock", get(clock))
        .route("/clock/believe", post(believe_clock))
        .route("/cluster", get(cluster))
        .route("/status", get(status))
        .route("/metrics", get(render))
        .route("/cut", post(cut))
        .route("/merge", post(merge))
        .route("/sql", post(self::sql))
        .with_state(Admin { store, door, metrics, ready });
    // An answer of two writes would wait for the client's delayed acknowledgement between them.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "the admin address is not served any more");
    }
}

/// Whether a write would be taken; and what an operator should know all the same.
async fn is_ready(State(admin): State<Admin>) -> (StatusCode, String) {
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

/// Whether the wall clock is believed.
async fn clock(State(admin): State<Admin>) -> (StatusCode, String) {
    let (text, is_believed) = admin.store.clock();
    (if is_believed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}

/// An operator says that the wall clock is right.
async fn believe_clock(State(admin): State<Admin>) -> String {
    admin.store.partitions.iter().for_each(Partition::believe_clock);
    admin.store.clock().0
}

/// Whether the store as a whole answers, as seen from here: a barrier passes in every partition.
async fn answers(State(admin): State<Admin>) -> (StatusCode, String) {
    match admin.store.fresh().await {
        Ok(snapshots) => (StatusCode::OK, format!("{} partitions answer\n", snapshots.len())),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

async fn cluster(State(admin): State<Admin>) -> axum::Json<cluster::NodeReport> {
    axum::Json(cluster::report(&admin.store).await)
}

async fn status(State(admin): State<Admin>) -> Result<axum::Json<status::Report>, Refused> {
    let report = status::report(&admin.store).await;
    report.map(axum::Json).map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")))
}

/// A status and why.
type Refused = (StatusCode, String);

async fn render(State(admin): State<Admin>) -> String {
    measures::take(&admin.store).await;
    measures::take_sql(admin.door.engine());
    admin.metrics.render()
}

async fn cut(State(admin): State<Admin>) -> (StatusCode, String) {
    let cuts = admin.store.partitions.iter().map(Partition::cut);
    match futures::future::try_join_all(cuts).await {
        Ok(cuts) => {
            let numbers: Vec<String> = cuts.iter().map(ToString::to_string).collect();
            (StatusCode::OK, format!("cut {}\n", numbers.join(" ")))
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

async fn merge(State(admin): State<Admin>) -> (StatusCode, String) {
    let merges = admin.store.partitions.iter().map(Partition::merge);
    match futures::future::try_join_all(merges).await {
        Ok(_) => (StatusCode::OK, "merged\n".into()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

async fn sql(
    State(admin): State<Admin>,
    headers: HeaderMap,
    Query(wishes): Query<Wishes>,
    text: String,
) -> Response {
    admin.door.answer(&headers, wishes, text).await
}
