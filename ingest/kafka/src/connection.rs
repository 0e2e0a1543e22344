//! Whether the brokers can be reached at all, and if not, why, in words.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use ingest::env::Fut;
use ingest::log::brokers::BrokerError;

use crate::admin::{metadata_client, on_thread};
use crate::settings::KafkaSettings;

/// How long brokers may take to answer at all.
const ANSWER: Duration = Duration::from_secs(9);
/// After so long without an answer it is seen whether brokers have said why.
const LOOK: Duration = Duration::from_secs(1);

/// The brokers cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectionError {
    /// They do not accept who we are. Trying again does not help.
    #[error("authentication failed: {0}")]
    Authentication(String),
    /// No secure connection comes about. Trying again does not help.
    #[error("no secure connection: {0}")]
    Tls(String),
    /// Nothing that we understand comes back.
    #[error("no broker answers at {servers}: {reason}")]
    NoAnswer {
        /// Where they were looked for.
        servers: String,
        /// What was met instead.
        reason: String,
    },
    /// No client could be made.
    #[error(transparent)]
    Client(#[from] BrokerError),
}

/// Finds out within about ten seconds whether brokers answer.
pub fn check_connection(settings: &KafkaSettings) -> Fut<'static, Result<(), ConnectionError>> {
    let settings = settings.clone();
    on_thread("kafka check", move || check(&settings))
}

fn check(settings: &KafkaSettings) -> Result<(), ConnectionError> {
    let (client, context) = metadata_client(settings, 0)?;
    let began = Instant::now();
    loop {
        let Err(error) = client.fetch_metadata(Some(&settings.topic()), LOOK) else {
            return Ok(());
        };
        // What has gone wrong waits in a queue for somebody to look.
        let looked = Instant::now();
        while looked.elapsed() < LOOK / 10 {
            let _ = client.poll(LOOK / 10);
        }
        let heard = context.heard();
        if let Some(reason) = heard.authentication {
            return Err(ConnectionError::Authentication(reason));
        }
        if let Some(reason) = heard.tls {
            return Err(ConnectionError::Tls(reason));
        }
        if began.elapsed() >= ANSWER {
            let reason = heard.last.unwrap_or_else(|| error.to_string());
            return Err(ConnectionError::NoAnswer { servers: settings.servers(), reason });
        }
    }
}
