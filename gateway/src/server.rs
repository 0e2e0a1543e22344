//! The server process: creates the real parts, opens the listeners and the store, serves, and stops in order.

pub mod cold_folder;
pub mod connections;
pub mod engine_options;
mod handles;
pub mod head_check;
mod head_scan;
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
use tokio::sync::watch;

use crate::admin::AdminService;
use crate::api::context::{S3Context, S3Options};
use crate::api::request::RequestBody;
use crate::api::service::S3Service;
use crate::config::{InitArgs, LogFormat, ServerArgs, ServerSettings, Sources};
use crate::events::EventDeliveries;
use crate::request_report::RequestReport;
use crate::sql_service::SqlService;
use crate::users::Users;
use connections::ConnectionTable;
use store::Store;

/// The number of connections that may wait to be accepted. The system drops attempts beyond it, which clients repeat.
const BACKLOG: u32 = 1024;
/// The number of unsent bytes in a new socket above which a write waits. Without the bound the system takes up to 4 MiB for a
/// client that reads nothing: a crowd of such clients would have gigabytes read and verified for nobody, and all others
/// would wait meanwhile. The bound ends for a client that has taken some of its response.
const UNSENT_BYTES_MAX: u32 = 256 << 10;

/// Runs a server until SIGTERM or SIGINT, then stops it in order. Fails if the settings are invalid, if an address
/// is in use, if the store cannot be opened, and if another process claims this node's id.
pub fn run(args: ServerArgs, sources: &Sources) -> anyhow::Result<ExitCode> {
    let settings = ServerSettings::new(args, sources)?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("SILTSTONE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // Colours only in a terminal, and never with the variable NO_COLOR (https://no-color.org).
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
            "a secret on the command line can be read by every user of this machine: use a file or a variable"
        );
    }
    permissions::tell(&settings);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(settings))?;
    Ok(ExitCode::SUCCESS)
}

/// `siltstone init`: creates the topic of a cluster and prints the result. Repeating the command is harmless. Fails
/// if the settings are invalid, if the brokers do not answer, and if the topic is not safe.
pub fn init(args: &InitArgs) -> anyhow::Result<ExitCode> {
    let (kafka, partitions) = args.settings()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let said = runtime.block_on(async {
        // The folder does not matter, because the command writes no file.
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
    identity::make_folder(&settings.service.data)?;
    let listener = listen(settings.service.listen)?;
    let admin = listen(settings.service.admin)?;
    let postgres = settings.service.postgres.map(listen).transpose()?;
    let http = |tcp, name, limits| http::HttpListener {
        tcp,
        connections: ConnectionTable::new(name, limits),
        stall: settings.connections.stall.get(),
        requests_max: settings.connections.requests,
        on_unreadable: |_, _| {},
    };
    let on_unreadable = RequestReport::unreadable;
    let s3 = http::HttpListener { on_unreadable, ..http(listener, "s3", shares.s3) };
    let admin = http(admin, "admin", shares.admin);
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?;
    let env = production::of(&settings.service.data)?;
    let pg_options =
        pg::PgOptions { connections: sessions, opens_early: env.mutated(Mutant::QueryBeforeLogin) };
    let listeners = Listeners { s3, admin, postgres, pg_options };
    let store = Arc::new(Store::open(env, &settings).await?);
    // The store is closed before the runtime ends, also after an error, because its threads use the runtime's clock.
    let served = serve_store(&store, settings, listeners, metrics).await;
    store.close().await;
    served?;
    tracing::info!("stopped cleanly");
    Ok(())
}

/// Opens a listening socket. Fails if the address is in use or does not belong to this machine.
fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Without the option a restart would wait for the end of connections of the last process.
        socket.set_reuseaddr(true)?;
        // Accepted sockets inherit the option.
        socket2::SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().with_context(|| format!("cannot listen on {address}"))
}

/// The listening sockets of the server.
struct Listeners {
    s3: http::HttpListener,
    admin: http::HttpListener,
    postgres: Option<TcpListener>,
    pg_options: pg::PgOptions,
}

/// Serves an open store on all addresses until a signal, and returns after the requests under way on S3. Fails if users
/// or SQL cannot be set up, and if another process claims this node's id.
async fn serve_store(
    store: &Arc<Store>,
    settings: ServerSettings,
    listeners: Listeners,
    metrics: PrometheusHandle,
) -> anyhow::Result<()> {
    let (users, made) = Users::load(&settings)?;
    if made {
        // The keys themselves are not printed, because the output of a process is often stored.
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
    // Dropped, and so stopped, when this function returns.
    let _postgres = start_postgres(postgres, &sql, pg_options)?;
    let destinations = Arc::new(settings.destinations.clone());
    let region = settings.service.told_region();
    let events = EventDeliveries::start(store.clone(), destinations, region)?;
    let all = [s3.connections.clone(), admin.connections.clone()];
    let state = AdminService::new(
        store.clone(),
        events.clone(),
        sql.clone(),
        metrics,
        ready.clone(),
        all,
        admin_address.port(),
    );
    // Before the admin address answers: a program that has seen the server ready may send a signal at once.
    let (stop, stopping) = stop_signal()?;
    tokio::spawn(crate::admin::serve(admin, state));
    let options = S3Options::new(&settings, stopping);
    let service = Arc::new(S3Service::new(S3Context::new(store.clone(), users, options), sql));
    let mut holds = store.holds_node();
    tokio::select! {
        () = s3.serve(move |request| service.clone().handle(request.map(RequestBody::Wire)), stop) => {}
        _ = holds.wait_for(|holds| *holds == Some(false)) => {
            anyhow::bail!("another process uses this node's id; this process stops");
        }
    }
    // The admin address continues to answer until the process ends, now with "stopping".
    ready.store(false, std::sync::atomic::Ordering::Relaxed);
    events.stop().await;
    Ok(())
}

/// Serves PostgreSQL's protocol until the result is dropped; `None` without a listener. Fails if a thread cannot be
/// started.
fn start_postgres(
    listener: Option<TcpListener>,
    sql: &SqlService,
    options: pg::PgOptions,
) -> anyhow::Result<Option<pg::PgServer>> {
    let Some(listener) = listener else { return Ok(None) };
    println!("PostgreSQL's protocol on {}", listener.local_addr()?);
    let (engine, accounts) = (sql.engine().clone(), Arc::new(sql.clone()));
    Ok(Some(pg::PgServer::start(listener.into_std()?, engine, accounts, options)?))
}

/// Starts the threads that run queries. Spill files of a former process are removed before. Fails if the folder for
/// spill files cannot be emptied or made.
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

/// Returns a future that resolves at SIGTERM or SIGINT, and a receiver that is true from then on. From this call on, also before the future is polled, these
/// signals do not end the process. Fails if the signals cannot be registered.
fn stop_signal() -> anyhow::Result<(impl Future<Output = ()>, watch::Receiver<bool>)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stops, stopping) = watch::channel(false);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stops.send_replace(true);
    };
    Ok((stop, stopping))
}
