//! The admin address: health, metrics, SQL, cuts. Loopback only, since it asks for no credentials.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use compactor::partition::Partition;
use futures::StreamExt;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use sql::{Engine, Format, SqlError};
use tokio::net::TcpListener;

use crate::cluster;
use crate::measures;
use crate::server::store::Store;

#[derive(Clone)]
struct Admin {
    store: Arc<Store>,
    sql: Arc<Engine>,
    metrics: PrometheusHandle,
    ready: Arc<AtomicBool>,
}

/// Serves the admin address until the task is ended.
pub async fn serve(
    listener: TcpListener,
    store: Arc<Store>,
    sql: Arc<Engine>,
    metrics: PrometheusHandle,
    ready: Arc<AtomicBool>,
) {
    let routes = Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(is_ready))
        .route("/health/cluster", get(answers))
        .route("/cluster", get(cluster))
        .route("/metrics", get(render))
        .route("/cut", post(cut))
        .route("/sql", post(self::sql))
        .with_state(Admin { store, sql, metrics, ready });
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "the admin address is not served any more");
    }
}

/// Whether this process can do its work.
async fn is_ready(State(admin): State<Admin>) -> (StatusCode, String) {
    match admin.store.trouble() {
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
        None if !admin.ready.load(Ordering::Relaxed) => {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into())
        }
        None => (StatusCode::OK, "ready\n".into()),
    }
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

async fn render(State(admin): State<Admin>) -> String {
    measures::take(&admin.store).await;
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlQuery {
    format: Option<String>,
}

/// Answers the query in the body, streamed. An error after the first rows breaks the answer off, so that
/// no client takes a part for the whole.
async fn sql(State(admin): State<Admin>, Query(asked): Query<SqlQuery>, text: String) -> Response {
    let format = match asked.format.as_deref().unwrap_or("json").parse::<Format>() {
        Ok(format) => format,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let snapshots = match admin.store.fresh().await {
        Ok(snapshots) => snapshots,
        Err(error) => {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response();
        }
    };
    let at: Vec<String> = snapshots.iter().map(|snapshot| snapshot.at.to_string()).collect();
    let mut writer = match admin.sql.query(snapshots, text).await {
        Ok(rows) => rows.written(format),
        Err(error) => return sql_error(&error),
    };
    // The first piece is made before the answer begins: most of what can go wrong has its own status.
    let first = match writer.next().await {
        Ok(first) => first.unwrap_or_default(),
        Err(error) => return sql_error(&error),
    };
    let rest = futures::stream::try_unfold(writer, |mut writer| async move {
        let piece = writer.next().await.inspect_err(|error| {
            tracing::warn!(%error, "a query ended early");
        })?;
        Ok::<_, SqlError>(piece.map(|piece| (Bytes::from(piece), writer)))
    });
    let body = futures::stream::once(async move { Ok(Bytes::from(first)) }).chain(rest);
    let headers =
        [("content-type", format.content_type().to_owned()), ("x-siltstone-offset", at.join(","))];
    (headers, Body::from_stream(body)).into_response()
}

fn sql_error(error: &SqlError) -> Response {
    let status = match error {
        SqlError::Refused(_) => StatusCode::BAD_REQUEST,
        SqlError::Memory(_) | SqlError::Deadline(_) => StatusCode::UNPROCESSABLE_ENTITY,
        SqlError::Read(_) | SqlError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, format!("{error}\n")).into_response()
}
