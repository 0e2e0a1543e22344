//! The report behind `GET /compaction`: the background jobs of each partition.

use compactor::jobs::board::{JobKind, JobReport, JobsStatus};
use serde::{Deserialize, Serialize};

use crate::server::store::Store;

/// The background jobs of one partition.
#[derive(Serialize, Deserialize, Debug)]
pub struct PartitionJobs {
    /// The partition's number.
    pub partition: u32,
    /// Jobs under way, in the order of their start.
    pub running: Vec<Job>,
    /// The last jobs that ended, newest first.
    pub ended: Vec<Job>,
    /// Sums for each kind of job since the server's start.
    pub totals: Vec<Totals>,
}

/// One job.
#[derive(Serialize, Deserialize, Debug)]
pub struct Job {
    /// `cut`, `flush`, `compaction` or `gc`.
    pub kind: String,
    /// The reason for which the job was started.
    pub reason: String,
    /// Entries that the job reads.
    pub entries: u64,
    /// Bytes of the files that the job reads or removes.
    pub bytes: u64,
    /// Seconds since the start of a job that is under way, or that the job took.
    pub seconds: f64,
    /// The error of a job that failed.
    pub error: Option<String>,
}

/// Sums over the ended jobs of one kind.
#[derive(Serialize, Deserialize, Debug)]
pub struct Totals {
    /// The kind of the jobs.
    pub kind: String,
    /// Jobs that ended, failed ones included.
    pub ended: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Bytes of the files that these jobs read or removed.
    pub bytes: u64,
    /// Seconds that these jobs took together.
    pub seconds: f64,
}

/// The jobs of every partition of this server, as of now.
pub fn report(store: &Store) -> Vec<PartitionJobs> {
    let local = store.local().iter();
    local.map(|partition| of(partition.id().get(), &partition.jobs())).collect()
}

/// The report of one partition from the state of its jobs.
pub fn of(partition: u32, jobs: &JobsStatus) -> PartitionJobs {
    let job = |job: &JobReport| Job {
        kind: job.kind.name().to_owned(),
        reason: job.reason.clone(),
        entries: job.entries,
        bytes: job.bytes,
        seconds: job.took.as_secs_f64(),
        error: job.error.clone(),
    };
    let totals = JobKind::ALL.into_iter().map(|kind| {
        let totals = jobs.totals.get(&kind).copied().unwrap_or_default();
        Totals {
            kind: kind.name().to_owned(),
            ended: totals.ended,
            failed: totals.failed,
            bytes: totals.bytes,
            seconds: totals.took.as_secs_f64(),
        }
    });
    PartitionJobs {
        partition,
        running: jobs.running.iter().map(job).collect(),
        ended: jobs.ended.iter().map(job).collect(),
        totals: totals.collect(),
    }
}
