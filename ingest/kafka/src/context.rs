//! What librdkafka says by the way: its log lines, and errors that belong to no message.

use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use ingest::log::brokers::BrokerError;

/// Passes on what one client says, and remembers what explains a silence.
#[derive(Clone, Default)]
pub(crate) struct ErrorContext {
    /// Shared with whoever asks why nothing comes.
    heard: Arc<Mutex<RecentErrors>>,
}

/// The newest error of each kind.
#[derive(Clone, Default)]
pub(crate) struct RecentErrors {
    /// The brokers do not accept who we are.
    pub authentication: Option<String>,
    /// A secure connection did not come about.
    pub tls: Option<String>,
    /// Any other.
    pub last: Option<String>,
}

impl ErrorContext {
    /// What has been heard so far.
    pub(crate) fn heard(&self) -> RecentErrors {
        self.heard.lock().clone()
    }

    /// What has been heard explains nothing any more: the brokers answer.
    pub(crate) fn forget(&self) {
        *self.heard.lock() = RecentErrors::default();
    }
}

impl ClientContext for ErrorContext {
    fn log(&self, level: RDKafkaLogLevel, kind: &str, line: &str) {
        if kind == "FAIL" {
            self.heard.lock().last = Some(line.to_owned());
        }
        // Complaints about settings are for whoever chose them, here.
        if level as i32 <= RDKafkaLogLevel::Warning as i32 && kind != "CONFWARN" {
            tracing::warn!(target: "librdkafka", kind, "{line}");
        } else {
            tracing::debug!(target: "librdkafka", kind, "{line}");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        tracing::debug!(target: "librdkafka", %error, reason, "error");
        let mut heard = self.heard.lock();
        let place = match error.rdkafka_error_code() {
            Some(Code::Authentication | Code::SaslAuthenticationFailed) => {
                &mut heard.authentication
            }
            Some(Code::SSL) => &mut heard.tls,
            // Said again and again, behind each broker's own reason.
            Some(Code::AllBrokersDown) => return,
            _ => &mut heard.last,
        };
        *place = Some(reason.to_owned());
    }
}

impl ConsumerContext for ErrorContext {}

/// Puts an error into words. A setting's value stays out: it may be a secret.
pub(crate) fn broker_error(error: KafkaError) -> BrokerError {
    BrokerError(match error {
        KafkaError::ClientConfig(_, reason, setting, _) => format!("{setting}: {reason}"),
        other => other.to_string(),
    })
}
