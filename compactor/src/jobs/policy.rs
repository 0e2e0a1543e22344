//! The policy of merges: decides which runs are merged next, from the catalog and the budget alone.

use std::collections::BTreeSet;

use ingest::ids::RunId;

use crate::catalog::RunMeta;
use crate::partition::options::CompactionPolicy;

/// Runs to merge: neighbours in the catalog's order, oldest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MergePlan {
    /// The ids of the runs, oldest first.
    pub runs: Vec<RunId>,
    /// The level of the new run.
    pub level: u8,
    /// True if the oldest run takes part, so that no older source exists below the result.
    pub is_bottom: bool,
}

/// A plan with its size and its reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MergeChoice {
    /// The plan.
    pub plan: MergePlan,
    /// The number of entries of the runs.
    pub entries: u64,
    /// The bytes of the runs' files.
    pub bytes: u64,
    /// The reason of the merge, for status output and logs.
    pub reason: String,
}

/// The limits for merges that run at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MergeBudget {
    /// The largest number of merges at the same time; each one uses a processor.
    pub merges_max: usize,
    /// Free bytes of the device; `None` if the device does not give the number. One merge may always run,
    /// because merges free space. A further merge may run only if the files of all running merges fit.
    pub free_bytes: Option<u64>,
}

/// Chooses the merges to start now, in the order in which they must be started. `running` are merges under
/// way, `resting` are runs whose last merge failed a moment ago. No run is in two choices.
///
/// A merge starts beside others only if it reads fewer entries than each of them: short merges do not wait
/// for a long one, and two long ones never compete. The policy [`CompactionPolicy::Manual`] chooses
/// nothing.
pub fn choose(
    policy: CompactionPolicy,
    fan_in: usize,
    runs: &[RunMeta],
    running: &[MergeChoice],
    resting: &BTreeSet<RunId>,
    budget: MergeBudget,
) -> Vec<MergeChoice> {
    if policy == CompactionPolicy::Manual {
        return Vec::new();
    }
    let mut busy = resting.clone();
    busy.extend(running.iter().flat_map(|choice| &choice.plan.runs));
    let mut all: Vec<MergeChoice> = running.to_vec();
    while all.len() < budget.merges_max {
        let Some(plan) = plan(runs, fan_in, &busy) else { break };
        let reason = format!(
            "{} runs of level {} stand together, {fan_in} are merged",
            plan.runs.len(),
            plan.level.saturating_sub(1)
        );
        let choice = sized(runs, plan, reason);
        let is_shorter = all.iter().all(|other| choice.entries < other.entries);
        let bytes: u64 = all.iter().map(|other| other.bytes).sum::<u64>() + choice.bytes;
        let fits = budget.free_bytes.is_none_or(|free| bytes <= free);
        let may_run_beside = is_shorter && fits;
        if !all.is_empty() && !may_run_beside {
            break;
        }
        busy.extend(&choice.plan.runs);
        all.push(choice);
    }
    all.split_off(running.len())
}

/// Chooses one merge of all runs, which an operator has requested, also under the manual policy; `None` if
/// there are fewer than two runs. The caller must wait until no other merge is running.
pub fn choose_whole(fan_in: usize, runs: &[RunMeta]) -> Option<MergeChoice> {
    let plan = plan_whole(runs, fan_in)?;
    Some(sized(runs, plan, "one merge of all runs was requested".into()))
}

/// Adds up entries and bytes of a plan's runs.
fn sized(runs: &[RunMeta], plan: MergePlan, reason: String) -> MergeChoice {
    let taken = runs.iter().filter(|run| plan.runs.contains(&run.id));
    let (entries, bytes) = taken.fold((0, 0), |(entries, bytes), run| {
        (entries + run.entries, bytes + run.files().map(|file| file.len).sum::<u64>())
    });
    MergeChoice { plan, entries, bytes, reason }
}

