//! Readiness: a partition is ready if it would accept a write. Decided here from facts alone, so that the
//! rule is one table.

use std::time::Duration;

/// The number of consecutive failures of a flush from which on the partition is not ready.
pub const CUTS_FAILED_MAX: u32 = 3;

/// The facts about a partition at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadinessFacts {
    /// The reason for quarantine, if this node's copy is quarantined.
    pub quarantined: Option<String>,
    /// The reason why the fold has stopped, if it has.
    pub stopped: Option<String>,
    /// The reason why the fold waits, if it has waited long.
    pub held: Option<String>,
    /// The reason why the log refuses records, if it does.
    pub refusing: Option<String>,
    /// True if less than the reserve is free on the device: only deletes are accepted.
    pub is_short: bool,
    /// The reason why the store must not grow, if the catalog names nearly as many files as it may.
    pub crowded: Option<String>,
    /// The number of times that the current flush has failed in a row, and the last error.
    pub cuts_failed: (u32, String),
    /// True if writes wait: the queue of frozen memtables and the memtable are full.
    pub is_full: bool,
    /// The time that the oldest record of this process has waited for its outcome.
    pub waited: Duration,
    /// The limit for that time.
    pub wait_max: Duration,
}

/// The reason why a write would not be accepted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnreadyReason {
    /// The copy on this node is quarantined.
    #[error("{0}")]
    Quarantined(String),
    /// The fold has stopped; a restart is needed.
    #[error("{0}")]
    Stopped(String),
    /// The fold waits for data that it cannot read at present.
    #[error("{0}")]
    Held(String),
    /// The log refuses records.
    #[error("{0}")]
    Refusing(String),
    /// The fold on this node lags behind: an outcome would not come in time.
    #[error("this node is behind: a record has waited {} s for its outcome", .0.as_secs())]
    Behind(Duration),
    /// Flushes lag behind, and writes wait.
    #[error("too much waits to be sealed{0}")]
    Full(String),
    /// Flushes fail, so writes will have to wait soon.
    #[error("a cut has failed {0} times in a row: {1}")]
    CutsFail(u32, String),
    /// The device is nearly full.
    #[error("the device is nearly full: only deletes are taken")]
    Short,
    /// The catalog names nearly as many files as it may.
    #[error("{0}")]
    Crowded(String),
}

impl UnreadyReason {
    /// Returns true if a write must be refused before it is appended: its outcome could not be known in
    /// time, and each retry would make another version.
    pub(crate) fn is_before_append(&self) -> bool {
        matches!(self, UnreadyReason::Held(_) | UnreadyReason::Behind(_))
    }
}

/// Returns `Ok` if a write would be accepted, otherwise the gravest reason against it. The order of gravity
/// is: quarantine, a stopped fold, a hold, a refusing log, a late fold, full memtables, failed flushes, a
/// full device, a full catalog.
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
