//! Running it: joins the real parts, listens, drains, stops.

pub mod identity;
pub mod node;
mod permissions;
pub mod store;

use std::io::IsTerminal as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use ingest::env::production;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{InitArgs, KafkaSettings, ServerArgs, Settings};
use crate::door::Door;
use crate::front::Front;
use crate::users::Users;
use store::Store;

/// A client gets so long to send its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// What a connection reads ahead, and so the longest head that is answered in S3's words; beyond, hyper
/// answers 431.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Requests that are under way get so long at a stop.
const DRAIN: Duration = Duration::from_secs(30);

/// Runs a server until it is told to stop.
pub fn run(args: ServerArgs, shows_secret: bool) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(args)?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("SILTSTONE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // Colours are for people: none in files, nor where they are not wanted (https://no-color.org).
    let wants_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let has_colours = wants_colours && std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let logs = logs.with_ansi(has_colours);
    if settings.logs_json {
        logs.json().init();
    } else {
        logs.init();
    }
    if shows_secret {
        tracing::warn!(
            "everybody on this machine can read a secret key on a command line: give --secret-key-file or SILTSTONE_SECRET_KEY"
        );
    }
    permissions::tell(&settings);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(settings))?;
    Ok(ExitCode::SUCCESS)
}

/// Sets a cluster up.
pub fn init(args: &InitArgs) -> anyhow::Result<ExitCode> {
    let (kafka, partitions) = KafkaSettings::for_init(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let said = runtime.block_on(async {
        // It writes no file.
        let env = production::of(std::path::Path::new("."))?;
        node::init(&env, &kafka, partitions).await
    })?;
    println!("{said}");
    Ok(ExitCode::SUCCESS)
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    store::make_folder(&settings.data)?;
    let listener = TcpListener::bind(settings.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", settings.listen))?;
    let admin = TcpListener::bind(settings.admin).await;
    let admin = admin.with_context(|| format!("cannot listen on {}", settings.admin))?;
    let postgres = match settings.postgres {
        None => None,
        Some(address) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.with_context(|| format!("cannot listen on {address}"))?)
        }
    };
    let listeners = Listeners { s3: listener, admin, postgres };
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?;
    let env = production::of(&settings.data)?;
    let store = Arc::new(Store::open(env, &settings).await?);
    // However it ends, the store is closed before the runtime goes: its threads use the runtime's clock.
    let served = serve_store(&store, settings, listeners, metrics).await;
    store.close().await;
    served?;
    tracing::info!("stopped cleanly");
    Ok(())
}

/// Where the server is reached.
struct Listeners {
    s3: TcpListener,
    admin: TcpListener,
    postgres: Option<TcpListener>,
}

/// Serves an open store on all its addresses, until it is told to stop.
async fn serve_store(
    store: &Arc<Store>,
    settings: Settings,
    listeners: Listeners,
    metrics: PrometheusHandle,
) -> anyhow::Result<()> {
    let (users, made) = Users::load(&settings)?;
    if made {
        // Their place is told, not what they are: what a process prints is kept in many places.
        println!(
            "A root user was made. Its access key and its secret key are in {}",
            settings.data.join("credentials").display()
        );
    }
    let Listeners { s3, admin, postgres } = listeners;
    println!("S3 on http://{}, admin on http://{}", s3.local_addr()?, admin.local_addr()?);
    let ready = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let sql = Arc::new(start_sql(&settings.sql)?);
    let users = Arc::new(users);
    let door = Door::new(store.clone(), users.clone(), sql);
    if let Some(postgres) = postgres {
        println!("PostgreSQL's protocol on {}", postgres.local_addr()?);
        tokio::spawn(pg::serve(postgres, door.engine().clone(), Arc::new(door.clone())));
    }
    let admin = crate::admin::serve(admin, store.clone(), door.clone(), metrics, ready.clone());
    tokio::spawn(admin);
    let front = Arc::new(Front::new(store.clone(), users, door, settings));
    let mut holds = store.partitions[0].holds_node();
    tokio::select! {
        accepted = accept(s3, front) => accepted?,
        _ = holds.wait_for(|holds| *holds == Some(false)) => {
            anyhow::bail!("another process runs under this node's id; this one stops");
        }
    }
    // The admin address goes on answering, "stopping" that is, until the process ends.
    ready.store(false, std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

/// Starts the threads that run queries; what those of a former process could not hold in memory is removed.
fn start_sql(options: &sql::Options) -> anyhow::Result<sql::Engine> {
    if let Some((folder, _)) = &options.spill {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot empty {}", folder.display()));
            }
            _ => {}
        }
        let made = std::fs::DirBuilder::new().mode(0o700).create(folder);
        made.with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(sql::Engine::new(options)?)
}

/// Serves connections until a signal, then drains them.
async fn accept(listener: TcpListener, front: Arc<Front>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .half_close(false);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file handles, say: what is open goes on, new connections wait.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let front = front.clone();
        let service = service_fn(move |request| {
            let front = front.clone();
            async move { Ok::<_, std::convert::Infallible>(front.handle(request).await) }
        });
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    tracing::info!("stopping: no new connections, waiting for requests under way");
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
    Ok(())
}
