//! How something that is tried again and again goes.

use parking_lot::Mutex;

/// How often something has failed in a row, and how it failed last.
#[derive(Default)]
pub(crate) struct FailureCount(Mutex<(u32, String)>);

impl FailureCount {
    /// Notes a success.
    pub fn done(&self) {
        *self.0.lock() = (0, String::new());
    }

    /// Notes a failure.
    pub fn fail(&self, error: &dyn std::error::Error) {
        let mut failed = self.0.lock();
        *failed = (failed.0.saturating_add(1), error.to_string());
    }

    /// How often it has failed in a row, and how it failed last.
    pub fn failed(&self) -> (u32, String) {
        self.0.lock().clone()
    }
}
