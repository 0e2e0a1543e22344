//! How many operations of each kind ended how, and why those failed that did.

use std::collections::BTreeMap;

use serde::Serialize;

use super::recording::Operation;
use crate::history::line::Outcome;

/// Operations by their outcome.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Counts {
    /// Done.
    pub ok: u64,
    /// Not done.
    pub failed: u64,
    /// Nobody knows.
    pub unknown: u64,
}

impl Counts {
    /// Counts an operation.
    pub fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Fail => self.failed += 1,
            Outcome::Unknown => self.unknown += 1,
        }
    }
}

/// All operations of a history.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Tally {
    /// By their kinds.
    pub kinds: BTreeMap<&'static str, Counts>,
    /// Those that were not done, and those of which nobody knows, by what was answered.
    pub reasons: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts operations.
    pub fn of(operations: &[Operation]) -> Self {
        let mut tally = Self::default();
        for operation in operations {
            let outcome = operation.outcome();
            tally.kinds.entry(operation.invoke.action.kind()).or_default().add(outcome);
            if outcome != Outcome::Ok {
                *tally.reasons.entry(reason(operation)).or_default() += 1;
            }
        }
        tally
    }

    /// Operations of all kinds.
    pub fn total(&self) -> Counts {
        self.kinds.values().fold(Counts::default(), |sum, counts| Counts {
            ok: sum.ok + counts.ok,
            failed: sum.failed + counts.failed,
            unknown: sum.unknown + counts.unknown,
        })
    }
}

fn reason(operation: &Operation) -> String {
    let Some(ending) = operation.ending() else { return "never answered".into() };
    let status = ending.status.map(|status| status.to_string());
    // What comes after a colon is the system's own words, which vary.
    let code = ending.code.as_ref().map(|code| code.split(':').next().unwrap_or_default());
    let words = status.as_deref().into_iter().chain(code);
    words.collect::<Vec<_>>().join(" ")
}
