//! The report of an answered request: one counter, one line at `debug`, and a line at `warn` for a request that was
//! refused or has failed. Each has the operation's name.

use std::net::SocketAddr;

use http::{Method, StatusCode};

use crate::refusal::{self, ClientInfo, RefusedRequest};
use crate::request_counters::{COUNTERS, RequestCounters};
use crate::request_operation::RequestOperation;

/// A request that has been answered.
pub struct RequestReport<'a> {
    /// The request's id.
    pub id: &'a str,
    /// The operation of the request.
    pub operation: RequestOperation,
    /// The request's method.
    pub method: &'a Method,
    /// The path as it was received, percent-encoded; the bucket that the host names comes first.
    pub path: &'a str,
    /// The status of the response.
    pub status: u16,
    /// The error's code; empty for a success.
    pub code: &'a str,
    /// The cause of a failure of this server.
    pub cause: Option<&'a str>,
}

impl RequestReport<'_> {
    /// Counts a request whose head is not one of HTTP/1.1, and writes a log line unless the head was too long. Such a request
    /// has no id and no path, and its method is not known.
    pub fn unreadable(status: StatusCode, address: SocketAddr) {
        COUNTERS.count_unreadable(status.as_u16());
        let who = &ClientInfo { address: Some(address), ..ClientInfo::default() };
        let (operation, status) = (RequestOperation::Unknown, status.as_u16());
        let (request, path, code, cause) = ("", "", "", Some("the head is not one of HTTP/1.1"));
        RefusedRequest { request, operation, path, status, code, cause, who }.tell();
    }

    /// Counts the request and writes its log lines. Called once, after the response has been made. `client` is
    /// called only if a line needs the client. Never fails.
    pub fn write(&self, client: impl FnOnce() -> ClientInfo) {
        self.write_to(&COUNTERS, client);
    }

    fn write_to(&self, counters: &RequestCounters, client: impl FnOnce() -> ClientInfo) {
        let Self { id, operation, method, path, status, code, cause } = *self;
        counters.count(operation, method, status);
        tracing::debug!(request = id, operation = operation.name(), %method, path, status, "request");
        if refusal::is_told(status) {
            let who = &client();
            RefusedRequest { request: id, operation, path, status, code, cause, who }.tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use metrics_exporter_prometheus::PrometheusBuilder;
    use parking_lot::Mutex;
    use s3::operation::Operation;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Every operation of the table and of the server's own, with its method.
    fn operations() -> Vec<(RequestOperation, Method)> {
        let of_s3 = |operation: &Operation| {
            let method = operation.definition().method.parse().unwrap();
            (RequestOperation::S3(*operation), method)
        };
        let mut all: Vec<_> = Operation::ALL.iter().map(of_s3).collect();
        all.push((RequestOperation::Sql, Method::POST));
        all.push((RequestOperation::Preflight, Method::OPTIONS));
        all.push((RequestOperation::Website, Method::GET));
        all.push((RequestOperation::Unknown, Method::PATCH));
        all
    }

    /// The name stands in every metric and line, so that nobody has to guess from method and path which operation
    /// was slow, refused or failing.
    #[test]
    fn every_metric_and_line_of_a_request_names_the_operation() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let counters = RequestCounters::new();
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || writer.clone())
            .finish();
        let operations = operations();
        // Four statuses in turn: the log's bound on lines of one kind is not reached.
        let statuses = [200, 403, 501, 503];
        tracing::subscriber::with_default(subscriber, || {
            metrics::with_local_recorder(&recorder, || {
                for (index, (operation, method)) in operations.iter().enumerate() {
                    let status = statuses[index % statuses.len()];
                    let report = RequestReport {
                        id: "ID",
                        operation: *operation,
                        method,
                        path: "/bucket/key",
                        status,
                        code: "Code",
                        cause: (status == 503).then_some("the disk is gone"),
                    };
                    for _ in 0..2 {
                        report.write_to(&counters, ClientInfo::default);
                    }
                }
            });
        });

        let metrics = recorder.handle().render();
        let told = String::from_utf8(lines.0.lock().clone()).unwrap();
        for (index, (operation, method)) in operations.iter().enumerate() {
            let (name, status) = (operation.name(), statuses[index % statuses.len()]);
            let method = crate::request_operation::method_label(method);
            let labels = format!("method=\"{method}\",status=\"{status}\",operation=\"{name}\"");
            let series = format!("siltstone_requests_total{{{labels}}} 2\n");
            assert!(metrics.contains(&series), "{series}");
            let of_operation = format!("operation=\"{name}\" ");
            let found = told.lines().filter(|line| line.contains(&of_operation));
            assert_eq!(found.count(), if status == 200 { 2 } else { 4 }, "{name} {status}");
        }
        let series = metrics.lines().filter(|line| line.starts_with("siltstone_requests_total"));
        assert_eq!(series.count(), operations.len());
        assert!(told.lines().all(|line| line.contains("operation=")), "{told}");
        let failed = told.lines().filter(|line| line.contains("a request failed"));
        assert!(failed.into_iter().all(|line| line.contains("the disk is gone")), "{told}");
    }
}
