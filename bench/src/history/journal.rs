//! Writes the lines of a history, and keeps its clock.
//!
//! Lines reach the file in the order in which they are given, so what a killed process leaves is a
//! beginning of the history: nothing in it was seen that is not in it as begun. Such a beginning is a
//! history of its own, and can be checked. Nothing is synced: the machine is not what fails here.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Instant, SystemTime};

use anyhow::Context;

use super::line::HistoryLine;

/// A history file that is being written.
pub struct Journal {
    began: Instant,
    file: Mutex<BufWriter<File>>,
}

impl Journal {
    /// Makes the file, and starts the clock. A file that is there already is not touched: it may be the
    /// evidence of something.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create_new(path).with_context(|| format!("cannot make {path:?}"))?;
        Ok(Self { began: Instant::now(), file: Mutex::new(BufWriter::new(file)) })
    }

    /// Nanoseconds since the clock was started.
    pub fn ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Adds a line.
    pub fn write(&self, line: &HistoryLine) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.with_file(|file| file.write_all(&text))
    }

    /// Hands all lines to the operating system, which keeps them when this process is killed.
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

/// Milliseconds since 1970 on the wall clock.
pub fn unix_ms() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis() as u64)
}
