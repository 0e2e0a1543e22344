//! A check if the brokers can be reached at all, with the reason in plain words if not.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use ingest::env::Fut;
use ingest::log::brokers::BrokerError;

use crate::admin::{metadata_client, on_thread};
use crate::settings::KafkaSettings;

/// Longest time that brokers may take to reply at all.
const ANSWER: Duration = Duration::from_secs(9);
/// Time without a reply after which the errors so far are examined.
const LOOK: Duration = Duration::from_secs(1);

/// The reason why the brokers cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The brokers refuse this user. A retry does not help.
    #[error("authentication failed: {0}")]
    Authentication(String),
    /// No secure connection can be established. A retry does not help.
    #[error("no secure connection: {0}")]
    Tls(String),
    /// No reply that this client understands came in time. A retry may help.
    #[error("no broker answers at {servers}: {reason}")]
    NoAnswer {
        /// The configured addresses.
        servers: String,
        /// The last error.
        reason: String,
    },
    /// No client could be made.
    #[error(transparent)]
    Client(#[from] BrokerError),
}

/// Determines within about ten seconds if brokers reply, and fails with the reason if none does. One
/// reply is enough, even that the topic is unknown. Called before the log is opened; dropping the
/// future does not stop the check.
pub fn check_connection(settings: &KafkaSettings) -> Fut<'static, Result<(), ConnectionError>> {
    let settings = settings.clone();
    on_thread("kafka check", move || check(&settings))
}

/// Asks for metadata until a broker replies, an error is final, or the time is over. Blocks.
fn check(settings: &KafkaSettings) -> Result<(), ConnectionError> {
    let (client, context) = metadata_client(settings, 0)?;
    let began = Instant::now();
    loop {
        let Err(error) = client.fetch_metadata(Some(&settings.topic()), LOOK) else {
            return Ok(());
        };
        // librdkafka reports errors only to a client that is polled.
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
