//! The counter of answered requests, by operation, method and status.
//!
//! A counter is registered when the first request with its labels has been answered, and kept. Later requests cost one
//! load and one addition, without a lock or an allocation. The number of labels is bounded by the table of operations,
//! S3's methods and the statuses of this server.

use std::sync::OnceLock;

use http::Method;
use metrics::Counter;
use s3::operation::{METHODS, Operation};

use crate::request_operation::{OTHER_METHOD, RequestOperation, method_label};

/// The counters that the process exports.
pub static COUNTERS: RequestCounters = RequestCounters::new();

/// The statuses whose counters are kept. A request with another status looks its counter up in the recorder.
const STATUSES: [u16; 17] =
    [200, 204, 206, 304, 400, 401, 403, 404, 405, 409, 411, 412, 416, 422, 500, 501, 503];
/// The number of methods: those of S3, and one place for all others.
const METHOD_PLACES: usize = METHODS.len() + 1;
/// The number of places. An operation of S3 has one method and so one place. SQL, PostgreSQL logins, preflight requests,
/// websites and unknown operations have one place for each method.
const PLACES: usize = Operation::COUNT + 5 * METHOD_PLACES;

/// The counters of answered requests, one for each operation, method and status.
pub struct RequestCounters {
    kept: [[OnceLock<Counter>; STATUSES.len()]; PLACES],
}

impl RequestCounters {
    /// Makes the counters, of which none is registered. Each registers with the recorder that is installed at its first
    /// use.
    pub const fn new() -> Self {
        Self { kept: [const { [const { OnceLock::new() }; STATUSES.len()] }; PLACES] }
    }

    /// Counts one answered request. The recorder must be installed before the first call, since a counter that was
    /// registered without one counts nothing.
    pub fn count(&self, operation: RequestOperation, method: &Method, status: u16) {
        self.count_labelled(operation, method_label(method), status);
    }

    /// Counts a request whose head could not be read, as [`Self::count`] does.
    pub fn count_unreadable(&self, status: u16) {
        self.count_labelled(RequestOperation::Unknown, OTHER_METHOD, status);
    }

    fn count_labelled(&self, operation: RequestOperation, method: &'static str, status: u16) {
        match STATUSES.iter().position(|known| *known == status) {
            Some(index) => self.kept[place(operation, method)][index]
                .get_or_init(|| register(operation, method, status))
                .increment(1),
            None => register(operation, method, status).increment(1),
        }
    }
}

fn place(operation: RequestOperation, method: &str) -> usize {
    let of_method = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len());
    let own = |index: usize| Operation::COUNT + index * METHOD_PLACES + of_method;
    match operation {
        RequestOperation::S3(operation) => operation as usize,
        RequestOperation::Sql => own(0),
        RequestOperation::PostgresLogin => own(1),
        RequestOperation::Preflight => own(2),
        RequestOperation::Website => own(3),
        RequestOperation::Unknown => own(4),
    }
}

fn register(operation: RequestOperation, method: &'static str, status: u16) -> Counter {
    metrics::counter!(
        "siltstone_requests_total",
        "method" => method,
        "status" => status.to_string(),
        "operation" => operation.name()
    )
}
