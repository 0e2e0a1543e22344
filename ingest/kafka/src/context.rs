//! Events of librdkafka that belong to no message: its log lines and its errors.

use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use ingest::log::brokers::BrokerError;

/// Forwards one client's log lines, and keeps the errors that explain a missing reply. Clones share the
/// same errors.
#[derive(Clone, Default)]
pub(crate) struct ErrorContext {
    /// Shared with the code that looks for the reason of a missing reply.
    heard: Arc<Mutex<RecentErrors>>,
}

/// The newest error of each kind.
#[derive(Clone, Default)]
pub(crate) struct RecentErrors {
    /// The brokers refused this user.
    pub authentication: Option<String>,
    /// A secure connection could not be established.
    pub tls: Option<String>,
    /// Any other error.
    pub last: Option<String>,
}

impl ErrorContext {
    /// The newest errors since the last [`ErrorContext::forget`], one of each kind, in no particular
    /// order.
    pub(crate) fn heard(&self) -> RecentErrors {
        self.heard.lock().clone()
    }

    /// Drops all errors so far. Called after brokers have replied, since older errors explain nothing
    /// then.
    pub(crate) fn forget(&self) {
        *self.heard.lock() = RecentErrors::default();
    }
}

impl ClientContext for ErrorContext {
    fn log(&self, level: RDKafkaLogLevel, kind: &str, line: &str) {
        if kind == "FAIL" {
            self.heard.lock().last = Some(line.to_owned());
        }
        // Warnings about settings concern this code, not the operator.
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
            // Repeated after each broker's own error, which is the better reason.
            Some(Code::AllBrokersDown) => return,
            _ => &mut heard.last,
        };
        *place = Some(reason.to_owned());
    }
}

impl ConsumerContext for ErrorContext {}

/// Turns an error into text. Never includes the value of a setting, which may be a secret.
pub(crate) fn broker_error(error: KafkaError) -> BrokerError {
    BrokerError(match error {
        KafkaError::ClientConfig(_, reason, setting, _) => format!("{setting}: {reason}"),
        other => other.to_string(),
    })
}
