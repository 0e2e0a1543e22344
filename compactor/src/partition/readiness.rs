//! Ready means that a write would be taken. Decided here from facts alone, so that the rule is one table.

use std::time::Duration;

/// A cut that has failed so often in a row is not a hiccup.
pub const CUTS_FAILED_MAX: u32 = 3;

/// Facts about a partition at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadinessFacts {
    /// Why this node's copy serves nothing, if so.
    pub quarantined: Option<String>,
    /// Why the fold has stopped, if it has.
    pub stopped: Option<String>,
    /// The reason why the fold waits, if that lasts.
    pub held: Option<String>,
    /// Why the log takes no records, if so.
    pub refusing: Option<String>,
    /// Less than the reserve is free on the device: only deletes are taken.
    pub is_short: bool,
    /// Why the store must not grow, if the catalog names nearly as many files as it can.
    pub crowded: Option<String>,
    /// How often the cut that is being sealed has failed in a row, and how it failed last.
    pub cuts_failed: (u32, String),
    /// As many frozen memtables wait as may wait, and the memtable is full: writes wait.
    pub is_full: bool,
    /// How long the oldest record of this process has waited for its outcome.
    pub waited: Duration,
    /// How long it may wait.
    pub wait_max: Duration,
}

/// Why a write would not be taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnreadyReason {
    /// This node's copy is not to be trusted.
    #[error("{0}")]
    Quarantined(String),
    /// Nothing is folded before a restart.
    #[error("{0}")]
    Stopped(String),
    /// The fold waits for something.
    #[error("{0}")]
    Held(String),
    /// The log takes no records.
    #[error("{0}")]
    Refusing(String),
    /// This node is behind: an outcome would not come in time.
    #[error("this node is behind: a record has waited {} s for its outcome", .0.as_secs())]
    Behind(Duration),
    /// Too much waits to be sealed.
    #[error("too much waits to be sealed{0}")]
    Full(String),
    /// Cuts fail, so it is a matter of time.
    #[error("a cut has failed {0} times in a row: {1}")]
    CutsFail(u32, String),
    /// The device is nearly full.
    #[error("the device is nearly full: only deletes are taken")]
    Short,
    /// The catalog names nearly as many files as it can.
    #[error("{0}")]
    Crowded(String),
}

impl UnreadyReason {
    /// Tells whether a write is to be refused for it before anything is appended: its outcome could not be
    /// known in time, and each retry would make another version.
    pub(crate) fn is_before_append(&self) -> bool {
        matches!(self, UnreadyReason::Held(_) | UnreadyReason::Behind(_))
    }
}

/// Tells that a write would be taken, or the first reason why not: the gravest first.
pub fn readiness(facts: &ReadinessFacts) -> Result<(), UnreadyReason> {
    if let Some(reason) = &facts.quarantined {
        return Err(UnreadyReason::Quarantined(reason.clone()));
    }
    if let Some(reason) = &facts.stopped {
        return Err(UnreadyReason::Stopped(reason.clone()));
    }
    if let Some(reason) = &facts.held {
        return Err(UnreadyReason::Held(reason.clone()));
    }
    if let Some(reason) = &facts.refusing {
        return Err(UnreadyReason::Refusing(reason.clone()));
    }
    if facts.waited > facts.wait_max {
        return Err(UnreadyReason::Behind(facts.waited));
    }
    let (failed, how) = &facts.cuts_failed;
    if facts.is_full {
        let why = if *failed > 0 { format!(": {how}") } else { String::new() };
        return Err(UnreadyReason::Full(why));
    }
    if *failed >= CUTS_FAILED_MAX {
        return Err(UnreadyReason::CutsFail(*failed, how.clone()));
    }
    if facts.is_short {
        return Err(UnreadyReason::Short);
    }
    if let Some(reason) = &facts.crowded {
        return Err(UnreadyReason::Crowded(reason.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_a_write_would_be_taken() {
        let said = || Some("said".to_owned());
        let good = ReadinessFacts { wait_max: Duration::from_secs(7), ..ReadinessFacts::default() };
        let failed = |times: u32| (times, "no such folder".to_owned());
        let second = Duration::from_secs;
        let table = [
            (good.clone(), None),
            (ReadinessFacts { quarantined: said(), stopped: said(), ..good.clone() }, Some("said")),
            (ReadinessFacts { stopped: said(), ..good.clone() }, Some("said")),
            (ReadinessFacts { held: said(), ..good.clone() }, Some("said")),
            (ReadinessFacts { refusing: said(), ..good.clone() }, Some("said")),
            (ReadinessFacts { waited: second(7), ..good.clone() }, None),
            (
                ReadinessFacts { waited: second(8), ..good.clone() },
                Some("this node is behind: a record has waited 8 s for its outcome"),
            ),
            (ReadinessFacts { cuts_failed: failed(2), ..good.clone() }, None),
            (
                ReadinessFacts { cuts_failed: failed(3), ..good.clone() },
                Some("a cut has failed 3 times in a row: no such folder"),
            ),
            (ReadinessFacts { is_full: true, ..good.clone() }, Some("too much waits to be sealed")),
            (
                ReadinessFacts { is_full: true, cuts_failed: failed(1), ..good.clone() },
                Some("too much waits to be sealed: no such folder"),
            ),
            (
                ReadinessFacts { is_short: true, ..good.clone() },
                Some("the device is nearly full: only deletes are taken"),
            ),
            (ReadinessFacts { crowded: said(), ..good.clone() }, Some("said")),
        ];
        for (facts, wanted) in table {
            let found = readiness(&facts).err().map(|reason| reason.to_string());
            assert_eq!(found.as_deref(), wanted, "{facts:?}");
        }
    }

    #[test]
    fn a_write_is_refused_early_only_where_its_outcome_would_be_late() {
        assert!(UnreadyReason::Held(String::new()).is_before_append());
        assert!(UnreadyReason::Behind(Duration::ZERO).is_before_append());
        assert!(!UnreadyReason::CutsFail(9, String::new()).is_before_append());
        assert!(!UnreadyReason::Short.is_before_append(), "deletes are taken");
    }
}
