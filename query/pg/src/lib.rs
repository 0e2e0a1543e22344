//! PostgreSQL's wire protocol in front of `sql`, for psql, drivers and dashboards.
//!
//! ```text
//!   socket ─▶ frames ─▶ pgwire ─▶ SCRAM (login, accounts) ─▶ statements (handler) ─▶ sql::SqlEngine ─▶ rows ─▶ socket
//! ```
//! A user is an access key, and the password is the secret key, which itself is never sent. Statements only
//! read. Statements of drivers about the session (`BEGIN`, `SET`, `SHOW`) are answered as far as they have a
//! meaning here: a transaction groups nothing, since every statement sees everything that was acknowledged
//! before it.
//!
//! No statement runs without a finished login. Three layers ensure this, each without the others: `frames`
//! passes nothing on to pgwire, `login` keeps pgwire out of the state that runs queries, `handler` requires the
//! mark that only a finished login leaves.
//!
//! Connections are served on a thread of their own. Texts are parsed, queries run and rows encoded on the
//! engine's threads. Uploads and downloads use neither.

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

/// The time from a connection's beginning to the end of its login.
const LOGIN_WITHIN: Duration = Duration::from_secs(10);
/// The time in which a client may read the last answers after its session has ended.
const LINGER: Duration = Duration::from_secs(10);
/// The wait after a connection could not be accepted, for example because file handles are exhausted.
const PAUSE: Duration = Duration::from_millis(50);

/// The limits of the server.
#[derive(Clone, Copy, Debug)]
pub struct PgOptions {
    /// Connections at a time: five sixths for clients that have logged in, one sixth for logins.
    pub connections: usize,
    /// A seeded bug, for tests of tests: queries run before a login. Must be false otherwise.
    pub opens_early: bool,
}

/// The state that all connections share.
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

/// Serves connections until it is dropped, which ends them all without waiting.
pub struct PgServer {
    /// Taken when the server is dropped: dropping a runtime blocks, which async code must not do.
    runtime: Option<Runtime>,
}

impl PgServer {
    /// Starts a thread that accepts connections from `listener` and serves them, until the server is dropped.
    ///
    /// Errors: if the thread cannot be started or the listener cannot be registered. Later errors end single
    /// connections only: those of a connection are logged, and after a failed `accept` the next one follows 50
    /// ms later.
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
        // The listener is registered with the runtime that is entered.
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

/// Accepts connections for ever, each in a task of its own.
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
        // Answers are small and the client waits for each of them.
        let _ = stream.set_nodelay(true);
        let (place, door) = (places.enter(address.ip()), door.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(stream, door, address, place).await {
                tracing::debug!(%error, "a PostgreSQL connection ended early");
            }
        });
    }
}

/// Serves a connection to its end. If one side ends, the other is ended with it.
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
        // The seeded bug is complete only if messages behind a login run although their connection has ended.
        let (served, carried) = tokio::join!(served, carried);
        return served.and(carried);
    }
    tokio::pin!(carried);
    tokio::select! {
        carried = &mut carried => carried,
        served = served => {
            // pgwire has written its last answer, which the client may not have read yet.
            let rest = tokio::time::timeout(LINGER, carried).await;
            served.and(rest.unwrap_or(Ok(())))
        }
    }
}

/// Carries a client's login and then, if a slot for a session is free, the session.
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

/// The handlers of one connection.
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

    /// Makes the login of this connection; it keeps the login's state, so there is one for each connection.
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
