//! A count of consecutive failures of a repeated action.

use parking_lot::Mutex;

/// The number of consecutive failures, and the last error.
#[derive(Default)]
pub(crate) struct FailureCount(Mutex<(u32, String)>);

impl FailureCount {
    /// Notes a success, which sets the count to 0.
    pub fn done(&self) {
        *self.0.lock() = (0, String::new());
    }

    /// Notes a failure with its error.
    pub fn fail(&self, error: &dyn std::error::Error) {
        let mut failed = self.0.lock();
        *failed = (failed.0.saturating_add(1), error.to_string());
    }

    /// Returns the number of failures since the last success, and the text of the last error; 0 and an
    /// empty text after a success.
    pub fn failed(&self) -> (u32, String) {
        self.0.lock().clone()
    }
}
