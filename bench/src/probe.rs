//! What the machine itself can do, measured with nothing in between. A rate of the store says little
//! without the disk's and the processor's of the same hour: shared machines change under a run.

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

/// What one append holds.
const APPEND_BYTES: usize = 4096;
/// What one write or one digest step holds.
const PIECE_BYTES: usize = 1 << 20;

/// How long, and how much.
#[derive(Clone, Debug)]
pub struct Probe {
    /// A folder on the disk that the store uses.
    pub dir: PathBuf,
    /// How long appends and digests are repeated.
    pub time: Duration,
    /// How long the sequential file gets.
    pub file_bytes: u64,
    /// After how many bytes it is synced.
    pub sync_bytes: u64,
}

/// What the machine can do.
pub struct ProbeMeasurement {
    /// Appends of 4 KiB to a fresh file, each with an `fdatasync`.
    pub appends: Latencies,
    /// Appends per second.
    pub appends_per_second: f64,
    /// Sequential write, MiB per second.
    pub write: f64,
    /// MD5 on one core, MiB per second.
    pub md5: f64,
}

impl ProbeMeasurement {
    /// As a report of a subcommand.
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
    /// Measures everything. Blocks; leaves no file.
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

    /// The disk's rate for one long file, in MiB per second.
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

fn noise(bytes: usize) -> Bytes {
    ObjectSet::new("", "", bytes).body(0)
}

/// A new file that goes when it is dropped.
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
