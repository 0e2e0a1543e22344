//! The login: SCRAM by pgwire, and the guarantee that no statement runs after a failed one.
//!
//! pgwire 0.41 treats an error at the login like one of a query: it goes on to the state that runs queries, and
//! closes only its sending half. Errors are therefore kept from pgwire here. Only a finished login leaves a
//! [`FinishedLogin`] with its connection, and no query runs without one (see `handler.rs`).

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::{Sink, SinkExt};
use pgwire::api::auth::sasl::SASLAuthStartupHandler;
use pgwire::api::auth::sasl::scram::ScramAuth;
use pgwire::api::auth::{DefaultServerParameterProvider, StartupHandler};
use pgwire::api::{ClientInfo, ConnectionManager, METADATA_USER, PgWireConnectionState};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use sql::settings;

use crate::accounts::{Accounts, ITERATIONS, Salted};

/// The mark that a finished login leaves with its connection.
#[derive(Debug)]
pub struct FinishedLogin {
    /// The access key whose secret key the client has proved to know.
    pub access_key: String,
}

/// The login of one connection.
pub struct LoginHandler {
    scram: SASLAuthStartupHandler<DefaultServerParameterProvider>,
    salted: Arc<Salted>,
    accounts: Arc<dyn Accounts>,
    /// The client's address.
    address: SocketAddr,
    /// True after an error: all later messages are dropped.
    has_failed: AtomicBool,
    /// A seeded bug: errors are passed on to pgwire.
    opens_early: bool,
}

impl LoginHandler {
    /// Makes the login of a connection that has sent nothing yet. Each connection needs one of its own, since
    /// the handler keeps the state of the exchange. `opens_early` must be false outside tests of tests.
    pub fn new(
        accounts: Arc<dyn Accounts>,
        connections: Arc<ConnectionManager>,
        address: SocketAddr,
        opens_early: bool,
    ) -> Self {
        let salted = Arc::new(Salted::new(accounts.clone()));
        let mut scram = ScramAuth::new(salted.clone());
        scram.set_iterations(ITERATIONS);
        let mut parameters = DefaultServerParameterProvider::default();
        settings::SERVER_VERSION.clone_into(&mut parameters.server_version);
        parameters.is_superuser = false;
        parameters.default_transaction_read_only = true;
        let scram = SASLAuthStartupHandler::new(Arc::new(parameters))
            .with_scram(scram)
            .with_connection_manager(connections);
        let has_failed = AtomicBool::new(false);
        Self { scram, salted, accounts, address, has_failed, opens_early }
    }
}

