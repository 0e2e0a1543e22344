//! PostgreSQL's wire protocol in front of `sql`, for psql, drivers and dashboards.
//!
//! ```text
//!   socket ─▶ frames ─▶ pgwire ─▶ SCRAM (accounts) ─▶ statements (handler) ─▶ sql::Engine ─▶ rows ─▶ socket
//! ```
//! A user is an access key, its password the secret key; the secret itself never travels. Statements only
//! read. What drivers ask of a session (`BEGIN`, `SET`, `SHOW`) is answered as far as it means anything
//! here: a transaction groups nothing, since every statement sees what was acknowledged before it.

mod accounts;
mod answer;
mod failure;
mod frames;
mod handler;
mod parameters;

use std::sync::Arc;
use std::time::Duration;

use pgwire::api::auth::sasl::SASLAuthStartupHandler;
use pgwire::api::auth::sasl::scram::ScramAuth;
use pgwire::api::auth::{DefaultServerParameterProvider, StartupHandler};
use pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::{ConnectionManager, PgWireServerHandlers};
use sql::{Engine, settings};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;

pub use accounts::Accounts;
use accounts::{ITERATIONS, Salted};
use handler::Handler;

/// Connections at a time; more are closed at once.
const CONNECTIONS_MAX: usize = 200;
/// How long to wait after a connection could not be accepted: for want of file handles, say.
const PAUSE: Duration = Duration::from_millis(50);

/// What all connections share.
struct Door {
    handler: Arc<Handler>,
    salted: Arc<Salted>,
    connections: Arc<ConnectionManager>,
}

/// Serves connections until the task is ended.
pub async fn serve(listener: TcpListener, engine: Arc<Engine>, accounts: Arc<dyn Accounts>) {
    let door = Arc::new(Door {
        handler: Arc::new(Handler::new(engine, accounts.clone())),
        salted: Arc::new(Salted::new(accounts)),
        connections: Arc::new(ConnectionManager::new()),
    });
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a PostgreSQL connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = room.clone().try_acquire_owned() else {
            tracing::warn!("a PostgreSQL connection is closed: there are {CONNECTIONS_MAX}");
            continue;
        };
        let _ = stream.set_nodelay(true);
        let door = door.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection(stream, door).await {
                tracing::debug!(%error, "a PostgreSQL connection ended early");
            }
        });
    }
}

/// Serves a connection to its end.
async fn connection(stream: TcpStream, door: Arc<Door>) -> std::io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let served = pgwire::tokio::process_socket_unix(theirs, door);
    let (served, carried) = futures::join!(served, frames::carry(stream, ours));
    served.and(carried)
}

impl PgWireServerHandlers for Door {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        self.handler.clone()
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        self.handler.clone()
    }

    /// One for each connection: it keeps how far the login has come.
    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        let mut scram = ScramAuth::new(self.salted.clone());
        scram.set_iterations(ITERATIONS);
        let mut parameters = DefaultServerParameterProvider::default();
        settings::SERVER_VERSION.clone_into(&mut parameters.server_version);
        parameters.is_superuser = false;
        parameters.default_transaction_read_only = true;
        let login = SASLAuthStartupHandler::new(Arc::new(parameters))
            .with_scram(scram)
            .with_connection_manager(self.connections.clone());
        Arc::new(login)
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::new(DefaultCancelHandler::new(self.connections.clone()))
    }
}
