//! Writes the lines of a history, and keeps its clock.
//!
//! Lines reach the file in the order of the calls, so the file of a killed process is a beginning of the
//! history: every answer in it belongs to an operation whose beginning is in it. Such a beginning is a
//! history of its own, and can be checked. Nothing is synced, since a power loss is not among the faults of a
//! history.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Instant, SystemTime};

use anyhow::Context;

use super::line::HistoryLine;

/// A history file that is being written, shared by all clients.
pub struct Journal {
    began: Instant,
    file: Mutex<BufWriter<File>>,
}

impl Journal {
    /// Makes the file, and starts the clock.
    ///
    /// Fails if the file exists: an existing history may be evidence, and is never overwritten.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create_new(path).with_context(|| format!("cannot make {path:?}"))?;
        Ok(Self { began: Instant::now(), file: Mutex::new(BufWriter::new(file)) })
    }

    /// Returns the nanoseconds since the clock was started. The clock is monotonic, so it orders the
    /// operations of all clients.
    pub fn ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Adds a line, after all lines that were added before.
    ///
    /// The line is buffered, and reaches the operating system with a later line or after [`Self::flush`].
    /// Fails if the file cannot be written; the line may then be incomplete.
    pub fn write(&self, line: &HistoryLine) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.with_file(|file| file.write_all(&text))
    }

    /// Passes all lines to the operating system, which keeps them if this process is killed.
    ///
    /// Not durable: nothing is synced. Fails if the file cannot be written.
    pub fn flush(&self) -> anyhow::Result<()> {
        self.with_file(|file| file.flush())
    }

    fn with_file(
        &self,
        act: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut file = self.file.lock().expect("writing does not panic");
        act(&mut file).context("cannot write the history")
    }
}

/// Returns the milliseconds since 1970 on the wall clock; 0 if the clock is before 1970. Not monotonic: only
/// [`Journal::ns`] orders operations.
pub fn unix_ms() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis() as u64)
}