#[async_trait]
impl StartupHandler for LoginHandler {
    async fn on_startup<C>(
        &self,
        client: &mut C,
        message: PgWireFrontendMessage,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // Messages after an error are dropped without an answer.
        if self.has_failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let error = match self.scram.on_startup(client, message).await {
            Ok(()) => {
                let is_over = matches!(client.state(), PgWireConnectionState::ReadyForQuery);
                if let Some(access_key) = self.salted.asked().filter(|_| is_over) {
                    client.session_extensions().insert(FinishedLogin { access_key });
                }
                return Ok(());
            }
            Err(error) if self.opens_early => return Err(error),
            Err(error) => error,
        };
        self.has_failed.store(true, Ordering::Relaxed);
        // In this state pgwire passes every message to this function, which from now on drops them.
        client.set_state(PgWireConnectionState::AuthenticationInProgress);
        let user = client.metadata().get(METADATA_USER).cloned().unwrap_or_default();
        let info = match error {
            PgWireError::InvalidPassword(_) => {
                let text = format!("password authentication failed for user \"{user}\"");
                ErrorInfo::new("FATAL".into(), "28P01".into(), text)
            }
            other => {
                let told: ErrorInfo = other.into();
                ErrorInfo::new("FATAL".into(), told.code, told.message)
            }
        };
        self.accounts.denied(&user, self.address, &info.code);
        // A client that cannot be reached has disconnected.
        let _ = client.send(PgWireBackendMessage::ErrorResponse(info.into())).await;
        let _ = client.close().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use pgwire::api::query::SimpleQueryHandler;
    use pgwire::api::results::Response;
    use pgwire::api::store::PortalStore;
    use pgwire::api::{ClientPortalStore, PgWireServerHandlers};
    use sql::StoreSource;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    struct Nobody;

    impl Accounts for Nobody {
        fn secret_key(&self, _: &str) -> Option<String> {
            None
        }

        fn source(&self, _: &str) -> Option<Arc<dyn StoreSource>> {
            None
        }

        fn denied(&self, access_key: &str, _: SocketAddr, code: &str) {
            assert_eq!((access_key, code), ("root", "28P01"));
        }
    }

    /// Answers every query without any check, and counts them.
    #[derive(Default)]
    struct Careless(AtomicUsize);

    #[async_trait]
    impl SimpleQueryHandler for Careless {
        async fn do_query<C>(&self, _: &mut C, _: &str) -> PgWireResult<Vec<Response>>
        where
            C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
            C::PortalStore: PortalStore,
            C::Error: Debug,
            PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
        {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(Vec::new())
        }
    }

    struct Handlers {
        queries: Arc<Careless>,
        opens_early: bool,
    }

    impl PgWireServerHandlers for Handlers {
        fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
            self.queries.clone()
        }

        fn startup_handler(&self) -> Arc<impl StartupHandler> {
            let address = SocketAddr::from(([127, 0, 0, 1], 1));
            Arc::new(LoginHandler::new(Arc::new(Nobody), Arc::default(), address, self.opens_early))
        }
    }

    fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u32 + 4).to_be_bytes();
        [&[kind], &len[..], body].concat()
    }

    /// Sends a login that fails, and queries behind it, straight to pgwire. Returns the number of queries that
    /// ran, and all answers.
    async fn ask_behind_a_failed_login(opens_early: bool) -> (usize, Vec<u8>) {
        let (mut client, server) = UnixStream::pair().expect("a pair");
        let queries = Arc::<Careless>::default();
        let handlers = Arc::new(Handlers { queries: queries.clone(), opens_early });
        let served = pgwire::tokio::process_socket_unix(server, handlers);
        let asked = async move {
            let body = [&196_608i32.to_be_bytes()[..], b"user\0root\0\0"].concat();
            let startup = [&(body.len() as i32 + 4).to_be_bytes()[..], &body].concat();
            let first = framed(b'p', b"SCRAM-SHA-256\0\0\0\0\x0cn,,n=,r=abcd");
            let proof =
                framed(b'p', b"c=biws,r=abcd,p=eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg=");
            let query = framed(b'Q', b"SELECT 1\0");
            let all = [startup, first, proof, query.clone(), framed(b'S', b""), query].concat();
            client.write_all(&all).await.expect("room");
            client.shutdown().await.expect("an end");
            let mut answers = Vec::new();
            client.read_to_end(&mut answers).await.expect("answers");
            answers
        };
        let (_, answers) = tokio::join!(served, asked);
        (queries.0.load(Ordering::Relaxed), answers)
    }

    /// Regression: pgwire went on to the state that runs queries, and announced that it was ready for them.
    #[test]
    fn pgwire_runs_nothing_behind_a_login_that_failed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let (run, answers) = ask_behind_a_failed_login(false).await;
            let says = |text: &[u8]| answers.windows(text.len()).any(|part| part == text);
            assert!(says(b"28P01") && says(b"user \"root\""), "the client is told");
            assert!(!says(b"Z\0\0\0\x05"), "and nothing is said to be ready");
            assert_eq!(run, 0);
            // The test detects the seeded bug.
            assert_ne!(ask_behind_a_failed_login(true).await.0, 0);
        });
    }
}
