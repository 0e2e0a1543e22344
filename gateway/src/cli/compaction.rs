//! `siltstone compaction status`: prints the background jobs of a running server.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context;

use super::client;
use super::status::size;
use crate::admin::compaction::{Job, PartitionJobs};

/// The largest number of ended jobs that are shown for each partition.
const SHOWN: usize = 8;

fn line(text: &mut String, state: &str, job: &Job) -> std::fmt::Result {
    let error = job.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
    writeln!(
        text,
        "  {state:<8} {:<10} {:>9.3} s {:>11} {:>10} entries  {}{error}",
        job.kind,
        job.seconds,
        size(job.bytes),
        job.entries,
        job.reason,
    )
}

/// The report as text, with units.
fn words(report: &[PartitionJobs]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for one in report {
        writeln!(text, "partition {}", one.partition)?;
        for job in &one.running {
            line(&mut text, "running", job)?;
        }
        for job in one.ended.iter().take(SHOWN) {
            line(&mut text, if job.error.is_some() { "failed" } else { "ended" }, job)?;
        }
        for totals in one.totals.iter().filter(|totals| totals.ended > 0) {
            writeln!(
                text,
                "  {:<10} {} ended, {} failed, {} in {:.1} s",
                totals.kind,
                totals.ended,
                totals.failed,
                size(totals.bytes),
                totals.seconds,
            )?;
        }
    }
    Ok(text)
}

/// `siltstone compaction status`: prints the background jobs of a running server. Fails if the server cannot be reached
/// and if its response is not a report.
pub fn status(admin: &str, is_json: bool) -> anyhow::Result<ExitCode> {
    let text = client::get(admin, "/compaction")?;
    let report: Vec<PartitionJobs> =
        serde_json::from_str(&text).context("the answer is not a report of jobs")?;
    let shown = if is_json { text + "\n" } else { words(&report)? };
    // The reader may have closed the pipe, as `head` does.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use compactor::jobs::board::{JobKind, JobReport, JobTotals, JobsStatus};

    use super::*;
    use crate::admin::compaction::of;

    #[test]
    fn jobs_are_shown_with_reason_size_and_error() {
        let job = |kind, error: Option<&str>| JobReport {
            kind,
            reason: "4 runs of level 0 stand together, 4 are merged".into(),
            entries: 1000,
            bytes: 1 << 20,
            took: Duration::from_millis(1500),
            error: error.map(str::to_owned),
        };
        let totals =
            JobTotals { ended: 3, failed: 1, bytes: 3 << 20, took: Duration::from_secs(4) };
        let jobs = JobsStatus {
            running: vec![job(JobKind::Compaction, None)],
            ended: vec![job(JobKind::Compaction, Some("no space")), job(JobKind::Flush, None)],
            totals: [(JobKind::Compaction, totals)].into(),
        };
        let text = words(&[of(2, &jobs)]).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert_eq!(lines[0], "partition 2");
        assert!(lines[1].starts_with("  running  compaction     1.500 s     1.0 MiB"), "{text}");
        assert!(lines[2].ends_with("4 are merged: no space"), "{text}");
        assert!(lines[3].starts_with("  ended    flush"), "{text}");
        assert_eq!(lines[4], "  compaction 3 ended, 1 failed, 3.0 MiB in 4.0 s");
    }
}
