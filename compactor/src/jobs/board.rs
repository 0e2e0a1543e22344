//! The record of background jobs: running jobs with their reasons, and the results of the last ones.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ingest::time::Tick;
use parking_lot::Mutex;

use crate::partition::context::PartitionContext;

/// The kinds of background jobs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum JobKind {
    /// The request of a cut, by a CUT record in the log.
    Cut,
    /// The write of a frozen memtable as a segment and a run.
    Flush,
    /// The merge of several runs into one.
    Compaction,
    /// The removal of files to which nothing refers.
    GarbageCollection,
}

impl JobKind {
    /// All kinds, in the order in which data passes through them.
    pub const ALL: [Self; 4] = [Self::Cut, Self::Flush, Self::Compaction, Self::GarbageCollection];

    /// The name in status output and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Flush => "flush",
            Self::Compaction => "compaction",
            Self::GarbageCollection => "gc",
        }
    }
}

/// One job, running or ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobReport {
    /// The kind of the job.
    pub kind: JobKind,
    /// The reason for which the job was started.
    pub reason: String,
    /// Entries that the job reads.
    pub entries: u64,
    /// Bytes of the files that the job reads or removes.
    pub bytes: u64,
    /// The time since the start of a job that is under way; otherwise the time that the job took.
    pub took: Duration,
    /// The error of a job that failed.
    pub error: Option<String>,
}

/// Sums over all ended jobs of one kind since the partition was opened.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct JobTotals {
    /// Jobs that ended, failed ones included.
    pub ended: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Bytes of the files that these jobs read or removed.
    pub bytes: u64,
    /// The time that these jobs took together.
    pub took: Duration,
}

/// The state of all background jobs of one partition at one moment.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct JobsStatus {
    /// Jobs under way, in the order of their start.
    pub running: Vec<JobReport>,
    /// The last jobs that ended, newest first, at most [`ENDED_MAX`].
    pub ended: Vec<JobReport>,
    /// Sums by kind.
    pub totals: BTreeMap<JobKind, JobTotals>,
}

/// The number of ended jobs that are kept.
pub const ENDED_MAX: usize = 32;

/// Collects the reports of all jobs of one partition. The lock is held only for short copies, never across
/// a wait.
pub(crate) struct JobBoard {
    context: Arc<PartitionContext>,
    state: Mutex<BoardState>,
}

#[derive(Default)]
/// The state behind the board's lock.
struct BoardState {
    next: u64,
    running: BTreeMap<u64, (JobReport, Tick)>,
    ended: VecDeque<JobReport>,
    totals: BTreeMap<JobKind, JobTotals>,
}

/// A job under way. Dropping it without [`RunningJob::end`] reports the job as interrupted.
pub(crate) struct RunningJob {
    board: Arc<JobBoard>,
    number: u64,
}

impl JobBoard {
    /// Makes a board without jobs, at the open of a partition. Reports are kept in memory only.
    pub fn new(context: Arc<PartitionContext>) -> Self {
        Self { context, state: Mutex::default() }
    }

    /// Reports the start of a job that reads `entries` entries and `bytes` bytes, for the given reason. The
    /// returned value must be ended with [`RunningJob::end`]; dropped before, the job counts as failed.
    pub fn begin(
        self: &Arc<Self>,
        kind: JobKind,
        reason: String,
        (entries, bytes): (u64, u64),
    ) -> RunningJob {
        let now = self.context.env.clock.now();
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        let report = JobReport { kind, reason, entries, bytes, took: Duration::ZERO, error: None };
        state.running.insert(number, (report, now));
        RunningJob { board: self.clone(), number }
    }

    /// Returns the state of all jobs now: running ones in the order of their start, ended ones newest
    /// first.
    pub fn status(&self) -> JobsStatus {
        let now = self.context.env.clock.now();
        let state = self.state.lock();
        let running = state.running.values().map(|(report, since)| {
            let took = now.since(*since);
            JobReport { took, ..report.clone() }
        });
        JobsStatus {
            running: running.collect(),
            ended: state.ended.iter().cloned().collect(),
            totals: state.totals.clone(),
        }
    }

    /// Moves a job from the running ones to the ended ones; does nothing for a number that has ended
    /// before.
    fn end(&self, number: u64, error: Option<String>) {
        let now = self.context.env.clock.now();
        let mut state = self.state.lock();
        let Some((report, since)) = state.running.remove(&number) else { return };
        let took = now.since(since);
        let totals = state.totals.entry(report.kind).or_default();
        totals.ended += 1;
        totals.failed += u64::from(error.is_some());
        totals.bytes = totals.bytes.saturating_add(report.bytes);
        totals.took += took;
        state.ended.push_front(JobReport { took, error, ..report });
        state.ended.truncate(ENDED_MAX);
    }
}

impl RunningJob {
    /// Reports the end of the job, with the error if the result is one.
    pub fn end<T, E: std::fmt::Display>(self, result: &Result<T, E>) {
        self.board.end(self.number, result.as_ref().err().map(ToString::to_string));
    }
}

impl Drop for RunningJob {
    fn drop(&mut self) {
        // After `end` the number is unknown to the board, and this call has no effect.
        self.board.end(self.number, Some("interrupted".into()));
    }
}
