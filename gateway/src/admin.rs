//! The admin address: health, metrics, cuts. Loopback only, since it asks for no credentials.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use crate::server::store::{PARTITION, Store};

#[derive(Clone)]
struct Admin {
    store: Arc<Store>,
    metrics: PrometheusHandle,
    ready: Arc<AtomicBool>,
}

/// Serves the admin address until the task is ended.
pub async fn serve(
    listener: TcpListener,
    store: Arc<Store>,
    metrics: PrometheusHandle,
    ready: Arc<AtomicBool>,
) {
    let routes = Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(is_ready))
        .route("/metrics", get(render))
        .route("/cut", post(cut))
        .with_state(Admin { store, metrics, ready });
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "the admin address is not served any more");
    }
}

async fn is_ready(State(admin): State<Admin>) -> (StatusCode, String) {
    let partition = &admin.store.partition;
    let refusing = partition.log().status(PARTITION).refusing.map(|error| error.to_string());
    match partition.stopped().or(refusing) {
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
        None if !admin.ready.load(Ordering::Relaxed) => {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into())
        }
        None => (StatusCode::OK, "ready\n".into()),
    }
}

async fn render(State(admin): State<Admin>) -> String {
    let snapshot = admin.store.partition.snapshot();
    let sealed = &snapshot.view.sealed;
    let catalog = &sealed.catalog;
    let gauge = |name: &'static str, value: f64| metrics::gauge!(name).set(value);
    gauge("siltstone_tail_entries", snapshot.view.tail.len() as f64);
    gauge("siltstone_tail_bytes", snapshot.view.tail.bytes() as f64);
    gauge("siltstone_frozen_tails", snapshot.view.frozen.len() as f64);
    gauge("siltstone_applied_offset", snapshot.at.get() as f64);
    gauge("siltstone_cut", catalog.cut.get() as f64);
    gauge("siltstone_catalog_generation", catalog.generation.get() as f64);
    gauge("siltstone_runs", catalog.runs.len() as f64);
    gauge("siltstone_segments", catalog.segments.len() as f64);
    gauge("siltstone_bulk_files", catalog.bulks.len() as f64);
    let entries: u64 = catalog.runs.iter().map(|run| run.entries).sum();
    gauge("siltstone_run_entries", entries as f64);
    let damaged = sealed
        .runs
        .iter()
        .filter(|run| run.keys.is_err() || run.state.is_err() || run.manifest.is_err())
        .count();
    gauge("siltstone_damaged_runs", damaged as f64);
    admin.metrics.render()
}

async fn cut(State(admin): State<Admin>) -> (StatusCode, String) {
    match admin.store.partition.cut().await {
        Ok(number) => (StatusCode::OK, format!("cut {number}\n")),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

/// `siltstone cut`: asks a running server for a cut.
pub fn ask_cut(admin: &str) -> anyhow::Result<ExitCode> {
    let address = admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/');
    let stream = TcpStream::connect(address);
    let mut stream = stream.with_context(|| format!("no server answers on {address}"))?;
    write!(
        stream,
        "POST /cut HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        bail!("the server answered {status}: {}", body.trim());
    }
    print!("{body}");
    Ok(ExitCode::SUCCESS)
}
