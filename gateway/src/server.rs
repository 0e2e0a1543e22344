//! Running it: joins the real parts, listens, drains, stops.

pub mod connections;
pub mod engine_options;
mod handles;
pub mod http;
pub mod identity;
pub mod node;
pub mod pace;
pub mod partition_handle;
mod permissions;
pub mod store;
mod stream;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use ingest::env::production;
use ingest::mutant::Mutant;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::AdminService;
use crate::api::context::{S3Context, S3Options};
use crate::api::request::RequestBody;
use crate::api::service::S3Service;
use crate::config::{InitArgs, LogFormat, ServerArgs, ServerSettings, Sources};
use crate::sql_service::SqlService;
use crate::users::Users;
use connections::ConnectionTable;
use store::Store;

/// Connections that may wait to be accepted. Beyond, the system lets clients try again after a second.
const BACKLOG: u32 = 1024;

/// Runs a server until it is told to stop.
pub fn run(args: ServerArgs, sources: &Sources) -> anyhow::Result<ExitCode> {
    let settings = ServerSettings::new(args, sources)?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("SILTSTONE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // Colours are for people: none in files, nor where they are not wanted (https://no-color.org).
    let wants_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let has_colours = wants_colours && std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let logs = logs.with_ansi(has_colours);
    if settings.service.log_format == LogFormat::Json {
        logs.json().init();
    } else {
        logs.init();
    }
    for flag in sources.secret_flags() {
        tracing::warn!(
            flag,
            "everybody on this machine can read a secret on a command line: use a file or a variable"
        );
    }
    permissions::tell(&settings);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(settings))?;
    Ok(ExitCode::SUCCESS)
}

/// Sets a cluster up.
pub fn init(args: &InitArgs) -> anyhow::Result<ExitCode> {
    let (kafka, partitions) = args.settings()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let said = runtime.block_on(async {
        // It writes no file.
        let env = production::of(std::path::Path::new("."))?;
        node::init(&env, &kafka, partitions).await
    })?;
    println!("{said}");
    Ok(ExitCode::SUCCESS)
}

async fn serve(settings: ServerSettings) -> anyhow::Result<()> {
    let handles = handles::raise()?;
    let shares = handles::shares(
        handles,
        settings.service.postgres.is_some(),
        settings.connections.all,
        settings.connections.per_address,
    )?;
    let (s3, each, admin) = (shares.s3.all, shares.s3.per_address, shares.admin.all);
    let sessions = shares.postgres / handles::POSTGRES_EACH;
    tracing::info!(
        handles,
        s3,
        each,
        admin,
        postgres = sessions,
        "connections that may be open at a time"
    );
    store::make_folder(&settings.service.data)?;
    let listener = listen(settings.service.listen)?;
    let admin = listen(settings.service.admin)?;
    let postgres = settings.service.postgres.map(listen).transpose()?;
    let http = |tcp, name, limits| http::HttpListener {
        tcp,
        connections: ConnectionTable::new(name, limits),
        stall: settings.connections.stall.get(),
    };
    let s3 = http(listener, "s3", shares.s3);
    let admin = http(admin, "admin", shares.admin);
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?;
    let env = production::of(&settings.service.data)?;
    let pg_options =
        pg::PgOptions { connections: sessions, opens_early: env.mutated(Mutant::QueryBeforeLogin) };
    let listeners = Listeners { s3, admin, postgres, pg_options };
    let store = Arc::new(Store::open(env, &settings).await?);
    // However it ends, the store is closed before the runtime goes: its threads use the runtime's clock.
    let served = serve_store(&store, settings, listeners, metrics).await;
    store.close().await;
    served?;
    tracing::info!("stopped cleanly");
    Ok(())
}

/// Listens on an address.
fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A restart need not wait for what the last process left.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().with_context(|| format!("cannot listen on {address}"))
}

/// Where the server is reached.
struct Listeners {
    s3: http::HttpListener,
    admin: http::HttpListener,
    postgres: Option<TcpListener>,
    pg_options: pg::PgOptions,
}

/// Serves an open store on all its addresses, until it is told to stop.
async fn serve_store(
    store: &Arc<Store>,
    settings: ServerSettings,
    listeners: Listeners,
    metrics: PrometheusHandle,
) -> anyhow::Result<()> {
    let (users, made) = Users::load(&settings)?;
    if made {
        // Their place is told, not what they are: what a process prints is kept in many places.
        println!(
            "A root user was made. Its access key and its secret key are in {}",
            settings.service.data.join("credentials").display()
        );
    }
    let Listeners { s3, admin, postgres, pg_options } = listeners;
    let (s3_address, admin_address) = (s3.tcp.local_addr()?, admin.tcp.local_addr()?);
    println!("S3 on http://{s3_address}, admin on http://{admin_address}");
    let ready = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let engine = Arc::new(start_sql(&settings.sql.options(&settings.service.data))?);
    let users = Arc::new(users);
    let sql = SqlService::new(store.clone(), users.clone(), engine);
    // Served until this function returns.
    let _postgres = match postgres {
        None => None,
        Some(postgres) => {
            println!("PostgreSQL's protocol on {}", postgres.local_addr()?);
            let (engine, accounts) = (sql.engine().clone(), Arc::new(sql.clone()));
            Some(pg::PgServer::start(postgres.into_std()?, engine, accounts, pg_options)?)
        }
    };
    let all = [s3.connections.clone(), admin.connections.clone()];
    let state = AdminService::new(
        store.clone(),
        sql.clone(),
        metrics,
        ready.clone(),
        all,
        admin_address.port(),
    );
    // Whoever learns that this server is ready may tell it to stop.
    let stop = stop_signal()?;
    tokio::spawn(crate::admin::serve(admin, state));
    let options = S3Options {
        region: settings.service.region,
        stall: settings.connections.stall.get(),
        inline_bytes_max: settings.storage.inline_bytes_max.get(),
    };
    let service = Arc::new(S3Service::new(S3Context::new(store.clone(), users, options), sql));
    let mut holds = store.holds_node();
    tokio::select! {
        () = s3.serve(move |request| service.clone().handle(request.map(RequestBody::Wire)), stop) => {}
        _ = holds.wait_for(|holds| *holds == Some(false)) => {
            anyhow::bail!("another process runs under this node's id; this one stops");
        }
    }
    // The admin address goes on answering, "stopping" that is, until the process ends.
    ready.store(false, std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

/// Starts the threads that run queries; what those of a former process could not hold in memory is removed.
fn start_sql(options: &sql::SqlOptions) -> anyhow::Result<sql::SqlEngine> {
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
    Ok(sql::SqlEngine::new(options)?)
}

/// Resolves when the process is told to stop. From now on, not from when this is awaited, a signal ends nothing else.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