/// Plans the next merge, at the lowest level that has `fan_in` neighbouring runs which are not busy.
///
/// Runs are ordered oldest first, and levels fall from old to new. When no plan is left there are therefore
/// at most `fan_in - 1` runs of each level, and the number of levels grows with the logarithm of the
/// entries.
fn plan(runs: &[RunMeta], fan_in: usize, busy: &BTreeSet<RunId>) -> Option<MergePlan> {
    let mut end = runs.len();
    while end > 0 {
        let level = runs[end - 1].level;
        let is_other = |run: &RunMeta| run.level != level || busy.contains(&run.id);
        let start = runs[..end].iter().rposition(is_other).map_or(0, |at| at + 1);
        if end - start >= fan_in {
            return Some(MergePlan {
                runs: runs[start..end].iter().map(|run| run.id).collect(),
                level: level.saturating_add(1),
                is_bottom: start == 0,
            });
        }
        // Moves by at least one run, also past a busy one.
        end = start.min(end - 1);
    }
    None
}

/// Plans one merge of all runs, if there are at least two.
///
/// The level of the result is the level that flushed runs of the smallest size would reach with the same
/// number of entries. Otherwise the single large run of a young store would have a low level, and would be
/// rewritten for a few tiny runs.
fn plan_whole(runs: &[RunMeta], fan_in: usize) -> Option<MergePlan> {
    let highest = runs.iter().map(|run| run.level).max()?;
    let entries: u64 = runs.iter().map(|run| run.entries).sum();
    let fresh = runs.iter().filter(|run| run.level == 0 && run.entries > 0);
    // Without a flushed run the size of a cut is unknown, and the highest level is used.
    let cuts = fresh.map(|run| run.entries).min().map_or(1, |smallest| entries / smallest);
    let by_size = cuts.max(1).ilog(fan_in.max(2) as u64) as u8;
    (runs.len() > 1).then(|| MergePlan {
        runs: runs.iter().map(|run| run.id).collect(),
        level: highest.max(by_size),
        is_bottom: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(levels: &[u8]) -> Vec<RunMeta> {
        let run = |(id, level): (usize, &u8)| RunMeta {
            id: RunId::new(id as u64),
            level: *level,
            ..RunMeta::default()
        };
        levels.iter().enumerate().map(run).collect()
    }

    #[test]
    fn a_plan_takes_neighbours_of_the_newest_level_that_is_full() {
        let picked = |levels: &[u8]| {
            plan(&runs(levels), 3, &BTreeSet::new()).map(|plan| {
                let ids: Vec<u64> = plan.runs.iter().map(|id| id.get()).collect();
                (ids, plan.level, plan.is_bottom)
            })
        };
        assert_eq!(picked(&[]), None);
        assert_eq!(picked(&[0, 0]), None);
        assert_eq!(picked(&[0, 0, 0]), Some((vec![0, 1, 2], 1, true)));
        assert_eq!(picked(&[1, 0, 0, 0]), Some((vec![1, 2, 3], 1, false)));
        assert_eq!(picked(&[1, 1, 1, 0]), Some((vec![0, 1, 2], 2, true)));
        assert_eq!(picked(&[2, 1, 1, 0, 0]), None);
    }

    #[test]
    fn a_whole_merge_takes_all_runs_and_keeps_their_highest_level() {
        assert_eq!(plan_whole(&runs(&[]), 4), None);
        assert_eq!(plan_whole(&runs(&[3]), 4), None);
        let plan = plan_whole(&runs(&[2, 1, 0]), 4).unwrap();
        assert_eq!((plan.runs.len(), plan.level, plan.is_bottom), (3, 2, true));
    }

    /// Levels and entries, oldest first; the level of one run of all of them.
    #[test]
    fn a_whole_merge_of_a_young_store_gets_the_level_of_its_size() {
        let level = |sized: &[(u8, u64)]| {
            let levels: Vec<u8> = sized.iter().map(|(level, _)| *level).collect();
            let mut runs = runs(&levels);
            runs.iter_mut().zip(sized).for_each(|(run, (_, entries))| run.entries = *entries);
            plan_whole(&runs, 4).map(|plan| plan.level)
        };
        assert_eq!(level(&[(0, 1_000_000), (0, 10)]), Some(8));
        assert_eq!(level(&[(1, 1_000_000), (0, 10)]), Some(8));
        assert_eq!(level(&[(2, 160), (0, 10), (0, 10)]), Some(2));
        assert_eq!(level(&[(9, 160), (0, 10)]), Some(9));
        assert_eq!(level(&[(1, 40), (1, 40)]), Some(1));
        assert_eq!(level(&[(0, 0), (0, 0)]), Some(0));
    }

    #[test]
    fn the_number_of_runs_stays_bounded() {
        let mut levels: Vec<u8> = Vec::new();
        for _ in 0..10_000 {
            levels.push(0);
            while let Some(plan) = plan(&runs(&levels), 4, &BTreeSet::new()) {
                let at = plan.runs[0].get() as usize;
                levels.splice(at..at + plan.runs.len(), [plan.level]);
            }
            assert!(levels.len() <= 3 * 7, "{levels:?}");
        }
    }

    fn sized_runs(sized: &[(u8, u64)]) -> Vec<RunMeta> {
        let levels: Vec<u8> = sized.iter().map(|(level, _)| *level).collect();
        let mut runs = runs(&levels);
        for (run, (_, entries)) in runs.iter_mut().zip(sized) {
            run.entries = *entries;
            run.keys.len = *entries;
        }
        runs
    }

    fn chosen(
        runs: &[RunMeta],
        running: &[MergeChoice],
        resting: &[u64],
        merges_max: usize,
        free_bytes: Option<u64>,
    ) -> Vec<Vec<u64>> {
        let resting = resting.iter().map(|id| RunId::new(*id)).collect();
        let budget = MergeBudget { merges_max, free_bytes };
        let choices = choose(CompactionPolicy::Levels, 2, runs, running, &resting, budget);
        let ids = |choice: MergeChoice| choice.plan.runs.iter().map(|id| id.get()).collect();
        choices.into_iter().map(ids).collect()
    }

    #[test]
    fn a_short_merge_starts_beside_a_long_one_and_not_the_other_way_round() {
        let runs = sized_runs(&[(1, 1000), (1, 900), (0, 10), (0, 20)]);
        assert_eq!(chosen(&runs, &[], &[], 2, None), [[2, 3]], "the short one is first");
        let budget = MergeBudget { merges_max: 2, free_bytes: None };
        let none = BTreeSet::new();
        let long = choose(CompactionPolicy::Levels, 2, &runs[..2], &[], &none, budget);
        assert_eq!(chosen(&runs, &long, &[], 2, None), [[2, 3]], "beside the long one");
        assert_eq!(chosen(&runs, &long, &[], 1, None), [[0; 0]; 0], "one place, and it is taken");
        assert_eq!(chosen(&runs, &long, &[], 2, Some(1_929)), [[0; 0]; 0], "no room for both");
        assert_eq!(chosen(&runs, &long, &[], 2, Some(1_930)), [[2, 3]]);
        assert_eq!(chosen(&runs[..2], &[], &[], 2, Some(1)), [[0, 1]], "one may always run");
    }

    #[test]
    fn runs_whose_merge_failed_rest_and_stand_between_their_neighbours() {
        let runs = sized_runs(&[(0, 1), (0, 1), (0, 1), (0, 1), (0, 1)]);
        assert_eq!(chosen(&runs, &[], &[2], 1, None), [[3, 4]]);
        assert_eq!(chosen(&runs, &[], &[3], 1, None), [[0, 1, 2]]);
        assert_eq!(chosen(&runs, &[], &[1, 3], 1, None), [[0; 0]; 0]);
        assert_eq!(chosen(&runs, &[], &[0, 1, 2, 3, 4], 9, None), [[0; 0]; 0]);
    }

    #[test]
    fn the_manual_policy_merges_by_request_only() {
        let runs = sized_runs(&[(0, 1), (0, 1), (0, 1)]);
        let budget = MergeBudget { merges_max: 2, free_bytes: None };
        let none = BTreeSet::new();
        assert_eq!(choose(CompactionPolicy::Manual, 2, &runs, &[], &none, budget), []);
        assert_eq!(choose_whole(2, &runs).map(|choice| choice.plan.runs.len()), Some(3));
    }
}
