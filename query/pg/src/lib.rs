//! PostgreSQL's wire protocol in front of `sql`, for psql, drivers and dashboards.
//!
//! ```text
//!   socket ─▶ frames ─▶ pgwire ─▶ SCRAM (login, accounts) ─▶ statements (handler) ─▶ sql::Engine ─▶ rows ─▶ socket
//! ```
//! A user is an access key, its password the secret key; the secret itself never travels. Statements only
//! read. What drivers ask of a session (`BEGIN`, `SET`, `SHOW`) is answered as far as it means anything
//! here: a transaction groups nothing, since every statement sees what was acknowledged before it.
//!
//! Nobody asks anything without a finished login. Three layers hold that, each without the others: `frames` lets
//! nothing through to pgwire, `login` keeps pgwire out of the state that runs queries, `handler` asks for what only a
//! finished login leaves.
//!
//! Connections are served on a thread of their own, and texts are taken apart, queries run and rows encoded on the
//! engine's threads: nothing of all this holds up uploads and downloads.

mod accounts;
mod answer;
mod failure;
mod frames;
mod handler;
mod login;
mod parameters;
mod session_memory;
mod slots;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use pgwire::api::auth::StartupHandler;
use pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::{ConnectionManager, PgWireServerHandlers};
use sql::SqlEngine;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::runtime::Runtime;

pub use accounts::Accounts;
use frames::BoundedStream;
use handler::QueryHandler;
use login::LoginHandler;
use slots::{ConnectionSlot, ConnectionSlots};

/// A client gets so long from its first byte, or none, to the end of its login.
const LOGIN_WITHIN: Duration = Duration::from_secs(10);
/// A client gets so long to read what it was answered last.
const LINGER: Duration = Duration::from_secs(10);
/// How long to wait after a connection could not be accepted: for want of file handles, say.
const PAUSE: Duration = Duration::from_millis(50);

/// How connections are served.
#[derive(Clone, Copy, Debug)]
pub struct PgOptions {
    /// Connections at a time: most are for clients that have logged in, the rest for logins.
    pub connections: usize,
    /// A seeded bug, for tests of tests: queries run before a login.
    pub opens_early: bool,
}

/// What all connections share.
struct PgContext {
    handler: Arc<QueryHandler>,
    accounts: Arc<dyn Accounts>,
    connections: Arc<ConnectionManager>,
    opens_early: bool,
}

impl PgContext {
    fn new(engine: Arc<SqlEngine>, accounts: Arc<dyn Accounts>, opens_early: bool) -> Arc<Self> {
        Arc::new(Self {
            handler: Arc::new(QueryHandler::new(engine, accounts.clone(), opens_early)),
            accounts,
            connections: Arc::new(ConnectionManager::new()),
            opens_early,
        })
    }
}

/// Serves connections until it is dropped.
pub struct PgServer {
    /// Taken when the server is dropped: a runtime must not be dropped where it would block.
    runtime: Option<Runtime>,
}

impl PgServer {
    /// Starts a thread that serves connections.
    pub fn start(
        listener: StdListener,
        engine: Arc<SqlEngine>,
        accounts: Arc<dyn Accounts>,
        options: PgOptions,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres")
            .enable_all()
            .build()?;
        listener.set_nonblocking(true)?;
        let entered = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        drop(entered);
        let places = Arc::new(ConnectionSlots::new(options.connections));
        let door = PgContext::new(engine, accounts, options.opens_early);
        runtime.spawn(accept(listener, door, places));
        Ok(Self { runtime: Some(runtime) })
    }
}

impl Drop for PgServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, door: Arc<PgContext>, places: Arc<ConnectionSlots>) {
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a PostgreSQL connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (place, door) = (places.enter(address.ip()), door.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(stream, door, address, place).await {
                tracing::debug!(%error, "a PostgreSQL connection ended early");
            }
        });
    }
}

/// Serves a connection to its end. Whichever side ends first, the other goes with it.
async fn connection(
    stream: TcpStream,
    door: Arc<PgContext>,
    address: SocketAddr,
    place: ConnectionSlot,
) -> io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let opens_early = door.opens_early;
    let wire = BoundedStream::new(stream, ours, opens_early);
    let session = Arc::new(PgSession { door, address });
    let served = pgwire::tokio::process_socket_unix(theirs, session);
    let carried = carried(wire, place);
    if opens_early {
        // The seeded bug is whole only if what came behind a login is run although its connection has ended.
        let (served, carried) = tokio::join!(served, carried);
        return served.and(carried);
    }
    tokio::pin!(carried);
    tokio::select! {
        carried = &mut carried => carried,
        served = served => {
            let rest = tokio::time::timeout(LINGER, carried).await;
            served.and(rest.unwrap_or(Ok(())))
        }
    }
}

/// Carries a client's login and, if it has a place then, its session.
async fn carried(mut wire: BoundedStream, mut place: ConnectionSlot) -> io::Result<()> {
    let login = tokio::time::timeout(LOGIN_WITHIN, async {
        tokio::select! {
            is_in = wire.log_in() => is_in.map(Some),
            () = place.is_lost() => Ok(None),
        }
    });
    match login.await {
        Ok(Ok(Some(true))) => {}
        Ok(Ok(Some(false))) => return Ok(()),
        Ok(Ok(None)) => return wire.refuse("53300", "too many connections are logging in").await,
        Ok(Err(error)) => return Err(error),
        Err(_) => return wire.refuse("08006", "the login took too long").await,
    }
    if !place.log_in() {
        tracing::warn!("a PostgreSQL connection is closed: there are too many");
        return wire.refuse("53300", "there are too many connections").await;
    }
    wire.carry().await
}

/// One connection's handlers.
struct PgSession {
    door: Arc<PgContext>,
    address: SocketAddr,
}

impl PgWireServerHandlers for PgSession {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        self.door.handler.clone()
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        self.door.handler.clone()
    }

    /// One for each connection: it keeps how far the login has come.
    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        let PgContext { accounts, connections, opens_early, .. } = self.door.as_ref();
        Arc::new(LoginHandler::new(
            accounts.clone(),
            connections.clone(),
            self.address,
            *opens_early,
        ))
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::new(DefaultCancelHandler::new(self.door.connections.clone()))
    }
}
