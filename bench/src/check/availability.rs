//! Measures which operations succeeded during faults, and how long none did.
//!
//! A file of faults has a JSON object in each line: `fault` (its name), `begin` and `end`, both in seconds
//! since 1970. Without `end` the fault lasted until the history ended. An operation belongs to the fault
//! during which it began. A gap is the time between the ends of two consecutive successes of a kind (reads or
//! writes). The first gap begins with the history, and the last one ends with the history. A gap that
//! overlaps a fault counts in full. Clients wait for their answers, so a gap is never shorter than the outage
//! of the store, and may be a little longer.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::recording::Recording;
use super::tally::OutcomeCounts;
use crate::history::line::{Action, OperationOutcome};

/// The least length of a write gap that counts as an outage, in seconds; see
/// [`SuccessGaps::writes_back_after`].
const OUTAGE_SECONDS: f64 = 1.0;

/// A fault as recorded by the program that caused it.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct RecordedFault {
    /// The name of the fault.
    pub fault: String,
    /// The beginning of the fault, in seconds since 1970.
    pub begin: f64,
    /// The end of the fault, in seconds since 1970; `None` if the fault lasted until the history ended.
    pub end: Option<f64>,
}

/// Reads a file of faults, in the order of its lines; empty lines are skipped.
///
/// Fails if the file cannot be read, or if a line is not a [`RecordedFault`] in JSON.
pub fn read(path: &Path) -> anyhow::Result<Vec<RecordedFault>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Operations and gaps during one fault. Times are in seconds since the beginning of the history.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Availability {
    /// The name of the fault.
    pub fault: String,
    /// The beginning of the fault; negative if the fault is older than the history.
    pub begin: f64,
    /// The end of the fault, or of the history if that is earlier.
    pub end: f64,
    /// Reads that began during the fault.
    pub reads: OutcomeCounts,
    /// Writes that began during the fault.
    pub writes: OutcomeCounts,
    /// Gaps over all endpoints together.
    pub all: SuccessGaps,
    /// Gaps of each endpoint, in the order of the setup's endpoints.
    pub endpoints: Vec<SuccessGaps>,
}

/// Gaps between successes that overlap a fault. All fields are in seconds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SuccessGaps {
    /// The longest gap between reads; 0 if no gap overlaps the fault.
    pub longest_read_gap: f64,
    /// The longest gap between writes; 0 if no gap overlaps the fault.
    pub longest_write_gap: f64,
    /// The time from the fault's begin to the earliest end of a successful write that began after it. `None`
    /// if there is no such write. A write that succeeds before the fault has its effect counts, too.
    pub next_write_after: Option<f64>,
    /// The time from the fault's begin until writes succeeded again: the end of the last gap of at least one
    /// second that overlaps the fault. 0 if there was no such gap, `None` if the gap lasted until the history
    /// ended.
    pub writes_back_after: Option<f64>,
}

impl Availability {
    /// Formats the figures as indented lines for people: counts first, then all endpoints, then each
    /// endpoint.
    ///
    /// `endpoints` must be the setup's endpoints, in the same order as the field of that name.
    pub fn text(&self, endpoints: &[String]) -> String {
        let Self { fault, begin, end, reads, writes, .. } = self;
        let mut text = format!("  {fault}: {begin:.1} s to {end:.1} s\n");
        for (name, OutcomeCounts { ok, failed, unknown }) in [("reads", reads), ("writes", writes)]
        {
            text += &format!("    {name:<7}{ok} ok, {failed} failed, {unknown} unknown\n");
        }
        text += &self.all.text("all");
        for (endpoint, gaps) in endpoints.iter().zip(&self.endpoints) {
            text += &gaps.text(endpoint);
        }
        text
    }
}

impl SuccessGaps {
    fn text(&self, of: &str) -> String {
        let Self { longest_read_gap, longest_write_gap, next_write_after, writes_back_after } =
            self;
        let next = next_write_after.map_or("never".into(), |seconds| format!("{seconds:.2} s"));
        let back = match writes_back_after {
            Some(0.0) => String::new(),
            Some(seconds) => format!(", writes back after {seconds:.1} s"),
            None => ", writes not back".into(),
        };
        format!(
            "    {of}: longest gap {longest_read_gap:.2} s of reads, {longest_write_gap:.2} s of writes; next write {next}{back}\n"
        )
    }
}

