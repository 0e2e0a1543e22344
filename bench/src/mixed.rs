//! What a large upload does to small writes: the same small-PUT load, first alone, then beside uploads.
//!
//! Both loads are closed loops over the same number of connections, so the second one offers as much as
//! the first one only as long as the store keeps up. The rates stand beside the percentiles for that
//! reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::LoadTarget;
use crate::load::{self, Load, LoadEnd, LoadWork};
use crate::object::ObjectSet;
use crate::report::FigureReport;
use crate::upload::{UploadMeasurement as Uploaded, UploadRun};

/// A quiet phase, then a loud one.
pub struct Mixed {
    /// Where the small objects go.
    pub bucket: String,
    /// Their size.
    pub small_bytes: usize,
    /// How many connections send them.
    pub connections: usize,
    /// How long the quiet phase takes.
    pub quiet: Duration,
    /// What makes the second phase loud.
    pub upload: UploadRun,
    /// How often, one after the other. The loud phase is as long as these take.
    pub uploads: usize,
}

/// What both phases found.
pub struct MixedMeasurement {
    quiet: load::LoadMeasurement,
    loud: load::LoadMeasurement,
    uploads: Vec<Uploaded>,
}

impl MixedMeasurement {
    /// p99 of small PUTs alone, in milliseconds.
    pub fn quiet_p99_ms(&self) -> f64 {
        self.quiet.latencies.percentile_ms(99.0)
    }

    /// p99 of small PUTs beside uploads, in milliseconds.
    pub fn loud_p99_ms(&self) -> f64 {
        self.loud.latencies.percentile_ms(99.0)
    }

    /// The latter over the former.
    pub fn ratio(&self) -> f64 {
        self.loud_p99_ms() / self.quiet_p99_ms()
    }

    /// As a report of a subcommand.
    pub fn report(&self) -> FigureReport {
        let rates: f64 = self.uploads.iter().map(Uploaded::rate).sum();
        FigureReport::new("mixed")
            .number("p99_ratio", self.ratio())
            .number("quiet_p99_ms", self.quiet_p99_ms())
            .number("loud_p99_ms", self.loud_p99_ms())
            .number("quiet_p50_ms", self.quiet.latencies.percentile_ms(50.0))
            .number("loud_p50_ms", self.loud.latencies.percentile_ms(50.0))
            .number("quiet_max_ms", self.quiet.latencies.max_ms())
            .number("loud_max_ms", self.loud.latencies.max_ms())
            .number("quiet_requests_per_second", self.quiet.rate())
            .number("loud_requests_per_second", self.loud.rate())
            .count("quiet_requests", self.quiet.requests)
            .count("loud_requests", self.loud.requests)
            .count("failures", self.quiet.failures + self.loud.failures)
            .number("upload_mib_per_second", rates / self.uploads.len() as f64)
            .count("uploads", self.uploads.len() as u64)
            .number("quiet_client_cpu_seconds", self.quiet.cost.cpu.as_secs_f64())
            .number("loud_client_cpu_seconds", self.loud.cost.cpu.as_secs_f64())
            .note("small PUTs: a closed loop over the same connections in both phases")
            .note(
                "UNSIGNED-PAYLOAD; the uploads' client runs on the same threads as the small PUTs'",
            )
    }
}

impl Mixed {
    /// Runs both phases.
    pub async fn run(&self, target: &Arc<LoadTarget>) -> anyhow::Result<MixedMeasurement> {
        let small = |prefix, until| Load {
            work: LoadWork::Put { keys: u64::MAX, signs_payload: false },
            objects: ObjectSet::new(&self.bucket, prefix, self.small_bytes),
            connections: self.connections,
            until,
            rate: None,
        };
        let quiet = load::run(target, small("quiet/", LoadEnd::Elapsed(self.quiet))).await?;
        let told = Arc::new(AtomicBool::new(false));
        let loud = load::run(target, small("loud/", LoadEnd::Told(told.clone())));
        let uploads = async {
            let done = self.uploads(target).await;
            // Whatever happened: else the small load would go on for ever.
            told.store(true, Ordering::Relaxed);
            done
        };
        let (loud, uploads) = tokio::try_join!(loud, uploads)?;
        Ok(MixedMeasurement { quiet, loud, uploads })
    }

    async fn uploads(&self, target: &Arc<LoadTarget>) -> anyhow::Result<Vec<Uploaded>> {
        let mut done = Vec::new();
        for _ in 0..self.uploads {
            done.push(self.upload.run(target).await?);
        }
        Ok(done)
    }
}
