//! Log lines about requests that were refused or have failed: one line with code, operation, client and address.
//!
//! Any client can cause these lines, so their number is bounded, and text of clients is shortened and escaped.

use std::net::SocketAddr;

use crate::log_limit::LogLimit;
use crate::request_operation::RequestOperation;

/// Lines about requests without valid credentials or rights.
static DENIED: LogLimit = LogLimit::new();
/// Lines about requests that are invalid or not supported.
static REFUSED: LogLimit = LogLimit::new();
/// Lines about requests that this server could not perform.
static FAILED: LogLimit = LogLimit::new();

/// The largest number of characters of a client's text in a line.
const SHOWN: usize = 200;

/// The facts about a client that are known when a request ends.
#[derive(Clone, Default, Debug)]
pub struct ClientInfo {
    /// The access key that the request names.
    pub access_key: Option<String>,
    /// The name of the user whose signature or keys were verified.
    pub user: Option<String>,
    /// The address of the connection's other end, which may be a proxy.
    pub address: Option<SocketAddr>,
}

/// The facts about a request that ended with an error, for its log line.
pub struct RefusedRequest<'a> {
    /// The request's id; empty for requests without ids.
    pub request: &'a str,
    /// The operation of the request.
    pub operation: RequestOperation,
    /// The path, as it was received.
    pub path: &'a str,
    /// The status of the response.
    pub status: u16,
    /// The error's code.
    pub code: &'a str,
    /// The cause of a failure of this server: the text of the error below the code.
    pub cause: Option<&'a str>,
    /// The client.
    pub who: &'a ClientInfo,
}

/// The limit and the text of the line for a status; `None` for a status of everyday requests, such as 404.
fn line_of(status: u16) -> Option<(&'static LogLimit, &'static str)> {
    match status {
        401 | 403 => Some((&DENIED, "a request was denied")),
        500.. if status != 501 => Some((&FAILED, "a request failed")),
        400 | 405 | 411 | 501 => Some((&REFUSED, "a request was refused")),
        _ => None,
    }
}

/// Returns true if a response with a status causes a log line at `warn`, unless the bound on lines is reached.
/// False for success and for everyday errors such as 404.
pub fn is_told(status: u16) -> bool {
    line_of(status).is_some()
}

impl RefusedRequest<'_> {
    /// Writes the log line, unless [`is_told`] is false for the status or the bound on such lines is reached. Never
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

/// Shortens text of a client to 200 characters and escapes control characters, which a terminal would obey.
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
