//! Counts operations by kind and outcome, and the reasons of those that did not succeed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::recording::RecordedOperation;
use crate::history::line::OperationOutcome;

/// Numbers of operations by outcome.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct OutcomeCounts {
    /// Operations that were done.
    pub ok: u64,
    /// Operations that were certainly not done.
    pub failed: u64,
    /// Operations of unknown outcome.
    pub unknown: u64,
}

impl OutcomeCounts {
    /// Adds one operation of this outcome; an operation that was never answered must be added as unknown.
    pub fn add(&mut self, outcome: OperationOutcome) {
        match outcome {
            OperationOutcome::Ok => self.ok += 1,
            OperationOutcome::Fail => self.failed += 1,
            OperationOutcome::Unknown => self.unknown += 1,
        }
    }
}

/// The counts of a whole history.
#[derive(Clone, Default, Debug, Serialize)]
pub struct HistoryTally {
    /// Outcomes by the name of the operation's kind.
    pub kinds: BTreeMap<&'static str, OutcomeCounts>,
    /// Operations that failed or are unknown, by HTTP status and error code.
    pub reasons: BTreeMap<String, u64>,
}

impl HistoryTally {
    /// Counts all operations by kind; those that failed or are unknown are also counted by reason.
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

    /// Returns the sum over all kinds; only the reasons are not part of the sum.
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
    // The text after a colon is the operating system's message, which varies.
    let code = ending.code.as_ref().map(|code| code.split(':').next().unwrap_or_default());
    let words = status.as_deref().into_iter().chain(code);
    words.collect::<Vec<_>>().join(" ")
}
