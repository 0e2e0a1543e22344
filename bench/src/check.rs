//! The `check` subcommand: judges a history that `history` has recorded.
//!
//! ```text
//!  FILE.jsonl ──► recording ─┬► answers ................ each answer by itself
//!                            ├► claims ─┬► register ──► search   the order on each key
//!                            │          └► listings ............ each page against all keys
//!                            └► availability ........... operations and gaps during faults
//! ```
//!
//! If nothing is found, these hold: every answer was right by itself; the operations on each key have an
//! order that agrees with real time and explains every answer (the key is linearizable); every page of a
//! listing shows all objects that were certainly there, and none that certainly were not. `listings.rs`
//! defines "certainly".
//!
//! Not checked: an order across keys, which S3 does not promise; versions, copies, ranges, tags and metadata,
//! which no operation of a history uses; that the store answers at all, which is shown by the counts and,
//! with `--faults`, by the gaps.
//!
//! Keys are judged one by one: a history is linearizable if its operations on each key are (Herlihy and Wing
//! 1990, locality). A key that cannot be decided within bounds is a failure.

mod answers;
mod availability;
mod claims;
mod listings;
mod recording;
mod register;
mod search;
#[cfg(test)]
mod simulated;
mod tally;
mod violation;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use availability::Availability;
use claims::KeyClaims;
use recording::Recording;
use register::Judgement;
use tally::HistoryTally;
use violation::{BrokenPromise, Violation};

/// The most violations that are shown. One fault of a store often causes hundreds.
const VIOLATIONS_SHOWN: usize = 20;

/// Judges a history that `history` has recorded.
#[derive(Args)]
pub struct HistoryCheck {
    /// The history file that `history` has written.
    file: PathBuf,
    /// A file with the faults that were injected during the history: a JSON object in each line, with `fault`
    /// (a name), and `begin` and `end` in seconds since 1970.
    #[arg(long)]
    faults: Option<PathBuf>,
}

impl HistoryCheck {
    /// Judges the history and prints the report to standard output, as one line of JSON or as text.
    ///
    /// Fails if a file cannot be read or, after the report was printed, if there is a violation. An undecided
    /// key is a violation.
    pub fn run(&self, as_json: bool) -> anyhow::Result<()> {
        let began = Instant::now();
        let recording = Recording::read(&self.file)?;
        let faults = self.faults.as_deref().map(availability::read).transpose()?;
        let mut report = CheckReport::of(&recording);
        report.faults = availability::of(&recording, &faults.unwrap_or_default());
        report.seconds = began.elapsed().as_secs_f64();
        match as_json {
            true => println!("{}", serde_json::to_string(&report)?),
            false => print!("{}", report.text(&recording)),
        }
        match report.violations {
            0 => Ok(()),
            violations => bail!("violations in {:?}: {violations}", self.file),
        }
    }
}

/// The report of a check, as printed in JSON.
#[derive(Serialize)]
struct CheckReport {
    command: &'static str,
    is_good: bool,
    operations: u64,
    tally: HistoryTally,
    /// The end of the last operation, in seconds since the beginning of the history.
    history_seconds: f64,
    /// The number of keys whose order was judged.
    keys: usize,
    /// The number of claims about these keys.
    claims: usize,
    /// The number of pages of listings that were judged.
    pages: u64,
    /// The time that the check took, in seconds.
    seconds: f64,
    violations: usize,
    /// The first violations, at most [`VIOLATIONS_SHOWN`].
    shown: Vec<ShownViolation>,
    faults: Vec<Availability>,
    #[serde(skip)]
    found: Vec<Violation>,
}

/// A violation in the form of the JSON report.
#[derive(Serialize)]
struct ShownViolation {
    promise: BrokenPromise,
    bucket: String,
    key: String,
    what: String,
    timeline: Vec<String>,
}

impl CheckReport {
    fn of(recording: &Recording) -> Self {
        let keys = claims::of(recording);
        let mut found = answers::check(recording);
        found.extend(keys.iter().filter_map(order_violation));
        let (of_listings, pages) = listings::check(recording, &keys);
        found.extend(of_listings);
        let shown = found.iter().take(VIOLATIONS_SHOWN).map(|violation| ShownViolation {
            promise: violation.promise,
            bucket: violation.place.0.clone(),
            key: violation.place.1.clone(),
            what: violation.what.clone(),
            timeline: violation.timeline(recording),
        });
        let ends = recording.operations.iter().filter_map(|operation| operation.end());
        Self {
            command: "check",
            is_good: found.is_empty(),
            operations: recording.operations.len() as u64,
            tally: HistoryTally::of(&recording.operations),
            history_seconds: ends.max().unwrap_or(0) as f64 / 1e9,
            keys: keys.len(),
            claims: keys.iter().map(|key| key.claims.len()).sum(),
            pages,
            seconds: 0.0,
            violations: found.len(),
            shown: shown.collect(),
            faults: Vec::new(),
            found,
        }
    }

    fn text(&self, recording: &Recording) -> String {
        let mut text =
            format!("check\n  {:<16}{:>10}{:>10}{:>10}\n", "", "ok", "failed", "unknown");
        for (kind, counts) in &self.tally.kinds {
            text += &row(kind, counts);
        }
        text += &row("all", &self.tally.total());
        for (reason, count) in &self.tally.reasons {
            text += &format!("  {count:>10} {reason}\n");
        }
        text += &format!(
            "  {:.1} s of history; {} keys and {} claims of them, {} pages; checked in {:.1} s\n",
            self.history_seconds, self.keys, self.claims, self.pages, self.seconds
        );
        for fault in &self.faults {
            text += &fault.text(&recording.setup.endpoints);
        }
        for violation in self.found.iter().take(VIOLATIONS_SHOWN) {
            text += &format!("\n{}", violation.text(recording));
        }
        match self.violations {
            0 => text + "  no violation\n",
            count => text + &format!("\nviolations: {count}\n"),
        }
    }
}

fn row(kind: &str, counts: &tally::OutcomeCounts) -> String {
    format!("  {kind:<16}{:>10}{:>10}{:>10}\n", counts.ok, counts.failed, counts.unknown)
}

fn order_violation(key: &KeyClaims) -> Option<Violation> {
    let (promise, what, operations) = match register::judge(&key.claims) {
        Judgement::Linearizable => return None,
        Judgement::Contradiction(operations) => {
            let what = "no order explains these operations, whatever became of the others";
            (BrokenPromise::Order, what, operations)
        }
        Judgement::Undecided => {
            (BrokenPromise::Undecided, "undecided: too many operations overlap", Vec::new())
        }
    };
    Some(Violation { promise, place: key.name.clone(), what: what.into(), operations })
}
