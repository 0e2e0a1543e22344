//! How many operations of each kind ended how, and why those failed that did.

use std::collections::BTreeMap;

use serde::Serialize;

use super::recording::RecordedOperation;
use crate::history::line::OperationOutcome;

/// Operations by their outcome.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct OutcomeCounts {
    /// Done.
    pub ok: u64,
    /// Not done.
    pub failed: u64,
    /// Nobody knows.
    pub unknown: u64,
}

impl OutcomeCounts {
    /// Counts an operation.
    pub fn add(&mut self, outcome: OperationOutcome) {
        match outcome {
            OperationOutcome::Ok => self.ok += 1,
            OperationOutcome::Fail => self.failed += 1,
            OperationOutcome::Unknown => self.unknown += 1,
        }
    }
}

/// All operations of a history.
#[derive(Clone, Default, Debug, Serialize)]
pub struct HistoryTally {
    /// By their kinds.
    pub kinds: BTreeMap<&'static str, OutcomeCounts>,
    /// Those that were not done, and those of which nobody knows, by what was answered.
    pub reasons: BTreeMap<String, u64>,
}

impl HistoryTally {
    /// Counts operations.
    pub fn of(operations: &[RecordedOperation]) -> Self {
        let mut tally = Self::default();
        for operation in operations {
            let outcome = operation.outcome();
            tally.kinds.entry(operation.invoke.action.kind()).or_default().add(outcome);
            if outcome != OperationOutcome::Ok {
                *tally.reasons.entry(reason(operation)).or_default() += 1;
            }
        }
        tally
    }

    /// Operations of all kinds.
    pub fn total(&self) -> OutcomeCounts {
        self.kinds.values().fold(OutcomeCounts::default(), |sum, counts| OutcomeCounts {
            ok: sum.ok + counts.ok,
            failed: sum.failed + counts.failed,
            unknown: sum.unknown + counts.unknown,
        })
    }
}

fn reason(operation: &RecordedOperation) -> String {
    let Some(ending) = operation.ending() else { return "never answered".into() };
    let status = ending.status.map(|status| status.to_string());
    // What comes after a colon is the system's own words, which vary.
    let code = ending.code.as_ref().map(|code| code.split(':').next().unwrap_or_default());
    let words = status.as_deref().into_iter().chain(code);
    words.collect::<Vec<_>>().join(" ")
}
