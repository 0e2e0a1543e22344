//! The counter of answered requests, by operation, method and status.
//!
//! A counter is registered when the first request of its labels is answered, and kept: counting is one load and one
//! addition, without a lock or an allocation. The labels are bounded by the table of operations, S3's methods and the
//! statuses that this server answers.

use std::sync::OnceLock;

use http::Method;
use metrics::Counter;
use s3::operation::{METHODS, Operation};

use crate::request_operation::{RequestOperation, method_label};

/// The counters that the process exports.
pub static COUNTERS: RequestCounters = RequestCounters::new();

/// The statuses whose counters are kept: those of S3's and SQL's answers.
const STATUSES: [u16; 17] =
    [200, 204, 206, 304, 400, 401, 403, 404, 405, 409, 411, 412, 416, 422, 500, 501, 503];
/// S3's methods, and one place for all others.
const METHOD_PLACES: usize = METHODS.len() + 1;
/// One place for each operation of S3's, which has one method. SQL, PostgreSQL logins and unknown operations have one
/// for each method.
const PLACES: usize = Operation::COUNT + 3 * METHOD_PLACES;

/// One counter for each operation, method and status.
pub struct RequestCounters {
    kept: [[OnceLock<Counter>; STATUSES.len()]; PLACES],
}

impl RequestCounters {
    /// Counters of which none is registered. Each registers with the recorder that is installed at its first use.
    pub const fn new() -> Self {
        Self { kept: [const { [const { OnceLock::new() }; STATUSES.len()] }; PLACES] }
    }

    /// Counts one answered request. The recorder must be installed before the first call, since a counter that was
    /// registered without one counts nothing.
    pub fn count(&self, operation: RequestOperation, method: &Method, status: u16) {
        let method = method_label(method);
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
        RequestOperation::Unknown => own(2),
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
