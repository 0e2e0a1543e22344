//! Measures the machine itself, without a store. A rate of the store means little unless the disk's and the
//! processor's rates of the same hour are known: the speed of a shared machine changes during a run.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use md5::{Digest, Md5};

use crate::latency::Latencies;
use crate::object::ObjectSet;
use crate::report::FigureReport;
use crate::stopwatch::{Cost, Stopwatch};

/// The length of one append, in bytes.
const APPEND_BYTES: usize = 4096;
/// The length of one sequential write, and of one step of the digest, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// The parameters of a probe.
#[derive(Clone, Debug)]
pub struct Probe {
    /// A folder on the disk that the store uses.
    pub dir: PathBuf,
    /// The time for which appends, and then digests, are repeated.
    pub time: Duration,
    /// The length of the sequential file in bytes, rounded up to whole MiB.
    pub file_bytes: u64,
    /// The number of bytes after which the sequential file is synced.
    pub sync_bytes: u64,
}

/// The rates of the machine.
pub struct ProbeMeasurement {
    /// Latencies of appends of 4 KiB to a new file, each with an `fdatasync`.
    pub appends: Latencies,
    /// Appends per second.
    pub appends_per_second: f64,
    /// The rate of sequential writes, in MiB per second.
    pub write: f64,
    /// The rate of MD5 on one core, in MiB per second.
    pub md5: f64,
}

impl ProbeMeasurement {
    /// Returns the figures as a report, in the order in which they are printed: appends before the sequential
    /// write and MD5.
    pub fn report(&self) -> FigureReport {
        FigureReport::new("probe")
            .number("appends_per_second", self.appends_per_second)
            .number("append_p50_ms", self.appends.percentile_ms(50.0))
            .number("append_p99_ms", self.appends.percentile_ms(99.0))
            .number("write_mib_per_second", self.write)
            .number("md5_mib_per_second", self.md5)
            .note("appends: 4 KiB at the end of a fresh file, one fdatasync each")
            .note("write: a fresh file from its beginning, one fdatasync per --sync-bytes")
            .note("md5: one core, the implementation that the server uses")
    }
}

impl Probe {
    /// Measures appends, then the sequential write, then MD5.
    ///
    /// Blocks the thread for the whole time. Fails if a file cannot be made, written or synced. The files are
    /// removed, also after an error.
    pub fn run(&self) -> anyhow::Result<ProbeMeasurement> {
        let (appends, cost) = self.appends()?;
        Ok(ProbeMeasurement {
            appends_per_second: cost.per_second(appends.count()),
            appends,
            write: self.write()?,
            md5: self.md5(),
        })
    }

    fn appends(&self) -> anyhow::Result<(Latencies, Cost)> {
        let mut fresh = TemporaryFile::new(&self.dir)?;
        let block = noise(APPEND_BYTES);
        let mut latencies = Latencies::new();
        let stopwatch = Stopwatch::start();
        while stopwatch.stop().elapsed < self.time {
            let began = Instant::now();
            fresh.file.write_all(&block)?;
            fresh.file.sync_data()?;
            latencies.record(began.elapsed());
        }
        Ok((latencies, stopwatch.stop()))
    }

    /// Measures the sequential write of one new file, with all syncs, in MiB per second.
    ///
    /// Blocks the thread until the file is written. Fails if the file cannot be made, written or synced; the
    /// file is removed, also after an error.
    pub fn write(&self) -> anyhow::Result<f64> {
        let mut fresh = TemporaryFile::new(&self.dir)?;
        let piece = noise(PIECE_BYTES);
        let stopwatch = Stopwatch::start();
        let (mut written, mut synced) = (0, 0);
        while written < self.file_bytes {
            fresh.file.write_all(&piece)?;
            written += piece.len() as u64;
            if written - synced >= self.sync_bytes {
                fresh.file.sync_data()?;
                synced = written;
            }
        }
        fresh.file.sync_data()?;
        Ok(stopwatch.stop().mib_per_second(written))
    }

    fn md5(&self) -> f64 {
        let piece = noise(PIECE_BYTES);
        let mut hash = Md5::new();
        let mut hashed = 0;
        let stopwatch = Stopwatch::start();
        while stopwatch.stop().elapsed < self.time {
            hash.update(&piece);
            hashed += piece.len() as u64;
        }
        let cost = stopwatch.stop();
        std::hint::black_box(hash.finalize());
        cost.mib_per_second(hashed)
    }
}

/// Bytes that do not compress.
fn noise(bytes: usize) -> Bytes {
    ObjectSet::new("", "", bytes).body(0)
}

/// A new file that is removed when the value is dropped.
struct TemporaryFile {
    path: PathBuf,
    file: File,
}

impl TemporaryFile {
    fn new(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(format!("siltstone-bench-probe-{}", std::process::id()));
        let file = File::options().write(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, file })
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            eprintln!("siltstone-bench: {} is left behind: {error}", self.path.display());
        }
    }
}
