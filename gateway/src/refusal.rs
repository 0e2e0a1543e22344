//! What was refused or has failed, told in the log: one line with code, operation, who and from where.
//!
//! Anybody can cause these lines, so their number is bounded, and what clients send is cut short and escaped.

use std::net::SocketAddr;

use crate::log_limit::LogLimit;
use crate::request_operation::RequestOperation;

/// Lines about requests without valid credentials or rights.
static DENIED: LogLimit = LogLimit::new();
/// Lines about requests that are wrong in themselves.
static REFUSED: LogLimit = LogLimit::new();
/// Lines about requests that this server could not do.
static FAILED: LogLimit = LogLimit::new();

/// The largest number of characters of a client's text in a line.
const SHOWN: usize = 200;

/// The client, as far as it is known.
#[derive(Clone, Default, Debug)]
pub struct ClientInfo {
    /// The access key that the request names.
    pub access_key: Option<String>,
    /// The user's name, once the request is known to be theirs.
    pub user: Option<String>,
    /// The address that the connection comes from.
    pub address: Option<SocketAddr>,
}

/// A request that ended with an error, for the log.
pub struct RefusedRequest<'a> {
    /// The request's id; empty where there is none.
    pub request: &'a str,
    /// The operation that the request asks for.
    pub operation: RequestOperation,
    /// The path, as it was received.
    pub path: &'a str,
    /// The answer's status.
    pub status: u16,
    /// The error's code.
    pub code: &'a str,
    /// The cause of a failure of this server: the text of the error below the code.
    pub cause: Option<&'a str>,
    /// The client.
    pub who: &'a ClientInfo,
}

/// The limit and the text of the line that an answer's status makes; none for everyday answers like "there is no such
/// key".
fn line_of(status: u16) -> Option<(&'static LogLimit, &'static str)> {
    match status {
        401 | 403 => Some((&DENIED, "a request was denied")),
        500.. if status != 501 => Some((&FAILED, "a request failed")),
        400 | 405 | 411 | 501 => Some((&REFUSED, "a request was refused")),
        _ => None,
    }
}

/// True when a response of this status makes a line in the log.
pub fn is_told(status: u16) -> bool {
    line_of(status).is_some()
}

impl RefusedRequest<'_> {
    /// Writes the line, unless the status is an everyday one such as 404 or the limit for such lines is reached. Never
    /// fails.
    pub fn tell(&self) {
        let Some((limit, told)) = line_of(self.status) else { return };
        let Some(unsaid) = limit.take() else { return };
        let Self { request, operation, status, code, cause, who, .. } = self;
        let path = shown(self.path);
        let access_key = who.access_key.as_deref().map(shown);
        let address = who.address.map(tracing::field::display);
        tracing::warn!(
            request,
            code,
            operation = operation.name(),
            user = who.user,
            access_key,
            address,
            status,
            path,
            cause,
            unsaid,
            "{told}"
        );
    }
}

/// A client's text, cut short, with nothing in it that a terminal would obey.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_is_short_and_harmless() {
        assert_eq!(shown("\u{1b}[31mred\n"), "\\u{1b}[31mred\\n");
        assert_eq!(shown(&"a".repeat(60_000)).len(), SHOWN);
    }
}