/// Computes the availability during each fault, in the order of `faults`.
///
/// Only operations that began between a fault's begin and end count as its reads and writes. The parts of an
/// upload are one of the writes, but never end a gap, since they change no object.
pub fn of(recording: &Recording, faults: &[RecordedFault]) -> Vec<Availability> {
    let successes = Successes::of(recording);
    let zero = recording.setup.unix_ms as f64 / 1e3;
    let during = |fault: &RecordedFault| {
        let (begin, end) = (fault.begin - zero, fault.end.map_or(f64::INFINITY, |end| end - zero));
        let end = end.min(successes.end);
        let (mut reads, mut writes) = (OutcomeCounts::default(), OutcomeCounts::default());
        for operation in &recording.operations {
            if (begin..=end).contains(&seconds(operation.begin())) {
                let counts =
                    if operation.invoke.action.is_read() { &mut reads } else { &mut writes };
                counts.add(operation.outcome());
            }
        }
        let gaps = |endpoint| successes.gaps(endpoint, begin, end);
        let endpoints = (0..recording.setup.endpoints.len()).map(|endpoint| gaps(Some(endpoint)));
        Availability {
            fault: fault.fault.clone(),
            begin,
            end,
            reads,
            writes,
            all: gaps(None),
            endpoints: endpoints.collect(),
        }
    };
    faults.iter().map(during).collect()
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// An operation that succeeded. Times are in seconds since the beginning of the history.
#[derive(Clone, Copy)]
struct Success {
    began: f64,
    ended: f64,
    endpoint: usize,
}

/// All successes of a history, reads and writes apart, each in the order in which the operations ended.
struct Successes {
    reads: Vec<Success>,
    writes: Vec<Success>,
    /// The end of the last operation, in seconds since the beginning of the history.
    end: f64,
}

impl Successes {
    fn of(recording: &Recording) -> Self {
        let (mut reads, mut writes, mut end) = (Vec::new(), Vec::new(), 0.0_f64);
        for operation in &recording.operations {
            end = end.max(seconds(operation.end().unwrap_or(operation.begin())));
            let Some(ns) = operation.end() else { continue };
            // The parts of an upload change no object, so they are not a write yet.
            let is_upload = matches!(operation.invoke.action, Action::Upload { .. });
            if operation.outcome() == OperationOutcome::Ok && !is_upload {
                let is_read = operation.invoke.action.is_read();
                let successes = if is_read { &mut reads } else { &mut writes };
                successes.push(Success {
                    began: seconds(operation.begin()),
                    ended: seconds(ns),
                    endpoint: operation.invoke.endpoint as usize,
                });
            }
        }
        reads.sort_by(|one: &Success, other| one.ended.total_cmp(&other.ended));
        writes.sort_by(|one: &Success, other| one.ended.total_cmp(&other.ended));
        Self { reads, writes, end }
    }

    /// Computes the gaps of one endpoint, or of all if `endpoint` is `None`, that overlap `begin` to `end`.
    fn gaps(&self, endpoint: Option<usize>, begin: f64, end: f64) -> SuccessGaps {
        let is_there = |success: &&Success| endpoint.is_none_or(|there| success.endpoint == there);
        let between = |successes: &[Success]| -> Vec<(f64, f64)> {
            let ends = successes.iter().filter(is_there).map(|success| success.ended);
            let ends = ends.chain([self.end]);
            let gaps = ends.scan(0.0, |last, at| Some((std::mem::replace(last, at), at)));
            gaps.filter(|(from, to)| *to > begin && *from < end).collect()
        };
        let longest =
            |gaps: &[(f64, f64)]| gaps.iter().map(|(from, to)| to - from).fold(0.0, f64::max);
        let writes = between(&self.writes);
        let mut later = self.writes.iter().filter(is_there).filter(|write| write.began > begin);
        let outages = writes.iter().filter(|(from, to)| to - from >= OUTAGE_SECONDS);
        let writes_back_after = match outages.map(|(_, to)| *to).next_back() {
            None => Some(0.0),
            Some(to) if to >= self.end => None,
            Some(to) => Some((to - begin).max(0.0)),
        };
        SuccessGaps {
            longest_read_gap: longest(&between(&self.reads)),
            longest_write_gap: longest(&writes),
            next_write_after: later.next().map(|write| write.ended - begin),
            writes_back_after,
        }
    }
}

#[cfg(test)]
mod tests;
