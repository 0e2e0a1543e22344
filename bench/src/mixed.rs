//! Measures the effect of a large upload on small writes: the same load of small PUTs, first alone, then
//! beside uploads.
//!
//! Both loads are closed loops over the same number of connections, so the second one sends as many requests
//! as the first one only as long as the store keeps up. For that reason the rates are reported beside the
//! percentiles.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::LoadTarget;
use crate::load::{self, Load, LoadEnd, LoadWork};
use crate::object::ObjectSet;
use crate::report::FigureReport;
use crate::upload::{UploadMeasurement as Uploaded, UploadRun};

/// A load in two phases: a quiet one, then a loud one.
pub struct Mixed {
    /// The bucket of the small objects.
    pub bucket: String,
    /// The size of a small object, in bytes.
    pub small_bytes: usize,
    /// The number of connections of the small load.
    pub connections: usize,
    /// The length of the quiet phase.
    pub quiet: Duration,
    /// The upload of the loud phase.
    pub upload: UploadRun,
    /// The number of uploads, one after the other. The loud phase ends with the last of them.
    pub uploads: usize,
}

/// The figures of both phases.
pub struct MixedMeasurement {
    quiet: load::LoadMeasurement,
    loud: load::LoadMeasurement,
    uploads: Vec<Uploaded>,
}

impl MixedMeasurement {
    /// Returns the p99 of small PUTs alone, in milliseconds; 0 if none of them succeeded before the phase
    /// ended.
    pub fn quiet_p99_ms(&self) -> f64 {
        self.quiet.latencies.percentile_ms(99.0)
    }

    /// Returns the p99 of small PUTs beside uploads, in milliseconds; 0 if none of them succeeded before the
    /// uploads ended.
    pub fn loud_p99_ms(&self) -> f64 {
        self.loud.latencies.percentile_ms(99.0)
    }

    /// Returns the loud p99 divided by the quiet one; not a finite number unless a quiet PUT succeeded.
    pub fn ratio(&self) -> f64 {
        self.loud_p99_ms() / self.quiet_p99_ms()
    }

    /// Returns the figures of both phases as a report, in the order in which they are printed: the ratio
    /// first. The upload rate is the mean over all uploads.
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
    /// Runs the quiet phase, then the loud one, which ends after the last upload.
    ///
    /// Fails if one of the loads or an upload fails; the other one is then dropped. Both phases write new
    /// keys from the first number on.
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
            // Set also after an error: otherwise the small load would never end.
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
